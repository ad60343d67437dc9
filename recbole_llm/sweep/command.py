"""``recbole-llm tune``: its command line, and a sweep from its file to its outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_llm.errors import RecBoleLLMError, RequestError
from recbole_llm.files import sha256, write_json
from recbole_llm.parsing import split_command
from recbole_llm.provenance import data_sha256, more_sha256, vector_files, vectors_sha256
from recbole_llm.run_dir import read_json
from recbole_llm.sweep.checks import check_sweep, config_of
from recbole_llm.sweep.ledger import SCHEMA, SWEEP, TRIALS, Ledger, Role, Trial, write_lines
from recbole_llm.sweep.outcome import (
    candidates,
    lost_seeds,
    outcome_of,
    require_own,
    run_winner,
    write_best,
    write_outcome,
)
from recbole_llm.sweep.points import corner_points, trial_id
from recbole_llm.sweep.report import require_packages, write_report
from recbole_llm.sweep.search import Search, place_of
from recbole_llm.sweep.specs import Sweep

DATA = "data_sha256"
OPTIONS = ("results", "best", "data_path", "address", "work")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command line asks for."""

    file: Path
    results: Path
    best: Path | None
    work: Path
    data_path: Path | None
    address: str | None
    is_resumed: bool


def parse(argv: Sequence[str]) -> Request:
    """Read the command line.

    Raises:
        RequestError: If it is wrong; all that is wrong at once.
    """
    words, given, flags = split_command(
        argv, place="recbole-llm tune", wants="one sweep", options=OPTIONS, flags=("resume",)
    )
    file = Path(words[0])
    return Request(
        file=file,
        results=Path(given.get("results", Path("results") / "tuning" / file.stem)),
        best=Path(given["best"]) if "best" in given else None,
        work=Path(given.get("work", Path("saved") / "tune" / file.stem)),
        data_path=Path(given["data_path"]) if "data_path" in given else None,
        address=_address(given.get("address")),
        is_resumed="resume" in flags,
    )


def _address(address: str | None) -> str | None:
    if address is not None and address.startswith("ray://"):
        raise RequestError(
            f"--address: a sweep runs on a node of its cluster; received {address!r}, which is for "
            "clients from outside. Run it there, with --address auto."
        )
    return address


def tune(argv: Sequence[str], say: Callable[[str], None]) -> dict[str, Any]:
    """Run a sweep, or what is left of it.

    Args:
        argv: The command line behind ``recbole-llm tune``.
        say: Hears each line for the screen.

    Returns:
        The winner, what it scored, what the sweep cost, and the files that tell of it.

    Raises:
        RequestError: If the command line or the sweep is wrong.
        RecBoleLLMError: If no trial was sound, or a run of the winner failed.
    """
    request = parse(argv)
    require_packages()
    sweep = check_sweep(request.file, data_path=request.data_path)
    require_own(_best_file(request, sweep), name=request.file.stem)
    with _locked(request.results / TRIALS), _locked(request.work):
        ledger = _open_ledger(request, sweep, say=say)
        outcome = _run(request, sweep, ledger, say=say)
        write_lines(request.results / "trials.jsonl", ledger.trials())
        files = write_report(request.results, sweep, ledger, outcome, name=request.file.stem)
    return {
        "sweep": request.file.stem,
        "best": str(_best_file(request, sweep)),
        "point": outcome["winner"]["point"],
        "valid": outcome["winner"]["mean"],
        "test": outcome["test"],
        "cost": outcome["cost"],
        "files": [str(file) for file in files],
    }


def _run(
    request: Request, sweep: Sweep, ledger: Ledger, *, say: Callable[[str], None]
) -> Mapping[str, Any]:
    data_path = None if request.data_path is None else str(request.data_path.resolve())
    with place_of(sweep, address=request.address) as ray:
        search = Search(sweep, ledger, ray, data_path=data_path, work=request.work, say=say)
        search.trials()
        search.finalists()
        best = candidates(sweep, ledger)
        if not best:
            raise _nothing_sound(request, sweep, ledger)
        if lost := lost_seeds(sweep, ledger):
            say(f"note: finalists lost seeds, and more seeds come first: {', '.join(lost)}.")
        winner = best[0]
        say(f"winner: {winner.trial}, {sweep.metric} {winner.mean:.4f}: {json.dumps(winner.point)}")
        write_best(_best_file(request, sweep), sweep, winner, name=request.file.stem, ledger=ledger)
        results = run_winner(
            sweep,
            winner,
            folder=request.results,
            work=request.work / "runs",
            data_path=data_path,
            use_gpu=search.gpus > 0,
            executor=search.jobs,
            say=say,
        )
    outcome = outcome_of(sweep, winner, ledger, results)
    write_outcome(request.results, outcome)
    return outcome


