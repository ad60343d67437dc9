"""What a sweep comes to: a winner, trained under several seeds and tested once.

Nothing that is tested here can change what was chosen: the winner is written down before.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from recbole_llm.errors import RecBoleLLMError, RequestError
from recbole_llm.files import atomic_path, write_json
from recbole_llm.job import Job, Outcome, execute, of_all_machines
from recbole_llm.parsing import load_yaml
from recbole_llm.run_dir import read_json
from recbole_llm.sweep.ledger import SCHEMA, Ledger, Trial
from recbole_llm.sweep.points import Point
from recbole_llm.sweep.proposers import best_trials, finalists_of
from recbole_llm.sweep.specs import Sweep

OUTCOME, TESTS = "outcome.json", "tests"
CHOSEN = "Chosen by the sweep {} on"  # so the best YAML begins, by the sweep's name
Executor = Callable[[Iterable[tuple[int, Job]]], Iterator[tuple[int, Outcome]]]


@dataclass(frozen=True)
class Winner:
    """The point that was chosen.

    Attributes:
        trial: The trial of the search that found it.
        point: Its settings.
        scores: Its validation scores by seed; of the trial alone where there were no finalists.
        epochs: Their best epochs, from 0.
    """

    trial: str
    point: Point
    scores: Mapping[str, float]
    epochs: Mapping[str, int]

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return statistics.fmean(self.scores.values())


def candidates(sweep: Sweep, ledger: Ledger) -> list[Winner]:
    """Return the finalists, or the best trial where the sweep has none, the best first.

    A finalist counts with the seeds that did not fail; the one with more of them comes first. Where
    all failed there is none to choose from.
    """
    if finalists_of(sweep, ledger):
        found = [
            Winner(trial.id, trial.settings, *_scores(runs))
            for trial, runs in _finalists(sweep, ledger)
            if runs
        ]
    else:
        found = [
            Winner(trial.id, trial.settings, *_scores([trial])) for trial in ledger.ranked()[:1]
        ]
    sign = 1 if ledger.is_bigger_better else -1
    return sorted(found, key=lambda one: (-len(one.scores), -sign * one.mean))


def lost_seeds(sweep: Sweep, ledger: Ledger) -> list[str]:
    """Return in words which finalists count with fewer seeds than the sweep gives them."""
    wanted = len(sweep.finalists.seeds) if finalists_of(sweep, ledger) else 0
    return [
        f"{trial.id} has {len(runs)} of {wanted} seeds"
        for trial, runs in _finalists(sweep, ledger)
        if len(runs) < wanted
    ]


def _finalists(sweep: Sweep, ledger: Ledger) -> list[tuple[Trial, list[Trial]]]:
    """Return the best trials of the search, each with its sound runs under other seeds."""
    runs = [one for one in ledger.ranked("finalist") if one.seed in sweep.finalists.seeds]
    return [
        (trial, [one for one in runs if one.point == trial.settings])
        for trial in best_trials(sweep, ledger)
    ]


def _scores(runs: Sequence[Trial]) -> tuple[dict[str, float], dict[str, int]]:
    runs = sorted(runs, key=lambda run: run.seed)
    return (
        {str(run.seed): run.best for run in runs if run.best is not None},
        {str(run.seed): run.best_epoch for run in runs if run.best_epoch is not None},
    )


def run_winner(
    sweep: Sweep,
    winner: Winner,
    *,
    folder: Path,
    work: Path,
    data_path: str | None,
    use_gpu: bool,
    executor: Executor,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train the winner under each seed, test each run once, and return the runs' results by seed.

    A run of the same settings that is there already is not run again.

    Args:
        sweep: The sweep.
        winner: What it chose.
        folder: Where the sweep's results lie.
        work: Where the runs' directories lie.
        data_path: The folder of datasets, or None for ml-100k.
        use_gpu: Whether a run may have a GPU, as trials had.
        executor: Where jobs run.
        say: Hears a line of each run.

    Raises:
        RecBoleLLMError: If a run failed.
    """
    files = {seed: folder / TESTS / f"{winner.trial}--seed{seed}.json" for seed in _seeds(sweep)}
    jobs = [
        (
            seed,
            Job(
                model=sweep.model,
                dataset=sweep.dataset,
                seed=seed,
                settings={**sweep.fixed, **winner.point, "use_gpu": use_gpu},
                run_dir=str((work / f"{winner.trial}--seed{seed}").resolve()),
                data_path=data_path,
                folder=str(Path.cwd()),
                is_fresh=False,
            ),
        )
        for seed, file in files.items()
        if not _is_of(file, winner.point)
    ]
    problems = []
    for seed, outcome in executor(jobs):
        if outcome.result is None:
            problems.append(f"seed {seed}: {(outcome.error or {}).get('message')}")
            say(f"  seed {seed} FAILED: {problems[-1]}")
            continue
        files[seed].parent.mkdir(exist_ok=True)
        write_json(files[seed], of_all_machines(outcome.result))
        score = outcome.result["test_result"][sweep.metric]
        say(f"  seed {seed}: tested, {sweep.metric} {score:.4f}")
    if problems:
        raise RecBoleLLMError(
            "the winner's runs: " + "; ".join(problems) + ". --resume tries them again."
        )
    return {str(seed): read_json(file) for seed, file in files.items()}


