"""What the mean over all test cases hides: metrics by group, and what the lists are made of.

Pure NumPy. Letters: C cases, N items (row 0 is padding), K length of a list, D text-vector size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FEWEST_CASES = 20  # a group of fewer is no side of a gap
CHUNK = 4096  # lists whose text vectors are added up together
ALIKE = "each item alike"
POPULARITY = ("head", "torso", "tail", "cold")
HISTORY = {1: "1-4", 5: "5-9", 10: "10-19", 20: "20-49", 50: "50+"}
AGES = {0: "<18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56+"}


def popularity_groups(counts: np.ndarray) -> np.ndarray:
    """Return the group of each item, ``(N,)``: head, torso, tail or cold.

    Items in order of popularity: those before which lies less than a third of all interactions are
    the head, those before which lie two thirds or more the tail. Items that are equally popular are
    in one group; those without interactions are cold.

    Args:
        counts: Training interactions of each item, ``(N,)``.
    """
    values, of_value = np.unique(counts, return_inverse=True)
    weight = np.bincount(of_value, weights=counts, minlength=len(values))
    thirds = 3 * (weight.sum() - np.cumsum(weight))  # of what is more popular, (V,)
    names = np.where(thirds < weight.sum(), "head", "torso")
    names[thirds >= 2 * weight.sum()] = "tail"
    names[values == 0] = "cold"
    return names[of_value]


def bands(values: np.ndarray, names: Mapping[int, str]) -> np.ndarray:
    """Return the name of the band that each value is in; ``names`` is by the least of a band."""
    at = np.searchsorted(list(names), values, side="right") - 1
    return np.array(list(names.values()))[at]


def metrics_by_group(
    labels: np.ndarray, values: Mapping[str, np.ndarray], *, order: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the cases and the mean metrics of each group that has cases.

    Args:
        labels: The group of each case, ``(C,)``; cases of an empty label are in none.
        values: Metrics of each case by name, ``(C,)``.
        order: Groups in the order wanted; by name otherwise.
    """
    found = {}
    for name in order or sorted(set(labels.tolist()) - {""}):
        own = labels == name
        if own.any():
            metrics = {metric: float(value[own].mean()) for metric, value in values.items()}
            found[name] = {"cases": int(own.sum()), "metrics": metrics}
    return found


def metrics_over_items(items: np.ndarray, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the cases, how many items they are of, and metrics in which each item counts alike.

    Args:
        items: The target of each case, ``(C,)``.
        values: Metrics of each case by name, ``(C,)``.
    """
    _, of_item, number = np.unique(items, return_inverse=True, return_counts=True)
    means = {
        metric: float((np.bincount(of_item, weights=value) / number).mean())
        for metric, value in values.items()
    }
    return {"cases": len(items), "items": len(number), "metrics": means}


def gaps(slices: Mapping[str, Any], *, metric: str) -> dict[str, Any]:
    """Return, for each kind of user group, the worst and the best group and their distance.

    Args:
        slices: Groups as ``metrics_by_group`` returns them, by kind.
        metric: The metric they are compared by.
    """
    found = {}
    for kind, groups in slices.items():
        large = {
            name: one
            for name, one in groups.items()
            if one["cases"] >= FEWEST_CASES and metric in one["metrics"]
        }
        if not kind.startswith("user.") or len(large) < 2:
            continue
        value = {name: one["metrics"][metric] for name, one in large.items()}
        worst, best = min(value, key=value.__getitem__), max(value, key=value.__getitem__)
        found[kind] = {
            "metric": metric,
            "gap": value[best] - value[worst],
            "worst": worst,
            "worst_value": value[worst],
            "best": best,
        }
    return found


def list_facts(
    lists: np.ndarray, counts: np.ndarray, *, text: np.ndarray | None = None
) -> dict[str, float | None]:
    """Return what is recommended: its spread over items, its popularity, novelty and diversity.

    Args:
        lists: The best items of each case, ``(C, K)``; 0 where a list is shorter.
        counts: Training interactions of each item, ``(N,)``.
        text: Text vectors, ``(N, D)``, zero where an item has none.

    Returns:
        ``coverage``: share of the items that are in a list. ``gini``: of how often each item is
        in one; 0 is evenly, 1 is one item only. ``popularity``: mean training interactions.
        ``novelty``: mean −log₂ of an item's share of them, one without any counted as having one.
        ``text_diversity``: see there.
    """
    shown = lists[lists > 0]
    times = np.bincount(shown, minlength=len(counts))[1:]
    popularity = counts[shown]
    share = np.maximum(popularity, 1) / counts.sum()
    return {
        "coverage": float(np.mean(times > 0)),
        "gini": gini(times),
        "popularity": float(popularity.mean()),
        "novelty": float(-np.log2(share).mean()),
        "text_diversity": None if text is None else text_diversity(lists, text),
    }


def gini(times: np.ndarray) -> float:
    """Return the Gini coefficient of how often each item was recommended, ``(N - 1,)``."""
    number = len(times)
    weight = 2 * np.arange(1, number + 1) - number - 1
    return float((weight * np.sort(times)).sum() / (number * times.sum()))


def text_diversity(lists: np.ndarray, text: np.ndarray) -> float | None:
    """Return the mean over lists of the mean of 1 − cosine over a list's pairs of items.

    Items without text are left out, and so are lists with fewer than two that have text; None if no
    list is left. The sum over pairs follows from the length of the sum of the unit vectors.

    Args:
        lists: ``(C, K)``; 0 where a list is shorter.
        text: ``(N, D)``, row 0 and the rows of items without text zero.
    """
    length = np.linalg.norm(text, axis=1, keepdims=True)
    unit = text / np.where(length > 0, length, 1)
    number = (length[:, 0] > 0)[lists].sum(1)  # (C,)
    square = np.empty(len(lists))
    for at in range(0, len(lists), CHUNK):
        total = sum(unit[column] for column in lists[at : at + CHUNK].T)  # (CHUNK, D)
        square[at : at + CHUNK] = np.square(total).sum(1)
    number, square = number[number > 1], square[number > 1]
    if len(number) == 0:
        return None
    return float(np.mean(1 - (square - number) / (number * (number - 1))))