def _best_file(request: Request, sweep: Sweep) -> Path:
    name = f"{sweep.model}@{sweep.dataset}.yaml"
    return request.best or request.file.parent / "best" / name


def _nothing_sound(request: Request, sweep: Sweep, ledger: Ledger) -> RecBoleLLMError:
    if not ledger.trials():
        return RequestError(
            f"{request.file}: budget.hours: {sweep.budget.hours} were over before a trial began; "
            "reading and encoding count. Give more."
        )
    role: Role = "finalist" if ledger.ranked() else "trial"
    trials = ledger.trials(role)
    failed = [trial for trial in trials if trial.error is not None]
    first = f" The first: {failed[0].error['message']}" if failed and failed[0].error else ""
    again = " --resume tries them again." if role == "finalist" else ""
    return RecBoleLLMError(
        f"{request.file}: none of {len(trials)} {role}s has a score.{first} See "
        f"{request.results / TRIALS}.{again}"
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder of a sweep.

    Raises:
        RequestError: If one is in it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(blocking=False)
    except Timeout:
        raise RequestError(
            f"{folder}: another process runs a sweep there. Name others with --results and --work."
        ) from None
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot be written ({error.strerror}). Name others with --results and "
            "--work."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _open_ledger(request: Request, sweep: Sweep, *, say: Callable[[str], None]) -> Ledger:
    """Return the ledger of a sweep, with what is there if it is resumed.

    Raises:
        RequestError: If the folder holds trials and the sweep is not resumed, or another sweep.
    """
    config = config_of(sweep, next(corner_points(sweep)), data_path=request.data_path)
    ledger = Ledger(request.results, is_bigger_better=bool(config["valid_metric_bigger"]))
    for problem in ledger.read():
        say(f"note: {problem}")
    file, facts = request.results / SWEEP, {"schema": SCHEMA, **sweep.facts}
    facts[DATA] = data_sha256(config) | more_sha256(config) | vectors_sha256(config)
    if "modalities" in sweep.space:  # the others' too
        for choice in sweep.space["modalities"].values or ():
            files = {file.as_posix(): file for file in vector_files(choice).values()}
            facts[DATA] |= {name: sha256(file) for name, file in files.items()}
    if ledger.trials():
        if not request.is_resumed:
            raise RequestError(
                f"results: {request.results} holds {len(ledger.trials())} trials. Go on with "
                "--resume, or name another folder with --results."
            )
        _require_same(request, sweep, ledger, facts=facts, say=say)
        ledger.try_again(hours=sweep.budget.hours)
        anew = sum(ledger.is_open(trial.id) for trial in ledger.trials())
        say(f"{len(ledger.trials()) - anew} trials are there, {anew} begin anew.")
    write_json(file, facts)
    return ledger


def _require_same(
    request: Request,
    sweep: Sweep,
    ledger: Ledger,
    *,
    facts: Mapping[str, Any],
    say: Callable[[str], None],
) -> None:
    """Refuse to go on with the trials of another sweep, or of other data.

    Raises:
        RequestError: If they are.
    """
    try:
        before = read_json(request.results / SWEEP)
        order = list(before["space"])  # in which points are drawn
        if DATA not in before:
            say(f"note: {request.results / SWEEP} says nothing of the data; is it what it was?")
        before = {DATA: facts[DATA], **before}
        changed = [key for key in facts if before.get(key) != facts[key] and key != DATA]
        files = before[DATA].keys() | facts[DATA].keys()
        changed += sorted(name for name in files if before[DATA].get(name) != facts[DATA].get(name))
        if "space" not in changed and order != list(facts["space"]):
            changed.append("the order of space")
    except (RequestError, KeyError, TypeError, AttributeError):
        say(
            f"note: {request.results / SWEEP} is lost or damaged, and is made again. Is the data "
            "what it was?"
        )
        is_same = all(_is_of(trial, sweep) for trial in ledger.trials())
        changed = [] if is_same else ["model, dataset, metric, protocol, settings or seed"]
    if changed:
        raise RequestError(
            f"{request.file}: {', '.join(changed)} changed since the trials in "
            f"{request.results} ran. Restore what was, or name another folder with --results."
        )


def _is_of(trial: Trial, sweep: Sweep) -> bool:
    """Tell by its id whether a trial is of a sweep's model, data, metric, settings and seed."""
    if trial.role == "finalist":
        return trial.id == f"{trial_id(sweep, trial.point, seed=trial.seed)}f"
    return trial.id == trial_id(sweep, trial.point, seed=sweep.seed)
