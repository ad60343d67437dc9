"""Points of a space: drawn at random, visited on a grid, and at its corners."""

from __future__ import annotations

from itertools import islice

import numpy as np

from recbole_llm.sweep.points import corner_points, grid_points, random_points, trial_id

SPACE = {
    "num_layers": {"int": [1, 3]},
    "scoring": {"choice": ["inner", "cosine"]},
    "temperature": {"choice": [0.1, 0.2], "when": {"scoring": "cosine"}},
}


def test_a_grid_visits_every_point_once(sweep) -> None:
    points = list(grid_points(sweep(space=SPACE)))
    wanted = [{"num_layers": n, "scoring": "inner"} for n in (1, 2, 3)] + [
        {"num_layers": n, "scoring": "cosine", "temperature": t}
        for n in (1, 2, 3)
        for t in (0.1, 0.2)
    ]
    assert len(points) == len(wanted) == 9 and all(point in wanted for point in points)


def test_a_condition_may_be_any_of_a_list(sweep) -> None:
    space = {
        "loss_type": {"choice": ["CE", "SCE", "BPR"]},
        "num_negatives": {"choice": [8, 16], "when": {"loss_type": ["SCE", "BPR"]}},
    }
    drawn = [
        (one["loss_type"], one.get("num_negatives")) for one in grid_points(sweep(space=space))
    ]
    wanted = {("CE", None), *((loss, number) for loss in ("SCE", "BPR") for number in (8, 16))}
    assert len(drawn) == 5 and set(drawn) == wanted
    assert {"loss_type": "SCE", "num_negatives": 16} in list(corner_points(sweep(space=space)))


def test_random_points_are_functions_of_the_seed(sweep) -> None:
    parts = {"space": {"learning_rate": {"uniform": [0.1, 0.2]}}}
    first, again = ([*islice(random_points(sweep(**parts)), 5)] for _ in range(2))
    other = [*islice(random_points(sweep(**parts, seed=1)), 5)]
    assert first == again and not any(point in first for point in other)


def test_they_do_not_repeat_and_a_small_space_ends(sweep) -> None:
    points = list(random_points(sweep(space=SPACE)))
    assert sorted(map(str, points)) == sorted(map(str, grid_points(sweep(space=SPACE))))


def test_points_to_evaluate_come_first_and_shift_no_draw(sweep) -> None:
    first = {"num_layers": 2, "scoring": "inner"}
    drawn = list(random_points(sweep(space=SPACE)))
    points = list(random_points(sweep(space=SPACE, points_to_evaluate=[first])))
    assert drawn[0] != first == points[0]
    assert points[1:] == [point for point in drawn if point != first]


def test_both_ends_of_integers_are_drawn_and_bounds_hold(sweep) -> None:
    space = {
        "num_layers": {"int": [1, 2]},
        "learning_rate": {"loguniform": [1e-4, 1e-1]},
        "dropout_prob": {"uniform": [0.0, 0.5]},
    }
    points = [*islice(random_points(sweep(space=space)), 300)]
    assert {point["num_layers"] for point in points} == {1, 2}
    rates = np.array([point["learning_rate"] for point in points])
    assert rates.min() >= 1e-4 and rates.max() <= 1e-1
    assert 0.4 < np.mean(rates < 10**-2.5) < 0.6  # half of them below the middle of the powers
    assert 0.2 < np.mean([point["dropout_prob"] for point in points]) < 0.3


def test_corners_hold_both_ends_and_what_a_condition_needs(sweep) -> None:
    points = list(corner_points(sweep(space=SPACE)))
    assert {point["num_layers"] for point in points} == {1, 3}
    assert {point.get("temperature") for point in points} >= {0.1, 0.2}
    assert all(("temperature" in point) == (point["scoring"] == "cosine") for point in points)


def test_an_id_is_of_settings_and_seed(sweep) -> None:
    one = sweep()
    name = trial_id(one, {"num_layers": 1}, seed=1)
    assert len(name) == 8 and name == trial_id(
        sweep(budget={"trials": 9}), {"num_layers": 1}, seed=1
    )
    others = {
        trial_id(one, {"num_layers": 2}, seed=1),
        trial_id(one, {"num_layers": 1}, seed=2),
        trial_id(sweep(settings={"epochs": 4}), {"num_layers": 1}, seed=1),
    }
    assert name not in others and len(others) == 3
