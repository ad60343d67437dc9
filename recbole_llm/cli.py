"""The commands ``run_recbole`` and ``recbole-llm``; the only file that prints.

Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from recbole_llm import usage
from recbole_llm.errors import RecBoleLLMError, RequestError, unknown_name

TRACEBACK = "RECBOLE_LLM_TRACEBACK"
HELP = {"-h", "--help"}


def run_recbole_command(argv: Sequence[str] | None = None) -> int:
    """Run ``run_recbole`` and return its exit code."""
    return _guarded(_run_recbole, sys.argv[1:] if argv is None else argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``recbole-llm`` and return its exit code."""
    return _guarded(_dispatch, sys.argv[1:] if argv is None else argv)


def _guarded(command: Callable[[Sequence[str]], None], argv: Sequence[str]) -> int:
    terms: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        """Do what an interrupt does: what that leaves in order, this does too."""
        terms.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)
    try:
        command(argv)
    except RecBoleLLMError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # Ray raises one of its own for ours
        print("terminated" if terms else "interrupted", file=sys.stderr)
        return 143 if terms else 130
    except Exception as error:
        if TRACEBACK in os.environ:
            raise
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"Not foreseen. Set {TRACEBACK}=1 to see where it happened.", file=sys.stderr)
        return 1
    return 0


def _dispatch(argv: Sequence[str]) -> None:
    wants_help = not argv or bool(HELP & set(argv))
    if wants_help and (not argv or argv[0] not in usage.COMMANDS):
        print(usage.ALL)
        return
    commands = {
        "check": _check,
        "encode": _encode,
        "ensemble": _ensemble,
        "rerank": _rerank,
        "dataset": _dataset,
        "bench": _bench,
        "tune": _tune,
        "recommend": _recommend,
        "trajectory": _trajectory,
        "explain": _explain,
        "update": _update,
        "leaderboard": _leaderboard,
    }
    name, *rest = argv
    if name not in commands:
        raise RequestError(unknown_name("command", name, commands))
    if wants_help:
        print(usage.COMMANDS[name])
        return
    if not rest:
        raise RequestError(f"recbole-llm {name}: says nothing to do.\n{usage.COMMANDS[name]}")
    commands[name](rest)


def _request(argv: Sequence[str]) -> tuple[dict[str, str], list[str] | None]:
    """Split a command line into raw settings and configuration files."""
    from recbole_llm.compat import require_recbole
    from recbole_llm.parsing import split_arguments

    require_recbole()
    arguments = split_arguments(argv)
    files = arguments.pop("config_files", None)
    return arguments, files.split() if files else None


def _run_recbole(argv: Sequence[str]) -> None:
    if not argv or HELP & set(argv):
        print(usage.RUN)
        return
    from recbole_llm.parsing import whole_number

    arguments, files = _request(argv)
    resume, nproc = arguments.pop("resume", None), arguments.pop("nproc", None)
    processes = None if nproc is None else whole_number(nproc)
    if nproc is not None and processes is None:
        raise RequestError(f"nproc: must be a number of processes, received {nproc!r}.")
    from recbole_llm.quick_start import run_recbole

    _print_json(
        run_recbole(
            config_file_list=files,
            arguments=arguments,
            resume=resume,
            nproc=processes,
        )
    )


def _check(argv: Sequence[str]) -> None:
    from recbole_llm.compat import require_recbole

    require_recbole()
    from recbole_llm.bench.checks import check_suite, is_suite
    from recbole_llm.config import check_settings
    from recbole_llm.parsing import split_command
    from recbole_llm.sweep.checks import check_sweep, is_sweep

    names, given, _ = split_command(
        argv,
        place="recbole-llm check",
        wants="YAML files",
        options=("data_path",),
        num_words=None,
    )
    if not names:
        raise RequestError("recbole-llm check: names no file. Name one or more YAML files.")
    data_path = Path(given["data_path"]) if "data_path" in given else None
    problems = []
    for name in names:
        try:
            path = Path(name)
            if is_sweep(path):
                check_sweep(path, data_path=data_path)
            elif is_suite(path):
                check_suite(path, data_path=data_path)
            else:
                check_settings(path)
            print(f"{name}: ok")
        except RequestError as error:
            problems.append(str(error))
    if problems:
        raise RequestError("\n".join(problems))


def _encode(argv: Sequence[str]) -> None:
    from recbole_llm.compat import require_recbole

    require_recbole()
    from recbole_llm.encode_command import OPTIONS, encode, encode_shards

    arguments, files = _request(argv)
    arguments.setdefault("model", "LLMInterestLinear")
    options = {name: arguments.pop(name) for name in OPTIONS if name in arguments}
    if options:
        _print_json(encode_shards(options, config_file_list=files, arguments=arguments))
    else:
        _print_json(encode(config_file_list=files, arguments=arguments))


def _ensemble(argv: Sequence[str]) -> None:
    from recbole_llm.compat import require_recbole

    require_recbole()
    from recbole_llm.ensemble import evaluate_ensemble
    from recbole_llm.parsing import parse_value, split_command

    names, given, _ = split_command(
        argv,
        place="recbole-llm ensemble",
        wants="run directories",
        options=("filter_seen",),
        num_words=None,
    )
    filter_seen = given.get("filter_seen")
    value = None if filter_seen is None else parse_value("filter_seen", filter_seen)
    if not isinstance(value, bool | None):
        raise RequestError(f"--filter_seen: must be true or false, received {filter_seen!r}.")
    _print_json(evaluate_ensemble(names, filter_seen=value))


def _rerank(argv: Sequence[str]) -> None:
    from recbole_llm.compat import require_recbole

    require_recbole()
    from recbole_llm.rerank import rerank

    _print_json(rerank(argv))


def _dataset(argv: Sequence[str]) -> None:
    from recbole_llm.dataset_command import run_dataset

    _print_json(run_dataset(argv, say=lambda line: print(line, file=sys.stderr)))


def _leaderboard(argv: Sequence[str]) -> None:
    from recbole_llm.bench.leaderboard import leaderboard

    _print_json(leaderboard(argv))


def _bench(argv: Sequence[str]) -> None:
    _run_own("recbole_llm.bench.command:bench", argv, partial(print, flush=True))


def _recommend(argv: Sequence[str]) -> None:
    _run_own("recbole_llm.recommend.command:recommend", argv, partial(print, flush=True))


def _trajectory(argv: Sequence[str]) -> None:
    _run_own("recbole_llm.recommend.trajectory.command:trajectory", argv)


def _explain(argv: Sequence[str]) -> None:
    _run_own("recbole_llm.recommend.explain.command:explain", argv, print)


def _update(argv: Sequence[str]) -> None:
    _run_own("recbole_llm.recommend.update.command:update", argv)


def _tune(argv: Sequence[str]) -> None:
    say = partial(print, file=sys.stderr, flush=True)
    _run_own("recbole_llm.sweep.command:tune", argv, say)


def _run_own(place: str, argv: Sequence[str], *say: Callable[..., None]) -> None:
    """Run a command of a module; a result is printed as JSON."""
    from recbole_llm.compat import require_recbole
    from recbole_llm.plugin import load

    require_recbole()
    result = load(place)(argv, *say)
    if result is not None:
        _print_json(result)


def _print_json(result: dict[str, Any]) -> None:
    print(json.dumps(result, ensure_ascii=False, allow_nan=False))
