"""Approximate lists: as exact ones where all is found, and how much is found elsewhere."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from recbole_llm.cli import main
from recbole_llm.errors import RequestError
from recbole_llm.model.repeats import ReadCells
from recbole_llm.recommend.nearest import NearestItems
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.top import top_items
from recbole_llm.train.blocks import Candidates

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "recall.py"
EMPTY = torch.zeros(0, dtype=torch.int64)


def recall(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the share of exact ids that were found."""
    return (found[:, :, None] == exact[:, None]).any(1).float().mean().item()


@pytest.mark.parametrize(
    "settings", [{}, {"repeat_bias": True}, {"repeat_bias": True, "similarity_bias": True}]
)
def test_a_small_catalogue_is_found_whole(trained, shop, settings) -> None:
    run = trained(**settings)
    exact, near = (Recommender.load(run, approximate=flag) for flag in (False, True))
    for user in ("u1", "u2"):
        for keep in (True, False):
            lists = [one.for_user(user, k=45, filter_seen=keep) for one in (exact, near)]
            scores = [{one.item: one.score for one in found} for found in lists]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)
            assert len(lists[1]) == shop.num_items - shop.length * keep
            order = [one.score for one in lists[1]]
            assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    "settings", [{}, {"repeat_bias": True}, {"repeat_bias": True, "similarity_bias": True}]
)
def test_texts_are_answered_too(trained, shop, settings) -> None:
    run = trained(**settings)
    near = Recommender.load(run, approximate=True)
    texts = [f"{shop.title(item)}, goods" for item in ("i1", "i9")]
    received = near.for_texts(texts, k=5)
    assert [one.item for one in received] == [
        one.item for one in Recommender.load(run).for_texts(texts, k=5)
    ]


@pytest.mark.parametrize("has_offset", [False, True])
def test_most_of_the_best_are_found_and_none_that_was_seen(has_offset: bool) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(5001, 16) * torch.rand(5001, 1).add(0.5)
    offset = 3 * torch.randn(5001) if has_offset else None
    given, interests = Candidates(vectors, EMPTY, EMPTY, 0.5, offset), torch.randn(32, 16)
    best = top_items(interests, given, seen=None, length=10)[1]
    seen = torch.arange(32).repeat_interleave(10), best.flatten()
    search = NearestItems(given)
    for cells in (None, seen):
        scores, ids = search(interests, given, seen=cells, length=10)
        exact_scores, exact = top_items(interests, given, seen=cells, length=10)
        assert recall(ids, exact) > 0.95
        is_same = ids == exact
        torch.testing.assert_close(scores[is_same], exact_scores[is_same])
    assert recall(ids, best) == 0


@pytest.mark.parametrize("has_offset", [False, True])
@pytest.mark.parametrize("length", [10, 500])
def test_items_that_score_alike_hide_no_others(length: int, has_offset: bool) -> None:
    torch.manual_seed(0)
    vectors, interests = torch.randn(3001, 16), torch.randn(32, 16)
    vectors[1001:] = vectors[1]
    offset, twins = torch.randn(3001) if has_offset else None, torch.arange(1001, 3001)
    if offset is not None:
        offset[twins] = offset[1].item()
    given = Candidates(vectors, twins, torch.ones_like(twins), 1.0, offset)
    scores, ids = NearestItems(given)(interests, given, seen=None, length=length)
    exact_scores, exact = top_items(interests, given, seen=None, length=length)
    assert recall(ids, exact) > 0.95 and not scores.isneginf().any()
    torch.testing.assert_close(scores[ids == exact], exact_scores[ids == exact])


@pytest.mark.parametrize("bias", [-8.0, 8.0])
def test_what_was_read_is_found_whatever_its_bias(bias: float) -> None:
    torch.manual_seed(0)
    vectors, interests = torch.randn(5001, 16), torch.randn(32, 16)
    given, rows = Candidates(vectors, EMPTY, EMPTY, 1.0), torch.arange(32).repeat_interleave(20)
    items = torch.stack([torch.randperm(5000)[:20] + 1 for _ in range(32)]).flatten()
    read = ReadCells(rows, items, torch.tensor(bias))
    found = NearestItems(given)(interests, given, seen=None, length=10, read=read)[1]
    exact = top_items(interests, given, seen=None, length=10, read=read)[1]
    assert recall(found, exact) > 0.95


def test_lists_that_would_be_too_short_are_exact() -> None:
    torch.manual_seed(0)
    given, interests = Candidates(torch.randn(3001, 2), EMPTY, EMPTY, 1.0), torch.randn(8, 2)
    search = NearestItems(given)
    search.index.reset()  # as if nothing could be reached
    found = search(interests, given, seen=None, length=2000)
    exact = top_items(interests, given, seen=None, length=2000)
    assert all(torch.equal(one, other) for one, other in zip(found, exact, strict=True))


def test_the_command_takes_it(trained, recommender, capsys) -> None:
    assert main(["recommend", f"--run={trained()}", "--user=u1", "-k=3", "--approximate"]) == 0
    assert recommender.for_user("u1", k=1)[0].item in capsys.readouterr().out


def test_without_faiss_it_says_how_to_get_it(trained, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(RequestError, match=r"need faiss.*uv sync --extra faiss"):
        Recommender.load(trained(), approximate=True)


def test_the_script_measures_recall(trained, capsys) -> None:
    script = runpy.run_path(str(SCRIPT))
    found = script["measure_run"](trained(), k=5, users=20)
    assert found["recall"] == 1.0 and found["items"] == 45 and found["interests"] == 20
    found = script["measure_random"](3000, size=16, k=5, number=20)
    assert 0.8 < found["recall"] <= 1 and found["build_seconds"] > 0
