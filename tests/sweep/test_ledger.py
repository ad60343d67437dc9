"""The ledger of a sweep: what is written, read back, and ranked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_llm.sweep.ledger import TRIALS, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / TRIALS).mkdir()
    return Ledger(tmp_path)


def run(ledger: Ledger, name: str, *scores: float, state: str = "done") -> None:
    ledger.begin(name, point={"x": len(name)}, seed=1)
    for epoch, score in enumerate(scores):
        ledger.add(name, epoch=epoch, score=score, seconds=1.0, point={"x": len(name)})
    ledger.end(name, state)


def test_what_is_written_is_read_back(ledger: Ledger) -> None:
    run(ledger, "a", 0.1, 0.3, 0.2)
    again = Ledger(ledger.folder)
    assert again.read() == [] and again.trials() == ledger.trials()
    (trial,) = again.trials()
    assert (trial.best, trial.best_epoch, trial.state, len(trial.curve)) == (0.3, 1, "done", 3)
    assert again.hours >= trial.hours


def test_every_epoch_is_on_disk_before_the_next(ledger: Ledger) -> None:
    ledger.begin("a", point={}, seed=1)
    ledger.add("a", epoch=0, score=0.5, seconds=2.0, point={})
    facts = json.loads((ledger.folder / TRIALS / "a.json").read_text())
    assert facts["state"] == "running" and facts["curve"] == [
        {"epoch": 0, "seconds": 2.0, "valid": 0.5}
    ]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema": 1, "id": "a"}', '{"schema": 2}', "\0\0"]
)
def test_a_damaged_record_is_named_and_made_again(ledger: Ledger, content: str) -> None:
    run(ledger, "good", 0.1)
    (ledger.folder / TRIALS / "bad.json").write_text(content)
    again = Ledger(ledger.folder)
    (problem,) = again.read()
    assert "bad.json: is no trial's record, and is made again" in problem
    assert [one.id for one in again.trials()] == ["good"]


def test_a_record_under_another_name_is_none(ledger: Ledger) -> None:
    run(ledger, "a", 0.1)
    (ledger.folder / TRIALS / "a.json").rename(ledger.folder / TRIALS / "b.json")
    again = Ledger(ledger.folder)
    assert "it is of trial a" in again.read()[0] and again.trials() == []


def test_the_best_come_first_and_failures_do_not_come(ledger: Ledger) -> None:
    run(ledger, "a", 0.1)
    run(ledger, "b", 0.3, state="pruned")
    run(ledger, "c", 0.9, state="failed")
    run(ledger, "d", 0.3)
    run(ledger, "e")
    ledger.begin("f", point={}, seed=1)
    assert [one.id for one in ledger.ranked()] == ["b", "d", "a"]
    lower = Ledger(ledger.folder, is_bigger_better=False)
    lower.read()
    assert [one.id for one in lower.ranked()] == ["a", "b", "d"]


def test_a_lower_metric_keeps_the_lowest(tmp_path: Path) -> None:
    (tmp_path / TRIALS).mkdir()
    ledger = Ledger(tmp_path, is_bigger_better=False)
    run(ledger, "a", 0.3, 0.1, 0.2)
    assert (ledger.trials()[0].best, ledger.trials()[0].best_epoch) == (0.1, 1)


def test_a_trial_that_begins_again_keeps_its_number_and_loses_its_curve(ledger: Ledger) -> None:
    ledger.begin("a", point={}, seed=1)
    ledger.add("a", epoch=0, score=0.5, seconds=2.0, point={})
    ledger.begin("b", point={}, seed=1)
    trial = ledger.begin("a", point={}, seed=1)
    assert (trial.number, trial.attempts, trial.curve, trial.best) == (1, 2, (), None)


def test_the_settings_of_the_best_epoch_are_kept(ledger: Ledger) -> None:
    """As population-based training changes them."""
    ledger.begin("a", point={"x": 1}, seed=1)
    for epoch, (score, x) in enumerate([(0.1, 1), (0.4, 2), (0.3, 3)]):
        ledger.add("a", epoch=epoch, score=score, seconds=1.0, point={"x": x})
    (trial,) = ledger.trials()
    assert trial.point == {"x": 1} and trial.settings == {"x": 2}
    assert [row.get("point") for row in trial.curve] == [None, {"x": 2}, {"x": 3}]


def test_hours_of_a_kill_are_remembered(ledger: Ledger, monkeypatch) -> None:
    ledger.begin("a", point={}, seed=1)
    monkeypatch.setattr("recbole_llm.sweep.ledger.time.monotonic", lambda: ledger._start + 7200)
    ledger.add("a", epoch=0, score=0.5, seconds=2.0, point={})
    again = Ledger(ledger.folder, _start=ledger._start + 7200)
    again.read()
    assert again.hours == pytest.approx(2)


def test_what_runs_no_more_is_ended(ledger: Ledger) -> None:
    """Of an earlier process, or late: stopped. Of this one, and in time: lost."""
    ledger.begin("a", point={}, seed=1)
    again = Ledger(ledger.folder)
    again.read()
    assert [one.state for one in again.close(is_late=False)] == ["stopped"]
    (lost,) = ledger.close(is_late=False)
    assert (lost.state, lost.error["type"]) == ("failed", "TrialLost")
    assert ledger.close(is_late=False) == []
