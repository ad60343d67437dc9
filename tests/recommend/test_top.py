"""Exact lists in chunks."""

from __future__ import annotations

import pytest
import torch

from recbole_llm.recommend.top import top_items
from recbole_llm.train.blocks import Candidates, ScoreBlocks

EMPTY = torch.zeros(0, dtype=torch.int64)


def candidates(*scores: float, twins=EMPTY, firsts=EMPTY) -> Candidates:
    """Return items with these scores for the interest 1, padding first."""
    return Candidates(torch.tensor([[9.0], *([s] for s in scores)]), twins, firsts, 1.0)


@pytest.mark.parametrize("span", [2, 3, 4, 100])
def test_the_best_come_first_and_of_equals_the_lower_id(span: int) -> None:
    # ids 1..6; padding, 9, is never recommended
    given = candidates(1.0, 3.0, 2.0, 3.0, 0.0, 3.0)
    scores, ids = top_items(torch.ones(1, 1), given, seen=None, length=4, span=span)
    assert ids.tolist() == [[2, 4, 6, 3]] and scores.tolist() == [[3.0, 3.0, 3.0, 2.0]]
    seen = torch.tensor([0, 0]), torch.tensor([4, 1])
    scores, ids = top_items(torch.ones(1, 1), given, seen=seen, length=5, span=span)
    assert ids[0, :4].tolist() == [2, 6, 3, 5] and scores[0, 4] == -torch.inf


@pytest.mark.parametrize("span", [2, 3, 100])
def test_twins_have_the_score_of_the_first_whatever_chunk_it_is_in(span: int) -> None:
    given = candidates(1.0, 2.0, 5.0, 7.0, twins=torch.tensor([3, 4]), firsts=torch.tensor([2, 1]))
    scores, ids = top_items(torch.ones(1, 1), given, seen=None, length=4, span=span)
    assert ids.tolist() == [[2, 3, 1, 4]] and scores.tolist() == [[2.0, 2.0, 1.0, 1.0]]


def test_a_twin_s_score_is_not_that_of_another_product(monkeypatch) -> None:
    """The first item ends a block and so begins the next, whose product may round otherwise."""
    given = candidates(1.0, 2.0, 5.0, 7.0, twins=torch.tensor([3]), firsts=torch.tensor([2]))
    products = ScoreBlocks._products

    def rounded(self, begin: int, stop: int) -> torch.Tensor:
        return products(self, begin, stop) + begin * 1e-3

    monkeypatch.setattr(ScoreBlocks, "_products", rounded)
    scores, ids = top_items(torch.ones(1, 1), given, seen=None, length=4, span=3)
    assert ids.tolist() == [[4, 2, 3, 1]] and scores[0, 1] == scores[0, 2]


@pytest.mark.parametrize("has_offset", [False, True])
def test_chunks_are_the_whole(has_offset: bool) -> None:
    torch.manual_seed(0)
    vectors, offset = torch.randn(1001, 16), torch.randn(1001) if has_offset else None
    given = Candidates(vectors, torch.tensor([900]), torch.tensor([3]), 0.5, offset)
    interests = torch.randn(9, 16)
    seen = torch.arange(9).repeat(50), torch.randint(1, 1001, (450,))
    whole = top_items(interests, given, seen=seen, length=40)
    parts = top_items(interests, given, seen=seen, length=40, span=64)
    assert torch.equal(whole[1], parts[1])
    torch.testing.assert_close(whole[0], parts[0])


def test_a_million_items_are_ranked_exactly() -> None:
    """In eight chunks."""
    torch.manual_seed(0)
    vectors = torch.randn(10**6 + 1, 4)
    interests = torch.randn(3, 4)
    scores, ids = top_items(interests, Candidates(vectors, EMPTY, EMPTY, 1.0), seen=None, length=10)
    expected = (interests.double() @ vectors[1:].double().T).topk(10, dim=1)
    assert torch.equal(ids, expected.indices + 1)
    torch.testing.assert_close(scores, expected.values.float())
