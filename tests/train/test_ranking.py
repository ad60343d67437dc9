"""Ranks and metrics on small tables that can be checked by hand, and against other libraries."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
import pytrec_eval
import torch

from recbole_llm.errors import NonFiniteError
from recbole_llm.ranking_metrics import RANK_METRICS, Ranking, expected_metric
from recbole_llm.train.ranking import best_items, rank

INF = math.inf


def ranked(
    rows: list[list[float]], targets: list[int], *, seen=None, length: int = 0, only=None
) -> Ranking:
    """Rank rows of scores; the first column is padding."""
    blocks, where = whole(torch.tensor(rows)), torch.tensor(targets)
    return rank(blocks, where, seen=seen, list_length=length, place="here", only=only)


def whole(scores: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    """Return scores as one block."""
    return [(0, scores)]


def standing(above: int, ties: int = 0, candidates: int = 100) -> Ranking:
    """Return the ranking of one case."""
    counts = (np.array([count]) for count in (above, ties, candidates))
    return Ranking(*counts, lists=np.empty((1, 0)))


def test_scores_above_and_equal_are_counted_and_padding_is_not() -> None:
    found = ranked([[9.0, 3.0, 1.0, 2.0, 2.0], [2.0, 5.0, 5.0, 5.0, 5.0]], [3, 1])
    assert found.above.tolist() == [1, 0]
    assert found.ties.tolist() == [1, 3]
    assert found.candidates.tolist() == [4, 4]


def test_what_was_seen_is_no_candidate_but_a_repeated_target_is() -> None:
    rows = [[0.0, 4.0, 3.0, 2.0, 2.0]] * 2
    seen = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 1, 4, 1, 3])
    found = ranked(rows, [3, 3], seen=seen)
    assert found.above.tolist() == [1, 1]  # item 2 only
    assert found.ties.tolist() == [0, 1]  # item 4 was seen in the first case
    assert found.candidates.tolist() == [2, 3]


def test_only_some_items_and_the_target_are_candidates() -> None:
    rows = [[9.0, 4.0, 3.0, 2.0, 2.0, 1.0]] * 3
    only = torch.tensor([True, False, True, False, True, True])  # padding is none even so
    found = ranked(rows, [4, 5, 1], length=2, only=only)
    assert found.above.tolist() == [1, 2, 0]  # item 2; items 2 and 4; the target is one of none
    assert found.ties.tolist() == [0, 0, 0]  # item 3 is no candidate
    assert found.candidates.tolist() == [3, 3, 4]
    assert found.lists[0].tolist() == [2, 4]
    seen = torch.tensor([0, 1, 1]), torch.tensor([2, 2, 3])
    found = ranked(rows, [4, 5, 1], seen=seen, only=only)
    assert found.above.tolist() == [0, 1, 0] and found.candidates.tolist() == [2, 2, 4]


def test_a_target_that_the_model_rules_out_ties_with_candidates_only() -> None:
    found = ranked([[0.0, 1.0, -INF, -INF, -INF]], [2], seen=(torch.tensor([0]), torch.tensor([3])))
    assert (found.above.item(), found.ties.item(), found.candidates.item()) == (1, 1, 3)


@pytest.mark.parametrize("span", [2, 3, 5, 8, 30])
def test_blocks_of_items_rank_as_the_whole(span: int) -> None:
    """Few different scores, so that ties lie on both sides of every cut; some are ruled out."""
    torch.manual_seed(0)
    scores, targets = torch.randint(0, 4, (40, 30)).float(), torch.randint(1, 30, (40,))
    scores[scores == 0] = -INF
    seen = torch.arange(40).repeat(6), torch.randint(1, 30, (240,))
    only = torch.rand(30) < 0.7
    cuts = range(0, 29, span - 1)
    for how in ({"seen": None}, {"seen": seen}, {"seen": None, "only": only}):
        cut = [(begin, scores[:, begin : begin + span].clone()) for begin in cuts]
        found = rank(cut, targets, list_length=6, place="", **how)
        expected = rank(whole(scores.clone()), targets, list_length=6, place="", **how)
        for name in ("above", "ties", "candidates", "lists"):
            assert (getattr(found, name) == getattr(expected, name)).all(), name
        assert (expected.ties > 0).any()


@pytest.mark.parametrize("value", [math.nan, INF])
@pytest.mark.parametrize("column", [1, 2])
def test_a_score_that_is_not_finite_is_an_error(value: float, column: int) -> None:
    row = [0.0, 1.0, 2.0]
    row[column] = value
    with pytest.raises(NonFiniteError, match="here: the model gives scores that are NaN"):
        ranked([row], [1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hit", 1.0),
        ("recall", 1.0),
        ("precision", 1 / 5),
        ("ndcg", math.log(2) / math.log(4)),
        ("mrr", 1 / 3),
        ("map", 1 / 3),
        ("gauc", 97 / 99),
    ],
)
def test_rank_three_without_ties(name: str, value: float) -> None:
    assert expected_metric(name, standing(2), k=5).item() == pytest.approx(value, abs=1e-15)
    if name != "gauc":
        assert expected_metric(name, standing(2), k=2).item() == 0


@pytest.mark.parametrize(
    ("name", "value"),  # ranks 2, 3 and 4 are equally likely; the list ends at 3
    [
        ("hit", 2 / 3),
        ("precision", 2 / 9),
        ("ndcg", (math.log(2) / math.log(3) + 1 / 2) / 3),
        ("mrr", (1 / 2 + 1 / 3) / 3),
        ("gauc", (98 + 97 + 96) / 3 / 99),
    ],
)
def test_ties_give_the_expectation_over_their_order(name: str, value: float) -> None:
    found = expected_metric(name, standing(1, ties=2), k=3).item()
    assert found == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_a_constant_scorer_has_the_metrics_of_chance(k: int) -> None:
    num_items = 7
    found = ranked([[1.0] * (num_items + 1)], [4])
    chance = {
        "hit": k / num_items,
        "recall": k / num_items,
        "precision": 1 / num_items,
        "mrr": sum(1 / place for place in range(1, k + 1)) / num_items,
        "map": sum(1 / place for place in range(1, k + 1)) / num_items,
        "ndcg": sum(1 / math.log2(place + 1) for place in range(1, k + 1)) / num_items,
        "gauc": 1 / 2,
    }
    for name in RANK_METRICS:
        value = expected_metric(name, found, k=k).item()
        assert value == pytest.approx(chance[name], abs=1e-15), name


def test_the_order_of_items_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 5, (40, 30), generator=generator).float()  # many ties
    targets = torch.randint(1, 30, (40,), generator=generator)
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(29)])
    place = torch.argsort(order)  # where an item went
    one = rank(whole(scores.clone()), targets, seen=None, list_length=0, place="")
    other = rank(whole(scores[:, order]), place[targets], seen=None, list_length=0, place="")
    assert (one.ties > 0).all()
    assert np.array_equal(one.above, other.above) and np.array_equal(one.ties, other.ties)


def test_metrics_equal_those_of_pytrec_eval_and_ir_measures() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(50, 41, generator=generator)
    targets = torch.randint(1, 41, (50,), generator=generator)
    qrels = {f"q{row}": {f"d{item}": 1} for row, item in enumerate(targets.tolist())}
    run = {
        f"q{row}": {f"d{item}": score for item, score in enumerate(values) if item > 0}
        for row, values in enumerate(scores.tolist())
    }
    found = rank(whole(scores), targets, seen=None, list_length=0, place="")
    trec = pytrec_eval.RelevanceEvaluator(
        qrels, {"ndcg_cut.10", "recall.10", "P.10", "success.10", "map_cut.10"}
    ).evaluate(run)
    ours = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "hit": "success"}
    for name, theirs in (ours | {"map": "map_cut"}).items():
        expected = [trec[f"q{row}"][f"{theirs}_10"] for row in range(50)]
        assert np.allclose(expected_metric(name, found, k=10), expected, rtol=0, atol=1e-9), name
    reciprocal = ir_measures.iter_calc([ir_measures.RR @ 10], qrels, run)
    expected = {value.query_id: value.value for value in reciprocal}
    mrr = expected_metric("mrr", found, k=10)
    assert 0 < np.count_nonzero(mrr) < 50
    for row, value in enumerate(mrr):
        assert value == pytest.approx(expected[f"q{row}"], abs=1e-9)


def test_lists_have_the_best_first_and_of_equals_the_lower_id() -> None:
    scores = torch.tensor(
        [[9.0, 1.0, 3.0, 2.0, 3.0, 3.0], [9.0, 0.0, -0.0, -1.0, -2.0, 0.0], [9.0, *[4.0] * 5]]
    )
    assert best_items(scores, 2).tolist() == [[2, 4], [1, 2], [1, 2]]
    assert best_items(scores, 4).tolist() == [[2, 4, 5, 3], [1, 2, 5, 3], [1, 2, 3, 4]]
    assert best_items(scores, 0).shape == (3, 0)
