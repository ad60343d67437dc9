"""Schedulers of a sweep that was stopped know what its trials reached before."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.sweep.ledger import TRIALS, Ledger
from recbole_llm.sweep.ray_parts import scheduler_of

pytestmark = pytest.mark.slow


def test_a_scheduler_knows_what_trials_before_a_stop_reached(sweep, tmp_path: Path) -> None:
    """After a resume ASHA cuts what the trials before would have cut."""
    (tmp_path / TRIALS).mkdir()
    ledger = Ledger(tmp_path)
    for name in "abc":
        ledger.begin(name, point={"x": name}, seed=1)
        for epoch in range(3):
            ledger.add(name, epoch=epoch, score=0.5, seconds=1.0, point={"x": name})
        ledger.end(name, "done")
    one = sweep(scheduler={"kind": "asha", "grace_epochs": 2, "reduction": 2})

    class New:
        trial_id = "new"

    def decide(known: Ledger, score: float) -> str:
        scheduler = scheduler_of(one, ledger=known, epochs=9, mode="max")
        scheduler.on_trial_add(None, New)
        return scheduler.on_trial_result(None, New, {"epoch": 2, "best": score})

    assert decide(ledger, 0.4) == "STOP" and decide(ledger, 0.6) == "CONTINUE"
    empty = tmp_path / "empty"
    (empty / TRIALS).mkdir(parents=True)
    assert decide(Ledger(empty), 0.4) == "CONTINUE"


def test_median_stopping_knows_what_trials_before_a_stop_reached(sweep, tmp_path: Path) -> None:
    """It cuts what is below the median of their running means, and not without them."""
    (tmp_path / TRIALS).mkdir()
    ledger = Ledger(tmp_path)
    for name, score in (
        ("a", 0.5),
        ("b", 0.5),
        ("c", 0.5),
        ("d", 0.1),
    ):  # d ran to its end all the same
        ledger.begin(name, point={"x": name}, seed=1)
        for epoch in range(3):
            ledger.add(name, epoch=epoch, score=score, seconds=1.0, point={"x": name})
        ledger.end(name, "done")
    one = sweep(scheduler={"kind": "median", "grace_epochs": 1})

    class New:
        trial_id = "new"

    def decide(known: Ledger, score: float) -> str:
        scheduler = scheduler_of(one, ledger=known, epochs=9, mode="max")
        scheduler.on_trial_add(None, New)
        return scheduler.on_trial_result(None, New, {"epoch": 2, "best": score})

    assert decide(ledger, 0.4) == "STOP" and decide(ledger, 0.6) == "CONTINUE"
    (tmp_path / "empty" / TRIALS).mkdir(parents=True)
    assert decide(Ledger(tmp_path / "empty"), 0.4) == "CONTINUE"
