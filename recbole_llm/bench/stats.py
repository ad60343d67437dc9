"""What may be said of differences between models; NumPy, pandas and SciPy.

Letters: U users, M metrics.

The unit of a test is a user: a metric's mean over the user's test cases, then over the seeds that
both models have. Models are paired by raw user id. Seeds are averaged, not drawn again, so that a
test speaks of these trained models and other users; what another seed would do is the deviation's
to say. One seed gives neither a deviation nor a test. Chance comes from a fixed seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from recbole_llm.ranking_metrics import expected_metric
from recbole_llm.ranks import Ranks

RESAMPLES = 9999
ALPHA, POWER = 0.05, 0.8
LEVEL = 1 - ALPHA
CELLS = 2**22  # numbers drawn at once: bounded memory for any number of users

Key = TypeVar("Key")
UserScores = Mapping[int, pd.DataFrame]
"""By seed: a row a user, a column a metric."""


@dataclass(frozen=True)
class Summary:
    """A number over seeds.

    Attributes:
        values: One a seed, in the order of the seeds.
        mean: Their mean.
        deviation: Their sample standard deviation; of one value there is none.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """How much better a reference is than another model in one metric.

    Attributes:
        difference: Mean over users of reference minus other; every metric tested is better higher.
        low: Lower end of the 95 % bootstrap interval.
        high: Its upper end.
        p: One-sided: how likely so large a difference is if the models are alike.
        p_holm: The same, corrected for all comparisons of the table.
        num_users: Users that both models have.
        num_seeds: Seeds that both models have.
        detectable: The smallest true difference that as many users show in 80 % of the cases.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    num_users: int
    num_seeds: int
    detectable: float

    @property
    def mark(self) -> str:
        """``*`` if the reference is better, ``†`` if the interval says it is worse."""
        if self.p_holm < ALPHA:
            return "*"
        return "†" if self.high < 0 else ""


def summarise(values: Sequence[float]) -> Summary | None:
    """Return mean and deviation of one number over seeds, or None where there is no value."""
    if not values:
        return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Summary(tuple(values), statistics.fmean(values), deviation)


def user_scores(ranks: Ranks, metrics: Sequence[str]) -> pd.DataFrame:
    """Return each user's mean over test cases of each metric, ``(U, M)``, under raw ids."""
    return pd.DataFrame({name: user_means(case_values(ranks, name), ranks) for name in metrics})


def case_values(ranks: Ranks, metric: str) -> np.ndarray:
    """Return a metric, as ``ndcg@10``, of each case, ``(C,)``."""
    base, _, k = metric.partition("@")
    return expected_metric(base, ranks, k=int(k or 1))


def user_means(values: np.ndarray, ranks: Ranks) -> pd.Series:
    """Return each user's mean over those test cases that have a value, ``(U,)``, under raw ids."""
    return pd.Series(values, index=ranks.users).groupby(level=0).mean()


def paired_differences(one: UserScores, other: UserScores, metric: str) -> pd.Series:
    """Return one minus other for each user that both have, averaged over common seeds, ``(U,)``."""
    seeds = sorted(one.keys() & other.keys())
    columns = [one[seed][metric] - other[seed][metric] for seed in seeds]  # aligned by user id
    return pd.concat(columns, axis=1).dropna().mean(axis=1)


def compare(differences: np.ndarray, *, num_seeds: int) -> Comparison:
    """Test whether differences ``(U,)`` of users are greater than chance makes them.

    The test is a permutation test of signs. ``p_holm`` is ``p`` until ``holm`` sees the table.
    """
    p = _sign_flips(differences)
    low, high = _interval(np.mean, differences)
    return Comparison(
        float(differences.mean()),
        low,
        high,
        p,
        p_holm=p,
        num_users=differences.size,
        num_seeds=num_seeds,
        detectable=detectable_difference(float(differences.std(ddof=1)), differences.size),
    )


