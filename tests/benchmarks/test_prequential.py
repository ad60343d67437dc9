"""``benchmarks/prequential.py``: what is asked of each period, derived by hand."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "prequential.py"
EVENTS = [("b", "x", 2.0), ("a", "x", 1.0), ("a", "y", 3.0), ("c", "z", 4.0), ("b", "y", 5.0),
          ("a", "z", 5.0), ("b", "x", 6.0)]  # fmt: skip


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def stream(script, write_dataset):
    titles = {item: f"title {item}" for item in "xyz"}
    return script["Stream"].read(write_dataset(EVENTS, titles, name="toy") / "toy", "toy")


def test_events_stand_in_time_order_behind_those_of_their_user(stream) -> None:
    assert list(zip(stream.users, stream.items, strict=True)) == [
        ("a", "x"), ("b", "x"), ("a", "y"), ("c", "z"), ("b", "y"), ("a", "z"), ("b", "x"),
    ]  # fmt: skip
    assert list(stream.items[stream.flat]) == ["x", "y", "z", "x", "y", "x", "z"]
    assert stream.at.tolist() == [0, 3, 1, 6, 4, 2, 5]
    assert stream.start.tolist() == [0, 3, 0, 6, 3, 0, 3]


def test_a_case_has_an_event_of_its_user_before_it(stream) -> None:
    assert stream.cases(slice(0, 4)).tolist() == [2]
    assert stream.cases(slice(4, 7)).tolist() == [4, 5, 6]


def test_popularity_knows_what_was_before_the_period(script, stream) -> None:
    found = script["popular"](stream, stream.cases(slice(4, 7)), before=4)  # x 2, y 1, z 1
    tied = (1 / math.log2(3) + 1 / math.log2(4)) / 2
    np.testing.assert_allclose(found, [tied, tied, 1.0])


def test_new_items_and_events_are_written_as_files(stream, tmp_path) -> None:
    file = stream.write_items(tmp_path / "new.item", but=["x"], events=slice(0, 3))
    assert file.read_text() == "item_id:token\ttitle:token_seq\ny\ttitle y\n"
    assert stream.write_items(tmp_path / "none.item", but=["x", "y"], events=slice(0, 3)) is None
    file = stream.write_inter(tmp_path / "new.inter", slice(2, 4))
    assert file.read_text().split("\n")[1:3] == ["a\ty\t3.0", "c\tz\t4.0"]


def test_the_error_of_a_gain_takes_a_user_as_one(script) -> None:
    """Two cases a user that are the same: the error is that of one case a user."""
    found = script["_gain"](np.array([1.0, 1.0, 3.0, 3.0]), np.array(["a", "a", "b", "b"]))
    assert found == {"mean": 2.0, "standard_error": math.sqrt(2 * 2**2) / 4}


def test_new_items_are_those_that_the_first_run_does_not_know(script, stream) -> None:
    """Its filters left out z, which has an event in the first part; the cases ask for y, z, x."""
    of_seed = {name: [np.array([0.1, 0.2, 0.6])] for name in script["COLORS"]}
    found = script["summary"](stream, [4, 7], [of_seed], known={"x", "y"})
    assert [(one["cases"], one["cases_of_new_items"]) for one in found["periods"]] == [(3, 1)]
    method = found["methods"][script["FROZEN"]]
    assert method["known_items"] == [pytest.approx(0.35)] and method["new_items"] == [0.2]
