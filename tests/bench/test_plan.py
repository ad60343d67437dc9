"""Plan = wanted − present."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.bench.plan import duration, plan, plan_lines, to_run
from recbole_llm.bench.results import SUITE, failure_path


def train_seconds(seconds: float) -> dict[str, float]:
    return {"prepare": 0, "encode": 0, "train": seconds, "evaluate": 0, "per_epoch": 99}


def test_what_is_wanted_present_missing_failed_and_left_out(
    tmp_path: Path, record, write, spec
) -> None:
    specs = [spec(1), spec(2), spec(3), spec(4, skip="too slow")]
    write(tmp_path, record(1, "A"), seconds=train_seconds(200))
    failure = failure_path(tmp_path / specs[1].path)
    failure.parent.mkdir()
    failure.write_text("{}")
    planned, problems = plan(specs, tmp_path)
    assert problems == []
    assert [one.state for one in planned] == ["present", "failed", "missing", "left out"]
    assert [one.spec.seed for one in to_run(planned, is_forced=False)] == [2, 3]
    assert [one.spec.seed for one in to_run(planned, is_forced=True)] == [1, 2, 3]
    assert plan_lines(planned, is_forced=False) == [
        "present   toy A, seed 1",
        "failed    toy A, seed 2  (3 min)",
        "missing   toy A, seed 3  (3 min)",
        "left out  toy A, seed 4: too slow",
        "3 wanted: 1 present, 1 missing, 1 failed, 1 left out",
        "2 to run, one after another: 7 min",
    ]


def test_time_is_guessed_from_the_row_then_the_row_elsewhere_then_the_model(
    tmp_path, record, write, spec
) -> None:
    write(tmp_path, record(1, "A", a=1), ruler="F", seconds=train_seconds(10))
    write(tmp_path, record(2, "A", a=1), ruler="F", seconds=train_seconds(30))
    write(tmp_path, record(1, "A", a=2), ruler="R", seconds=train_seconds(100))
    write(tmp_path, record(1, "B"), seconds=train_seconds(1000))
    wanted = [
        spec(9, ruler="F"), spec(9, ruler="R"), spec(9), spec(9, "C"), spec(9, "D", model="BPR"),
    ]  # fmt: skip
    planned, _ = plan(wanted, tmp_path)
    assert [one.seconds for one in planned] == [20, 100, (10 + 30 + 100) / 3, 1140 / 4, None]
    total = 20 + 100 + 140 / 3 + 285
    assert plan_lines(planned, is_forced=False)[-1] == (
        f"5 to run, one after another: {total / 60:.0f} min and 1 of unknown time"
    )


def test_other_suites_know_the_time_of_what_this_one_has_not_run(
    tmp_path, record, write, spec
) -> None:
    write(tmp_path / "one", record(1, "A", a=1), seconds=train_seconds(10))
    write(tmp_path / "one", record(1, "B", a=2), seconds=train_seconds(40))
    (tmp_path / "one" / SUITE).write_text("{}")
    wanted = [spec(9, "Z", settings={"a": 1}), spec(9, "Y"), spec(9, "X", model="BPR")]
    planned, _ = plan(wanted, tmp_path / "other")
    assert [one.seconds for one in planned] == [10, 25, None]


def test_a_guess_says_on_what_kind_of_device_it_was_measured(tmp_path, record, write, spec) -> None:
    write(tmp_path, record(1, "A"), seconds=train_seconds(10), device="cuda:0")
    write(tmp_path, record(1, "B"), seconds=train_seconds(40), device="cpu")
    write(tmp_path, record(1, "C"), seconds=train_seconds(40), device=None)
    wanted = [spec(9, "A"), spec(9, "B"), spec(9, "C")]
    one, two, three, _, total = plan_lines(plan(wanted, tmp_path)[0], is_forced=False)
    assert one.endswith("(10 s on cuda)") and two.endswith("(40 s on cpu)")
    assert three.endswith("(40 s)") and total.endswith(": 90 s on cpu and cuda")


def test_nothing_known_is_said_so(tmp_path: Path, spec) -> None:
    planned, _ = plan([spec(1)], tmp_path)
    lines = plan_lines(planned, is_forced=False)
    assert lines[0].endswith("(unknown)") and lines[-1].endswith(": an unknown time")
    assert plan_lines([], is_forced=False)[-1] == "0 to run, one after another: 0 s"


def test_a_damaged_record_is_named_and_missing(tmp_path: Path, record, write, spec) -> None:
    path = write(tmp_path, record(1, "A"))
    path.write_text("{")
    (one,), (problem,) = plan([spec(1)], tmp_path)
    assert one.state == "missing" and problem.startswith(str(path))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h")],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