def _sign_flips(differences: np.ndarray) -> float:
    """Return the share of signings whose sum is as large, of all where they are few.

    Of many a part is drawn, by ``monte_carlo_test``: SciPy's own permutations of signs go through
    the users one by one.
    """
    moved = differences[differences != 0]  # the sign of a zero changes no sum
    moved = moved if moved.size > 1 else differences
    rng = np.random.default_rng(0)
    how = {
        "n_resamples": RESAMPLES, "batch": max(1, CELLS // moved.size), "alternative": "greater",
    }  # fmt: skip
    if 2**moved.size <= RESAMPLES:
        found = stats.permutation_test((moved,), np.sum, permutation_type="samples", **how)
    else:
        found = stats.monte_carlo_test(
            moved, lambda size: np.where(rng.integers(2, size=size, dtype=bool), moved, -moved),
            np.sum, vectorized=True, **how,
        )  # fmt: skip
    return float(found.pvalue)


def compare_groups(one: np.ndarray, other: np.ndarray, *, num_seeds: int) -> Comparison:
    """Test whether the differences of some users ``(U,)`` are greater than those of others.

    The test permutes who is in which group. Its statistic is Welch's t, since groups differ in
    their variance too *(Janssen, 1997)*. ``num_users`` are those of the first group.
    """
    error = _standard_error(one, other)
    p = 1.0
    if np.ptp(np.concatenate([one, other])) > 0:
        p = stats.permutation_test(
            (one, other),
            _welch,
            permutation_type="independent",
            alternative="greater",
            n_resamples=RESAMPLES,
            batch=max(1, CELLS // (one.size + other.size)),
            rng=np.random.default_rng(0),
        ).pvalue
    low, high = _interval(_excess, one, other)
    return Comparison(
        float(_excess(one, other)),
        low,
        high,
        float(p),
        p_holm=float(p),
        num_users=one.size,
        num_seeds=num_seeds,
        detectable=detectable_difference(float(error), 1),
    )


def _excess(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.asarray(np.mean(one, axis=axis) - np.mean(other, axis=axis))


def _welch(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    with np.errstate(divide="ignore"):  # where groups are constant, one is greater without doubt
        return np.asarray(_excess(one, other, axis) / _standard_error(one, other, axis))


def _standard_error(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    variances = (np.var(part, axis=axis, ddof=1) / part.shape[axis] for part in (one, other))
    return np.asarray(np.sqrt(sum(variances)))


def _interval(statistic: Callable[..., Any], *samples: np.ndarray) -> tuple[float, float]:
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        batch=max(1, CELLS // sum(sample.size for sample in samples)),
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def detectable_difference(deviation: float, num_users: int) -> float:
    """Return the smallest mean difference that a two-sided 5 % test finds with 80 % power.

    Args:
        deviation: The standard deviation over users of the difference.
        num_users: How many users there are.
    """
    quantiles = stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)
    return float(quantiles * deviation / num_users**0.5)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number *(Holm, 1979)*."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1, (p.size - np.arange(p.size)) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(steps)
    return [float(value) for value in corrected]


def compare_with_reference(
    reference: str, scores: Mapping[str, UserScores], metrics: Sequence[str]
) -> dict[tuple[str, str], Comparison | str]:
    """Compare every other model with a reference in every metric, Holm over all of these.

    Args:
        reference: A label among those of ``scores``.
        scores: Users' scores by label and seed.
        metrics: Columns of the scores.

    Returns:
        By label and metric the comparison, or why there is none.
    """
    found: dict[tuple[str, str], Comparison | str] = {}
    for label in scores:
        for metric in metrics if label != reference else ():
            found[label, metric] = _compared(scores[reference], scores[label], metric)
    return tested_together(found)


def _compared(reference: UserScores, other: UserScores, metric: str) -> Comparison | str:
    num_seeds = len(reference.keys() & other.keys())
    if num_seeds < 2:
        return f"seeds with ranks in common: {num_seeds}; a test needs two"
    differences = paired_differences(reference, other, metric).to_numpy()
    if differences.size < 2:
        return "fewer than two users in common"
    return compare(differences, num_seeds=num_seeds)


def tested_together(found: Mapping[Key, Comparison | str]) -> dict[Key, Comparison | str]:
    """Return the same with Holm's correction over all that was tested: one family."""
    tested = {key: one for key, one in found.items() if isinstance(one, Comparison)}
    corrected = holm([one.p for one in tested.values()])
    both = zip(tested.items(), corrected, strict=True)
    return {**found, **{key: replace(one, p_holm=p_holm) for (key, one), p_holm in both}}
