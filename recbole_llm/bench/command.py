"""``recbole-llm bench``: its command line, and what it does with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_llm.bench.checks import DEFAULT_DATA, check_suite, has_data
from recbole_llm.bench.plan import Planned, plan, plan_lines, to_run
from recbole_llm.bench.ray_runner import RayRunner
from recbole_llm.bench.runner import Runner, run_here, write_plan
from recbole_llm.bench.sharing import runs_elsewhere, take_over
from recbole_llm.bench.sources import Executor, needed_sources, source_lines
from recbole_llm.cluster import is_share
from recbole_llm.errors import RequestError, all_problems
from recbole_llm.parsing import split_command, whole_number

PLACE = "recbole-llm bench"
FLAGS = ("plan", "force")
OPTIONS = ("results", "only", "seeds", "seed", "data_path", "address", "gpus", "cpus", "from")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command line asks for."""

    suite: Path
    results: Path
    is_plan: bool
    is_forced: bool
    only: str | None
    seeds: tuple[int, ...] | None
    data_path: Path | None
    others: tuple[Path, ...]
    executor: Executor


def bench(argv: Sequence[str], say: Callable[[str], None]) -> None:
    """Run what a suite wants and its results do not have.

    Args:
        argv: The command line behind ``recbole-llm bench``.
        say: Hears each line for the screen.

    Raises:
        RequestError: If the command line or the suite is wrong.
        RecBoleLLMError: If a run failed.
    """
    request = parse(argv)
    suite, specs = check_suite(request.suite, data_path=request.data_path)
    planned, notes = plan(specs, request.results)
    chosen = _chosen(planned, request)
    missing = to_run(chosen, is_forced=request.is_forced)
    taken, more = runs_elsewhere(missing, request.others, specs=specs)
    for note in [*notes, *more]:
        say(f"note: {note}")
    rest = [one for one in missing if one.record not in taken]
    lines = plan_lines(chosen, is_forced=request.is_forced, taken=taken)
    for line in [*source_lines(rest), *lines]:
        say(line)
    if request.is_plan:
        return
    _require_data(rest, request.data_path)
    for note in write_plan(request.results, suite, specs):
        say(f"note: {note}")
    take_over(missing, taken)
    Runner(
        suite=suite,
        data_path=request.data_path or DEFAULT_DATA,
        is_forced=request.is_forced,
        say=say,
        executor=request.executor,
    ).run(rest)


def parse(argv: Sequence[str]) -> Request:
    """Read the command line.

    Raises:
        RequestError: If it is wrong; all that is wrong at once.
    """
    problems: list[str] = []
    files, given, flags = split_command(
        argv, place=PLACE, wants="one suite", options=OPTIONS, flags=FLAGS, problems=problems
    )
    if "force" in flags and "from" in given:
        problems.append("--force and --from are given. Keep one.")
    if {"seed", "seeds"} <= given.keys():
        problems.append("--seed and --seeds are given. Keep one.")
    seeds = _numbers(given.get("seeds", given.get("seed")), problems)
    gpus, cpus = (_share(name, given.get(name), problems) for name in ("gpus", "cpus"))
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    suite = Path(files[0])
    on_ray = {"address", "gpus", "cpus"} & given.keys()
    return Request(
        suite=suite,
        results=Path(given.get("results", Path("results") / suite.stem)),
        is_plan="plan" in flags,
        is_forced="force" in flags,
        only=given.get("only"),
        seeds=seeds,
        data_path=Path(given["data_path"]) if "data_path" in given else None,
        others=tuple(map(Path, given["from"].split(","))) if "from" in given else (),
        executor=RayRunner(address=given.get("address"), gpus=gpus, cpus=cpus or 1.0)
        if on_ray
        else run_here,
    )


def _numbers(text: str | None, problems: list[str]) -> tuple[int, ...] | None:
    if text is None:
        return None
    numbers = [whole_number(word.strip()) for word in text.split(",")]
    found = tuple(number for number in numbers if number is not None)
    if len(found) == len(numbers):
        return found
    problems.append(f"--seeds: must be numbers, as 2020,2021; received {text!r}.")
    return None


def _share(name: str, text: str | None, problems: list[str]) -> float | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        number = -1.0
    if number is None or is_share(number):
        return number
    problems.append(
        f"--{name}: must be a number of {name.upper()} a run, whole above 1; received {text!r}."
    )
    return None


def _chosen(planned: Sequence[Planned], request: Request) -> list[Planned]:
    """Return the runs that --only and --seeds choose."""
    there = {one.spec.seed for one in planned}
    if unknown := set(request.seeds or ()) - there:
        raise RequestError(
            f"--seeds: the suite has {sorted(there)}, received {sorted(unknown)}. Seeds are added "
            "in the suite, so that its table can be made again."
        )
    chosen = [
        one
        for one in planned
        if (request.seeds is None or one.spec.seed in request.seeds)
        and (request.only is None or request.only in one.spec.seeded_title)
    ]
    if not chosen:
        titles = ", ".join(dict.fromkeys(repr(one.spec.title) for one in planned))
        raise RequestError(f"--only, --seeds: choose no run. The suite has {titles}.")
    return chosen


def _require_data(runs: Sequence[Planned], data_path: Path | None) -> None:
    """Refuse to begin where data is missing.

    Raises:
        RequestError: If it is; all datasets of which it is.
    """
    folder = data_path or DEFAULT_DATA
    wanted = [one.dataset for one in needed_sources(runs)] + [one.spec.dataset for one in runs]
    problems = [
        f"{dataset}: {folder / dataset / dataset}.inter is not there. Name the folder of datasets "
        "with --data_path=FOLDER, or leave the dataset out with --only."
        for dataset in dict.fromkeys(wanted)
        if not has_data(dataset, data_path)
    ]
    if problems:
        raise RequestError(all_problems("data", problems))
