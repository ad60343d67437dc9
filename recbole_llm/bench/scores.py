"""Users' scores from the ranks beside a record, which must be of the record's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_llm.bench.boards import Row
from recbole_llm.bench.results import Record, RecordError
from recbole_llm.bench.stats import UserScores, case_values, user_means, user_scores
from recbole_llm.ranks import Ranks, read_ranks
from recbole_llm.slices import ALIKE, HISTORY, POPULARITY, bands, metrics_over_items

WEIGHTS = "weights"
TOLERANCE = 1e-6  # RecBole's own metrics may be float32


def scores_of(row: Row, metrics: Sequence[str], *, main: str) -> UserScores:
    """Return the scores of the users in each run that left its ranks.

    Args:
        row: The runs.
        metrics: Columns, over all of a user's test cases.
        main: The metric of further columns, over the cases of one group: ``slice/group``. They are
            empty for users without such a case.

    Raises:
        RecordError: If ranks do not give the numbers of the record beside them.
    """
    return {
        run.facts["seed"]: _run_scores(run, run.ranks, metrics, main=main)
        for run in row.runs
        if run.ranks is not None
    }


def with_items_alike(row: Row, metrics: Sequence[str]) -> Row:
    """Return a row whose runs all have the slice in which each item counts alike, or none has it.

    Older records have it in their ranks alone; a mean over some of the seeds would stand beside
    means over all.
    """
    found = [_items_alike(run, metrics) for run in row.runs]
    runs = []
    for run, alike in zip(row.runs, found, strict=True):
        slices = dict(run.facts.get("slices") or {})
        slices.pop(WEIGHTS, None)
        if all(found):
            slices[WEIGHTS] = {ALIKE: alike}
        runs.append(replace(run, facts={**run.facts, "slices": slices}))
    return replace(row, runs=runs)


def with_lists_alike(row: Row) -> Row:
    """Return a row that says nothing of its lists but what all of its runs say.

    Older records of models that read no text have no word of their lists' texts.
    """
    lists = [run.facts.get("lists") or {} for run in row.runs]
    common = {name for name in lists[0] if all(one.get(name) is not None for one in lists)}
    told = [{name: one[name] if name in common else None for name in one} for one in lists]
    pairs = zip(row.runs, told, strict=True)
    return replace(
        row, runs=[replace(run, facts={**run.facts, "lists": one}) for run, one in pairs]
    )


def _items_alike(run: Record, metrics: Sequence[str]) -> Mapping[str, Any] | None:
    slices = run.facts.get("slices") or {}
    if (kept := (slices.get(WEIGHTS) or {}).get(ALIKE)) is not None:
        return dict(kept)
    if not slices or run.ranks is None:
        return None
    ranks = read_ranks(run.ranks)
    values = {name: case_values(ranks, name) for name in metrics}
    return metrics_over_items(np.array(ranks.items), values)


def _run_scores(run: Record, path: Path, metrics: Sequence[str], *, main: str) -> pd.DataFrame:
    ranks = read_ranks(path)
    for name in metrics:
        said = run.facts["test_result"].get(name)
        _check(path, name, float(np.nanmean(case_values(ranks, name))), said)
    values = case_values(ranks, main)
    columns = {}
    for part, labels in case_groups(run, ranks).items():
        for group, one in run.facts["slices"][part].items():
            key, own = f"{part}/{group}", labels == group
            _check(path, f"cases of {key}", int(own.sum()), one["cases"])
            _check(path, f"{main} of {key}", values[own].mean(), one["metrics"].get(main))
            columns[key] = user_means(np.where(own, values, np.nan), ranks)
    return user_scores(ranks, metrics).assign(**columns)


def _check(path: Path, what: str, found: float, said: float | None) -> None:
    """Refuse ranks that do not give what the record beside them says."""
    if said is not None and abs(found - said) > TOLERANCE:
        raise RecordError(
            f"{path}: its ranks give {what} {found:.6g}, the record beside it says {said:.6g}. "
            "They are of two runs: run recbole-llm bench --force."
        )


def case_groups(run: Record, ranks: Ranks) -> dict[str, np.ndarray]:
    """Return the group of each test case, ``(C,)``, in the record's slices that ranks can tell."""
    said = run.facts.get("slices") or {}
    found = {}
    if "item_popularity" in said and ranks.popularity is not None:
        cases = {name: one["cases"] for name, one in said["item_popularity"].items()}
        found["item_popularity"] = popularity_labels(ranks.popularity, cases)
    if "history_length" in said and ranks.history is not None:
        found["history_length"] = bands(ranks.history, HISTORY)
    return found


def popularity_labels(popularity: np.ndarray, cases: Mapping[str, int]) -> np.ndarray:
    """Return head, torso, tail or cold of each case, ``(C,)``.

    Where the groups border is a matter of all items, whose counts a record does not hold. But a
    group is a range of popularity, so that its number of cases tells the least popular of them.

    Args:
        popularity: Training interactions of each case's target, ``(C,)``.
        cases: How many cases each group has.
    """
    falling = np.sort(popularity)[::-1]
    present = [name for name in POPULARITY if cases.get(name)]
    ends = np.cumsum([cases[name] for name in present]).clip(max=len(falling))
    least = {int(falling[end - 1]): name for end, name in zip(ends, present, strict=True)}
    return bands(popularity, dict(sorted(least.items())))
