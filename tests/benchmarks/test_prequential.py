"""``benchmarks/prequential.py``: what is asked of each period, derived by hand."""

from __future__ import annotations

import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recbole_llm import Recommender, run_recbole

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


@pytest.mark.slow
def test_each_period_is_tested_and_then_trained_on(script, write_dataset, tmp_path) -> None:
    """A walk around eleven items; one more has no event before the second period.

    Of a dataset whose own settings load more columns than the walk has: ml-100k's rating.
    """
    walks = [
        (f"u{user}", (user + step) % 11, step + user / 9) for user in range(8) for step in range(9)
    ]
    events = [(user, f"i{item}" if time < 8 else "new", time) for user, item, time in walks]
    folder = write_dataset(events, name="ml-100k")
    rows = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    rows += [
        f"{item}\ttitle {item}\t1998\tDrama" for item in (*map("i{}".format, range(11)), "new")
    ]
    (folder / "ml-100k" / "ml-100k.item").write_text("\n".join(rows) + "\n")
    options = ["--seeds=1", "--periods=2", "--base=0.6", "--epochs=2", "--length=3"]
    script["main"](["ml-100k", f"--data_path={folder}", f"--out={tmp_path / 'out'}", *options])
    found = json.loads((tmp_path / "out" / "ml-100k.json").read_text())
    assert [one["cases"] for one in found["periods"]] == [one["events"] for one in found["periods"]]
    assert [one["cases_of_new_items"] > 0 for one in found["periods"]] == [False, True]
    scores = {name: one["periods"][0] for name, one in found["methods"].items()}
    updated, frozen = scores[script["UPDATED"]], scores[script["FROZEN"]]
    assert updated[0] == frozen[0] and updated[1] != frozen[1]  # nothing is trained on untested
    assert all(0 < one <= 1 for one in (*updated, *frozen))


@pytest.mark.slow
def test_a_case_is_scored_as_a_list_of_the_run_is_ordered(script, write_dataset, tmp_path) -> None:
    walks = [
        (f"u{user}", f"i{(user + step) % 7}", float(step)) for user in range(8) for step in range(7)
    ]
    folder = write_dataset(walks, {f"i{item}": f"title {item}" for item in range(7)}, name="toy")
    settings = {
        "data_path": str(folder),
        "run_dir": str(tmp_path / "run"),
        "epochs": 1,
        "topk": [1],
    }
    settings |= {"MAX_ITEM_LIST_LENGTH": 3, "valid_metric": "Hit@1", "metrics": ["Hit"]}
    run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    stream = script["Stream"].read(folder / "toy", "toy")
    cases = stream.cases(slice(30, 36))
    found = script["ndcg"](stream, tmp_path / "run", cases, work=tmp_path)
    recommender = Recommender.load(tmp_path / "run")
    for case, score in zip(cases, found, strict=True):
        first, at = stream.start[case], stream.at[case]
        history = stream.items[stream.flat[first:at]]
        listed = recommender.for_history(history, k=7, filter_seen=False)
        rank = [one.item for one in listed].index(stream.items[case])
        assert score == pytest.approx(1 / math.log2(rank + 2))

    other = replace(stream, items=np.where(stream.items == "i6", "i7", stream.items))
    with pytest.raises(SystemExit, match=r"toy.item: has no row of i7, one of 1"):
        script["ndcg"](other, tmp_path / "run", cases, work=tmp_path)
