"""How much each hyper-parameter matters, as far as the trials can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_llm.sweep.ledger import Trial
from recbole_llm.sweep.specs import Dimension, Sweep

LEAST = 10  # trials below which a forest tells nothing
REPEATS, TREES = 30, 300


@dataclass(frozen=True)
class Importances:
    """Permutation importances of a random forest (Breiman, 2001).

    Attributes:
        table: Of each setting the share of explained variance lost when it is shuffled, and the
            deviation of that over shuffles; empty where the forest explains nothing.
        fit: R² of the forest on trials that a tree has not seen; near 0 the table means little,
            below it there is none.
    """

    table: Mapping[str, tuple[float, float]]
    fit: float


def importances(sweep: Sweep, trials: Sequence[Trial]) -> Importances | None:
    """Return the importance of each setting of a space, or None where trials are few or equal.

    A trial that was cut counts with what it reached, which favours settings that learn fast.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scores = np.array([one.best for one in trials], dtype=float)
    if len(trials) < LEAST or np.ptp(scores) == 0:
        return None
    columns = [
        [_number(its, one.settings.get(name)) for one in trials]
        for name, its in sweep.space.items()
    ]
    inputs = np.array(columns).T  # (trials, settings)
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=sweep.seed)
    forest.fit(inputs, scores)
    if forest.oob_score_ <= 0:
        return Importances({}, float(forest.oob_score_))
    found = permutation_importance(
        forest, inputs, scores, n_repeats=REPEATS, random_state=sweep.seed
    )
    pairs = zip(found.importances_mean, found.importances_std, strict=True)
    table = {
        name: (max(0.0, float(mean)), float(deviation))
        for name, (mean, deviation) in zip(sweep.space, pairs, strict=True)
    }
    return Importances(table, float(forest.oob_score_))


def _number(dimension: Dimension, value: Any) -> float:
    """Return a value as a number; of one that was not drawn, a number apart."""
    ends = dimension.ends
    if value is None and (dimension.kind != "choice" or None not in ends):
        return -1e3
    if dimension.kind == "choice":
        return float(ends.index(value))
    return math.log(value) if dimension.kind == "loguniform" else float(value)
