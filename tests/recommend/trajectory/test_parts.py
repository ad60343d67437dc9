"""What trajectories are made of, against values derived by hand and by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from recbole_llm.recommend.trajectory.affinity import PRIOR, groups_of, title_words
from recbole_llm.recommend.trajectory.changes import LEAST, best_partition, change_points
from recbole_llm.recommend.trajectory.figures import MOST_ROWS, _rows
from recbole_llm.recommend.trajectory.interests import drift
from recbole_llm.recommend.trajectory.plane import plane_of


def test_an_affinity_by_hand() -> None:
    # the mean item is 0 and the deviation of 2 · item is 2 √5; group a is shrunk by PRIOR items
    vectors = torch.tensor([[9.0], [1.0], [3.0], [-1.0], [-3.0]])
    groups = groups_of([[], ["a"], ["a"], ["b"], []], vectors)
    received = groups.affinity(torch.tensor([[2.0], [-0.5]]))
    a, b = 4 / (2 + PRIOR) / 5**0.5, -1 / (1 + PRIOR) / 5**0.5
    assert groups.names == ["a", "b"]
    torch.testing.assert_close(received, torch.tensor([[a, b], [-a, -b]], dtype=torch.float64))


def test_an_affinity_is_the_mean_standard_score_of_the_items() -> None:
    torch.manual_seed(0)
    vectors, interests = torch.randn(51, 6), torch.randn(4, 6)
    labels = [["a"] if item % 3 else ["b", "c"] for item in range(51)]
    groups = groups_of(labels, vectors)
    scores = (interests @ vectors[1:].T).double()
    standard = (scores - scores.mean(1, keepdim=True)) / scores.std(1, correction=0, keepdim=True)
    for name in "abc":
        rows = [item - 1 for item in range(1, 51) if name in labels[item]]
        expected = standard[:, rows].sum(1) / (len(rows) + PRIOR)
        received = groups.affinity(interests)[:, groups.names.index(name)]
        torch.testing.assert_close(received, expected, atol=1e-6, rtol=1e-6)


def test_a_catalogue_without_spread_or_labels_has_no_affinities() -> None:
    flat = groups_of([[], ["a"], ["b"]], torch.ones(3, 2)).affinity(torch.ones(1, 2))
    assert flat.tolist() == [[0.0, 0.0]]
    assert groups_of([[], []], torch.ones(2, 2)).affinity(torch.ones(3, 2)).shape == (3, 0)


def test_words_are_those_of_several_titles_and_not_of_most() -> None:
    titles = [None, *["The Alien 1979"] * 5, *["The Ring of Fire"] * 4, *["The Sea's"] * 21]
    assert title_words(titles)[1:7] == [["alien"]] * 5 + [[]]
    titles = [None, *["space"] * 5, *["other"] * 19]
    assert title_words(titles)[1] == []  # five are more than a fifth of 24


def test_words_of_any_script_are_whole() -> None:
    for title, words in (
        ("समाचार पत्र हम", ["समाचार", "पत्र"]),
        ("Ame\u0301lie's \u2018Cafe\u0301\u2019", ["am\u00e9lie's", "caf\u00e9"]),
        ("d--- r2d2 X-Men_Origins '", ["x-men", "origins"]),
    ):
        assert title_words([None, *[title] * 5, *[None] * 20])[1] == words


def cost(series: torch.Tensor, cuts: tuple[int, ...]) -> float:
    """Return what a partition costs, price apart."""
    parts = torch.tensor_split(series, cuts)
    return sum(float((part - part.mean(0)).square().sum()) for part in parts)


def test_the_partition_is_the_best_of_all() -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        level = torch.tensor([0.0] * 5 + [2.0] * 4 + [-1.0] * 3)[:, None]
        series = (level + 0.4 * torch.randn(12, 3)).double()
        allowed = [
            cuts
            for number in range(4)
            for cuts in itertools.combinations(range(1, 12), number)
            if all(b - a >= LEAST for a, b in itertools.pairwise((0, *cuts, 12)))
        ]
        for price in (0.1, 1.0, 10.0):
            best = min(allowed, key=lambda cuts: cost(series, cuts) + price * len(cuts))
            assert best_partition(series, price=price) == list(best)


def test_a_jump_is_found_and_noise_is_not() -> None:
    torch.manual_seed(0)
    steps = torch.tensor([[0.0, 1.0]] * 20 + [[1.0, 0.0]] * 12)
    assert change_points(steps) == [20]
    assert change_points(steps + 0.2 * torch.randn(32, 2)) == [20]
    walks = [torch.randn(200, 8).cumsum(0) for _ in range(5)]  # wander, and never turn
    assert sum(len(change_points(walk)) for walk in walks) <= 15
    found = [change_points(torch.randn(60, 3)) for _ in range(40)]
    assert sum(map(len, found)) <= 2
    assert change_points(torch.ones(30, 2)) == [] and change_points(steps[:5]) == []


def test_drift_is_one_minus_the_cosine() -> None:
    moved = drift(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, -1.0]]))
    assert moved.tolist() == pytest.approx([0.0, 1.0, 2.0])


def test_points_on_a_circle_lie_in_a_plane() -> None:
    turns = torch.linspace(0, 5, 30, dtype=torch.float64)
    points = torch.stack([turns.cos(), 0 * turns, turns.sin(), 0 * turns], 1)
    plane = plane_of(points * torch.rand(30, 1).add(0.5))  # lengths do not matter
    assert sum(plane.shares) == pytest.approx(1.0)
    places = plane.places(points)
    torch.testing.assert_close(places.diff(dim=0).norm(dim=1), points.diff(dim=0).norm(dim=1))
    assert plane.arrows(torch.eye(4)).norm(dim=1).tolist() == pytest.approx([1.0, 0, 1.0, 0])
    assert plane_of(points[:1]).places(points[:1]).tolist() == [[0.0, 0.0]]


def test_a_heat_map_shows_what_was_near_in_each_stretch() -> None:
    """Of thirteen groups one is dropped; neither the short stretch's nor the long one's."""
    values = np.zeros((10, MOST_ROWS + 1))
    values[:2, 5], values[2:, 3] = 9.0, 1.0
    found = _rows(values, [2])
    assert {5, 3} < set(found) and MOST_ROWS not in found
    assert found.index(5) < found.index(3)
