"""Metrics from ranks; pure NumPy.

Letters: C cases, K length of a list.

A case has one target. ``above`` candidates have a higher score, and ``ties`` other candidates have
its score. The order of ties is random, so that the target's rank is uniform over ``above + 1`` to
``above + ties + 1``, and a metric is its expectation; without ties it is the usual metric. No order
of items or chunks can matter, and a constant scorer has the metrics of chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

RANK_METRICS = ("hit", "recall", "precision", "ndcg", "mrr", "map", "gauc")


class Standings(Protocol):
    """What metrics are made of: ``above``, ``ties`` and ``candidates`` of each case, ``(C,)``."""

    @property
    def above(self) -> np.ndarray:
        """Candidates with a higher score."""

    @property
    def ties(self) -> np.ndarray:
        """Other candidates with the target's score."""

    @property
    def candidates(self) -> np.ndarray:
        """Items that were ranked, the target among them."""


@dataclass(frozen=True)
class Ranking:
    """Where each case's target stands.

    Attributes:
        above: Candidates with a higher score, ``(C,)``.
        ties: Other candidates with the target's score, ``(C,)``.
        candidates: Items that were ranked, the target among them, ``(C,)``.
        lists: The best items of each case, best first, ``(C, K)``; K may be 0.
    """

    above: np.ndarray
    ties: np.ndarray
    candidates: np.ndarray
    lists: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Ranking]) -> Ranking:
        """Return the rankings of consecutive cases as one."""
        names = ("above", "ties", "candidates", "lists")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def expected_metric(name: str, ranking: Standings, *, k: int = 1) -> np.ndarray:
    """Return a metric's expectation for each case, ``(C,)``, in float64.

    Args:
        name: One of ``RANK_METRICS``, as RecBole defines them for one target.
        ranking: The ranks.
        k: The cutoff; GAUC has none.
    """
    above, ties = ranking.above, ranking.ties
    if name == "gauc":
        others = ranking.candidates - 1
        better = others - above - ties / 2
        return np.asarray(np.where(others > 0, better / np.maximum(others, 1), np.nan))
    places = np.arange(1, k + 1)
    gain = {
        "hit": np.ones(k),
        "recall": np.ones(k),
        "precision": np.full(k, 1 / k),
        "ndcg": 1 / np.log2(places + 1),
        "mrr": 1 / places,
        "map": 1 / places,
    }[name]
    gain = np.append(gain, 0.0)  # (k + 1,); a rank beyond k gains nothing
    total = np.append(0.0, np.cumsum(gain))  # (k + 2,)
    first = np.minimum(above, k)
    spread = (total[np.minimum(above + ties + 1, k)] - total[first]) / (ties + 1)
    return np.asarray(np.where(ties > 0, spread, gain[first]))


def reordered(ranking: Ranking, scores: np.ndarray, *, targets: np.ndarray) -> Ranking:
    """Return a ranking whose first K items are in the order of other scores.

    A target among them stands where its score puts it, ties by expectation; any other keeps its
    place, which is behind them.

    Args:
        ranking: The ranking; its lists are K long or longer.
        scores: Of the first K of each list, ``(C, K)``; -inf where a list is shorter.
        targets: Each case's target, ``(C,)``.
    """
    num_top = scores.shape[1]
    head, tail = ranking.lists[:, :num_top], ranking.lists[:, num_top:]
    is_target = head == targets[:, None]
    own = np.where(is_target, scores, -np.inf).max(1, keepdims=True)
    is_found = is_target.any(1)
    behind = np.maximum(ranking.above, (head > 0).sum(1))
    order = np.argsort(-scores, axis=1, kind="stable")
    return Ranking(
        above=np.where(is_found, (scores > own).sum(1), behind),
        ties=np.where(
            is_found, (scores == own).sum(1) - 1, ranking.ties - (behind - ranking.above)
        ),
        candidates=ranking.candidates,
        lists=np.concatenate([np.take_along_axis(head, order, axis=1), tail], axis=1),
    )
