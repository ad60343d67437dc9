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


def fail(ledger: Ledger, name: str, kind: str, message: str = "m") -> None:
    ledger.begin(name, point={}, seed=1)
    ledger.end(name, "failed", {"type": kind, "message": message, "traceback": ""})


def test_a_resumed_sweep_tries_again_what_its_machine_failed(ledger: Ledger) -> None:
    """Too slow, out of memory, no disk, a process or a GPU that died; not what is the trial's."""
    for name, kind, message in (
        ("slow", "TrialTimeoutError", "over"),
        ("full", "OutOfMemoryError", "tried to allocate"),
        ("cpu", "RuntimeError", "DefaultCPUAllocator: can't allocate memory"),
        ("dead", "TrialDied", "SIGKILL"),
        ("lost", "TrialLost", "who knows"),
        ("disk", "OSError", "[Errno 28] No space left on device"),
        ("gpu", "AcceleratorError", "CUDA error: device-side assert triggered"),
        ("nan", "NonFiniteError", "loss is nan"),
        ("wrong", "RequestError", "hidden_size: must be divisible by 3"),
    ):
        fail(ledger, name, kind, message)
    again = Ledger(ledger.folder)
    again.read()
    assert not any(again.is_open(one.id) for one in again.trials())  # not without --resume
    again.try_again(hours=None)
    kept = {one.id for one in again.trials() if not again.is_open(one.id)}
    assert kept == {"nan", "wrong"}
    again.begin("slow", point={}, seed=1)
    again.end("slow", "failed", {"type": "TrialTimeoutError", "message": "m", "traceback": ""})
    assert not again.is_open("slow")  # once a process


def test_what_is_not_tried_again_after_all_stays_failed(ledger: Ledger) -> None:
    fail(ledger, "slow", "TrialTimeoutError")
    again = Ledger(ledger.folder)
    again.read()
    again.try_again(hours=None)
    again.close(is_late=True)
    assert again.get("slow").state == "failed"


def at(ledger: Ledger, hours: float, monkeypatch) -> None:
    begin = ledger._start
    monkeypatch.setattr("recbole_llm.sweep.ledger.time.monotonic", lambda: begin + 3600 * hours)


def test_hours_of_finalists_are_not_hours_of_the_search(ledger: Ledger, monkeypatch) -> None:
    """Eight of a search, three of finalists: ten allow two more, fewer than eight none."""
    ledger.begin("a", point={}, seed=1)
    at(ledger, 8, monkeypatch)
    ledger.add("a", epoch=0, score=0.5, seconds=1.0, point={})
    ledger.end("a", "stopped")
    ledger.begin("f", point={}, seed=2, role="finalist")
    at(ledger, 11, monkeypatch)
    ledger.end("f", "done")
    again = Ledger(ledger.folder, _start=ledger._start + 11 * 3600)
    again.read()
    assert (again.hours, again.search_hours) == pytest.approx((11, 8))
    again.try_again(hours=7.9)
    assert not again.is_open("a")
    again.try_again(hours=10.0)
    assert again.is_open("a") and not again.is_open("f")
    at(ledger, 12, monkeypatch)
    assert (again.hours, again.search_hours) == pytest.approx((12, 9))


def test_a_number_is_given_once(ledger: Ledger) -> None:
    """Also after a record was damaged."""
    for name in "abc":
        run(ledger, name, 0.1)
    (ledger.folder / TRIALS / "b.json").write_text("{")
    again = Ledger(ledger.folder)
    again.read()
    run(again, "b", 0.1)
    assert {one.id: one.number for one in again.trials()} == {"a": 1, "c": 3, "b": 4}


def test_seconds_of_an_attempt_that_another_process_ran_count(ledger: Ledger) -> None:
    ledger.begin("a", point={}, seed=1)
    ledger.add("a", epoch=0, score=0.5, seconds=3600.0, point={})
    again = Ledger(ledger.folder)
    again.read()
    again.begin("a", point={}, seed=1)
    assert again.end("a", "done").seconds == pytest.approx(3600, abs=1)
    last = Ledger(ledger.folder)
    last.read()
    last.reopen(["a"])
    last.begin("a", point={}, seed=1)
    assert last.end("a", "done").seconds == pytest.approx(3600, abs=1)  # counted already