def _is_of(file: Path, point: Mapping[str, Any]) -> bool:
    """Tell whether a file holds the result of a run at a point.

    A trial of population-based training goes on under one name with other settings.
    """
    if not file.is_file():
        return False
    settings = read_json(file)["settings"]
    return all(settings[key] == value for key, value in point.items() if key in settings)


def _seeds(sweep: Sweep) -> list[int]:
    return list(sweep.finalists.seeds)


def run_jobs_here(jobs: Iterable[tuple[int, Job]]) -> Iterator[tuple[int, Outcome]]:
    """Run jobs one after another, each in a process of its own."""
    for seed, job in jobs:
        yield seed, execute(job)


def outcome_of(
    sweep: Sweep, winner: Winner, ledger: Ledger, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what ``outcome.json`` says."""
    tests = {seed: result["test_result"][sweep.metric] for seed, result in results.items()}
    some = next(iter(results.values()))
    return {
        "schema": SCHEMA,
        "model": sweep.model,
        "dataset": sweep.dataset,
        "metric": sweep.metric,
        "winner": {**asdict(winner), "mean": winner.mean},
        "test": {"scores": tests, **spread(list(tests.values()))},
        "cost": {**cost_of(ledger), "winner_hours": _hours(results.values())},
        "protocol": some["protocol"],
        "versions": some["versions"],
        "commit": some["commit"],
    }


def _hours(results: Iterable[Mapping[str, Any]]) -> float:
    """Return the hours of the winner's runs; an epoch's mean is in those of training."""
    parts = ("prepare", "encode", "train", "evaluate")
    return sum(float(one["seconds"][part]) for one in results for part in parts) / 3600


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and standard deviation; one value has none."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation}


def cost_of(ledger: Ledger) -> dict[str, Any]:
    """Return what a sweep has spent: trials by state, epochs, and hours summed over trials."""
    trials = ledger.trials()
    states = [trial.state for trial in trials if trial.role == "trial"]
    return {
        "trials": {state: states.count(state) for state in dict.fromkeys(states)},
        "finalist_runs": len(trials) - len(states),
        "epochs": sum(len(trial.curve) for trial in trials),
        "trial_hours": sum(trial.seconds for trial in trials) / 3600,
        "hours": max((trial.hours or 0.0 for trial in trials), default=0.0),
    }


def require_own(path: Path, *, name: str) -> None:
    """Refuse a place for a sweep's YAML of settings that holds something else, or cannot hold it.

    Raises:
        RequestError: If a file is there that is not of the sweep ``name``, or there can be none.
    """
    if path.is_dir():
        raise RequestError(f"{path}: is a folder. Name a file with --best.")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise RequestError(
            f"{path}: {there} is no folder that can be written. Name another file with --best."
        )
    if path.is_file() and not str(load_yaml(path).get("about")).startswith(CHOSEN.format(name)):
        raise RequestError(
            f"{path}: is there, and was not written by the sweep {name}. Name another file with "
            "--best, or move it away."
        )


def write_best(path: Path, sweep: Sweep, winner: Winner, *, name: str, ledger: Ledger) -> None:
    """Write the YAML of settings that a suite's row can name as its ``best``."""
    cost = cost_of(ledger)
    seeds = "1 seed" if len(winner.scores) == 1 else f"{len(winner.scores)} seeds"
    about = (
        f"{CHOSEN.format(name)} validation {sweep.metric}, "
        f"{winner.mean:.4f} over {seeds}, from {sum(cost['trials'].values())} "
        "trials. Written by recbole-llm tune; do not edit."
    )
    content = {"about": about, "model": sweep.model, "dataset": sweep.dataset}
    content |= {**sweep.settings, **winner.point}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(
            yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), "utf-8"
        )


def write_outcome(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Write ``outcome.json``."""
    write_json(folder / OUTCOME, outcome)
