"""Slices and facts of lists, derived by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recbole_llm import slices


def test_a_third_of_the_interactions_is_the_head_and_a_third_the_tail() -> None:
    #  of 12 interactions: before 5 lie 0, before 3 lie 5, before 2 lie 8, before 1 lie 10 or more
    counts = np.array([0, 1, 5, 2, 3, 1, 0])
    expected = ["cold", "tail", "head", "tail", "torso", "tail", "cold"]
    assert slices.popularity_groups(counts).tolist() == expected


def test_equally_popular_items_are_in_one_group_whatever_their_order() -> None:
    assert slices.popularity_groups(np.array([0, 2, 2, 2])).tolist()[1:] == ["head"] * 3
    one = slices.popularity_groups(np.array([0, 4, 2, 2, 1, 1, 1, 1]))  # before 1: 8 of 12
    assert one.tolist()[1:] == ["head", "torso", "torso", "tail", "tail", "tail", "tail"]


def test_bands_begin_where_they_say() -> None:
    values = np.array([1, 4, 5, 9, 10, 49, 50, 900])
    expected = ["1-4", "1-4", "5-9", "5-9", "10-19", "20-49", "50+", "50+"]
    assert slices.bands(values, slices.HISTORY).tolist() == expected
    assert slices.bands(np.array([17.5, 56]), slices.AGES).tolist() == ["<18", "56+"]


def test_metrics_of_a_group_are_means_over_its_cases() -> None:
    labels = np.array(["b", "a", "b", ""])
    found = slices.metrics_by_group(labels, {"hit@1": np.array([1.0, 0.0, 0.5, 1.0])})
    assert found == {
        "a": {"cases": 1, "metrics": {"hit@1": 0.0}},
        "b": {"cases": 2, "metrics": {"hit@1": 0.75}},
    }
    ordered = slices.metrics_by_group(labels, {}, order=("b", "c", "a"))
    assert list(ordered) == ["b", "a"]  # none is c


def test_an_item_counts_once_however_many_cases_it_has() -> None:
    items = np.array([7, 2, 7, 7])
    found = slices.metrics_over_items(items, {"hit@1": np.array([1.0, 0.0, 0.0, 0.5])})
    assert found == {"cases": 4, "items": 2, "metrics": {"hit@1": 0.25}}  # of .5 and 0


def group(cases: int, value: float) -> dict:
    return {"cases": cases, "metrics": {"hit@1": value}}


def test_a_gap_is_between_groups_that_are_large_enough() -> None:
    found = slices.gaps(
        {
            "item_popularity": {"head": group(50, 0.9), "tail": group(50, 0.1)},
            "user.gender": {"F": group(20, 0.25), "M": group(99, 0.5), "x": group(19, 0.0)},
            "user.city": {"one": group(99, 0.5), "two": group(1, 0.1)},
        },
        metric="hit@1",
    )
    expected = {"metric": "hit@1", "gap": 0.25, "worst": "F", "worst_value": 0.25, "best": "M"}
    assert found == {"user.gender": expected}


def test_facts_of_lists() -> None:
    counts = np.array([0, 4, 2, 0, 2])  # 8 interactions
    lists = np.array([[1, 2], [1, 3], [1, 0]])  # the last list has one item
    found = slices.list_facts(lists, counts)
    assert found["coverage"] == 3 / 4
    # items are recommended 3, 1, 1 and 0 times: (-3·0 - 1·1 + 1·1 + 3·3) / (4 · 5)
    assert found["gini"] == pytest.approx(9 / 20)
    assert found["popularity"] == pytest.approx((4 + 2 + 4 + 0 + 4) / 5)
    # shares 1/2, 1/4, and 1/8 where none is counted as one
    assert found["novelty"] == pytest.approx((1 + 2 + 1 + 3 + 1) / 5)
    assert found["text_diversity"] is None
    assert slices.gini(np.array([2, 2, 2])) == 0
    assert slices.gini(np.array([0, 0, 0, 7])) == pytest.approx(3 / 4)  # 1 - 1/N


def test_text_diversity_is_over_pairs_that_have_text() -> None:
    text = np.array([[0, 0], [3, 0], [0, 2], [1, 1], [0, 0], [5, 0]], dtype=np.float32)
    assert slices.text_diversity(np.array([[1, 2]]), text) == pytest.approx(1)
    assert slices.text_diversity(np.array([[1, 5]]), text) == pytest.approx(0)
    half = 1 - math.sqrt(1 / 2)
    three = slices.text_diversity(np.array([[1, 2, 3]]), text)
    assert three == pytest.approx((1 + 2 * half) / 3)
    lists = np.array([[1, 3, 0], [1, 4, 2], [1, 4, 0]])  # 4 has no text; the last is left out
    assert slices.text_diversity(lists, text) == pytest.approx((half + 1) / 2)
    assert slices.text_diversity(np.array([[4, 0]]), text) is None


def test_lists_in_chunks_are_as_diverse(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(20, 5)).astype(np.float32)
    lists = rng.integers(1, 20, size=(50, 4))
    whole = slices.text_diversity(lists, text)
    monkeypatch.setattr(slices, "CHUNK", 7)
    assert slices.text_diversity(lists, text) == pytest.approx(whole, abs=1e-9)
