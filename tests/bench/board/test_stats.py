"""Tests, intervals and corrections on numbers that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from recbole_llm.bench.stats import (
    Comparison,
    compare,
    compare_with_reference,
    detectable_difference,
    holm,
    paired_differences,
    summarise,
    user_scores,
)
from recbole_llm.ranks import Ranks


def scores(**values: float) -> pd.DataFrame:
    """Return the scores of users in one metric, in the order given."""
    return pd.DataFrame({"ndcg@10": values})


def test_mean_and_sample_deviation_over_seeds() -> None:
    summary = summarise([1.0, 2.0, 3.0])
    assert summary is not None
    assert (summary.mean, summary.deviation) == (2.0, 1.0)


def test_one_seed_has_no_deviation_and_none_no_summary() -> None:
    one = summarise([0.5])
    assert one is not None and one.mean == 0.5 and one.deviation is None
    assert summarise([]) is None


def test_a_users_score_is_the_mean_over_the_users_cases() -> None:
    counts = np.array([0, 2, 1])  # ranks 1, 3 and 2
    ranks = Ranks(["b", "a", "b"], ["x", "y", "z"], counts, 0 * counts, counts + 9, [])
    found = user_scores(ranks, ["recall@1", "mrr@3"])
    assert found.to_dict("index") == {
        "a": {"recall@1": 0.0, "mrr@3": pytest.approx(1 / 3)},
        "b": {"recall@1": 0.5, "mrr@3": pytest.approx((1 + 1 / 2) / 2)},
    }


def test_users_are_paired_by_id_over_the_seeds_that_both_have() -> None:
    one = {1: scores(u=0.5, v=1.0), 2: scores(v=0.0, u=1.0), 3: scores(u=9.0, v=9.0)}
    other = {2: scores(u=0.5, v=0.5, w=7.0), 1: scores(w=7.0, v=0.0, u=0.5)}
    found = paired_differences(one, other, "ndcg@10")
    assert found.tolist() == [(0.0 + 0.5) / 2, (1.0 - 0.5) / 2]  # u, v; w has no partner


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 1 / 8),  # the sum 6 is one of 8 signings
        ([1, 2, 3, 0, 0], 1 / 8),
        ([-1, 2, 3], 2 / 8),  # sums of at least 4: 6, 4
        ([-1, -2, -3], 1.0),
        ([1, 0, 0, 0], 1 / 2),
        ([0, 0, 0], 1.0),
    ],
)
def test_the_permutation_test_counts_signings(differences: list[float], p: float) -> None:
    assert compare(np.array(differences, float), num_seeds=2).p == pytest.approx(p)


def test_of_many_signings_a_part_is_drawn() -> None:
    """All 2**16 counted by hand, which is more than are drawn; then users beyond any counting."""
    differences = np.random.default_rng(3).normal(0.6, 1, 16)
    signings = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    exact = (signings @ differences >= differences.sum() - 1e-12).mean()
    assert 0.05 < exact < 0.5
    assert compare(differences, num_seeds=2).p == pytest.approx(exact, abs=0.015)
    many = compare(np.tile([1.0, -1.0, 0.1], 1000), num_seeds=2)
    assert many.p == pytest.approx(0.0129, abs=0.004)  # the normal's tail at 2.23


def test_a_better_model_has_a_small_p_and_a_worse_one_a_large() -> None:
    differences = np.random.default_rng(1).normal(0.1, 0.2, 200)
    better, worse = (compare(sign * differences, num_seeds=3) for sign in (1, -1))
    assert better.p < 0.001 and better.low > 0 and better.mark == "*"
    assert worse.p > 0.999 and worse.high < 0 and worse.mark == "†"
    assert better.difference == -worse.difference == differences.mean()


def test_a_mark_wants_less_than_five_percent() -> None:
    facts = {"difference": 0.1, "low": 0.0, "high": 0.2, "p": 0.05, "num_users": 9, "num_seeds": 2}
    marks = [Comparison(**facts, p_holm=p, detectable=0.1).mark for p in (0.0499, 0.05)]
    assert marks == ["*", ""]


def test_no_difference_has_no_mark() -> None:
    alike = compare(np.tile([0.1, -0.1], 50), num_seeds=2)
    assert alike.low < 0 < alike.high and alike.mark == ""


def test_the_interval_has_the_width_of_the_normal_approximation() -> None:
    differences = np.random.default_rng(2).normal(0, 1, 400)
    found = compare(differences, num_seeds=2)
    error = differences.std(ddof=1) / math.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert (found.low + found.high) / 2 == pytest.approx(differences.mean(), abs=error / 10)


def test_equal_differences_leave_no_doubt() -> None:
    found = compare(np.full(8, 0.25), num_seeds=2)
    assert (found.low, found.high, found.detectable) == (0.25, 0.25, 0.0)
    assert found.p == 1 / 2**8


def test_the_detectable_difference_is_that_of_the_power_formula() -> None:
    # z(.975) + z(.8) = 1.95996 + 0.84162
    assert detectable_difference(1.0, 100) == pytest.approx(0.280158, abs=1e-6)


def test_the_noise_of_ml_100k_is_that_of_the_design() -> None:
    # One run's recall of .13 over 943 users has a standard error of .011.
    deviation = math.sqrt(0.13 * 0.87)
    assert deviation / math.sqrt(943) == pytest.approx(0.011, abs=0.0001)
    assert detectable_difference(deviation, 943) == pytest.approx(2.8016 * 0.01095, rel=0.001)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def many(shift: float, *, seeds: int) -> dict[int, pd.DataFrame]:
    chance = np.random.default_rng(0)
    users = [str(user) for user in range(100)]
    values = chance.normal(shift, 1, (seeds, 100))
    return {
        seed: pd.DataFrame({"ndcg@10": row, "mrr@10": row / 2}, index=users)
        for seed, row in enumerate(values)
    }


def test_the_table_is_one_family_and_one_seed_is_no_test() -> None:
    tables = {"best": many(1, seeds=2), "good": many(0.9, seeds=2), "single": many(0, seeds=1)}
    found = compare_with_reference("best", tables, ["ndcg@10", "mrr@10"])
    assert found.keys() == {
        (label, metric) for label in ("good", "single") for metric in ("ndcg@10", "mrr@10")
    }
    assert found["single", "ndcg@10"] == "seeds with ranks in common: 1; a test needs two"
    ndcg, mrr = found["good", "ndcg@10"], found["good", "mrr@10"]
    assert not isinstance(ndcg, str) and not isinstance(mrr, str)
    assert [ndcg.p_holm, mrr.p_holm] == holm([ndcg.p, mrr.p])
    assert ndcg.num_users == 100 and ndcg.num_seeds == 2


def test_models_without_common_users_are_not_compared() -> None:
    one, other = many(1, seeds=2), many(0, seeds=2)
    strangers = {seed: table.rename(lambda user: f"x{user}") for seed, table in other.items()}
    found = compare_with_reference("one", {"one": one, "other": strangers}, ["ndcg@10"])
    assert found == {("other", "ndcg@10"): "fewer than two users in common"}


def test_chance_comes_from_a_fixed_seed() -> None:
    tables = {"one": many(1, seeds=2), "other": many(0.9, seeds=2)}
    first, second = (compare_with_reference("one", tables, ["ndcg@10"]) for _ in range(2))
    assert first == second
