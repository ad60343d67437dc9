"""``benchmarks/sweep_speed.py``: what it makes of trials; that they run shows its ``--small``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep_speed.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import sweep_speed

    return sweep_speed


def trial(*scores: float, hours: float = 0.0, seconds: float = 1.0, point: Any = None) -> dict:
    """Return what a ledger has of a trial."""
    curve = [{"epoch": at, "seconds": seconds, "valid": one} for at, one in enumerate(scores)]
    return {"curve": curve, "best": max(scores), "hours": hours, "point": point or {}}


def tells(*answers: Any) -> Callable[..., Any]:
    """Return a stand-in for the search of a sweep, which tells what it is given, in turn."""
    rest = iter(answers)
    return lambda folder, **sweep: (next(rest), 90.0)


@pytest.mark.slow
def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "trails"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "unknown part trails" in done.stderr


def test_the_same_points_are_tried_by_both(script, monkeypatch, tmp_path) -> None:
    points = [{"learning_rate": 0.001}, {"learning_rate": 0.002}]
    monkeypatch.setattr(script, "tune", tells([trial(0.1, point=one) for one in points]))
    asked = []

    def run(words: list[str], **_: Any) -> SimpleNamespace:
        asked.extend(json.loads(words[-1])[0])
        return SimpleNamespace(stdout="a log\n[1000.0, 800.0]\n")

    monkeypatch.setattr(script.subprocess, "run", run)
    found = script.trials(tmp_path, small=False)
    assert asked == found["points"] == points
    assert (found["ours_per_hour"], found["stock_per_hour"]) == (80.0, 4.0)  # start-up included
    assert found["ratio"] == 20.0


def test_what_a_trial_costs_beyond_its_own_time(script, monkeypatch, tmp_path) -> None:
    """Ends at 30, 35 and 42 seconds, of which 20, 4 and 4 are their own; the first is left out."""
    ends = [(30, 20), (35, 4), (42, 4)]
    one = [trial(0.1, hours=end / 3600, seconds=own) for end, own in ends]
    monkeypatch.setattr(script, "tune", tells(one))
    found = script.overhead(tmp_path, small=False)
    assert found["seconds"] == pytest.approx([1.0, 3.0]) and found["most"] == pytest.approx(3.0)


def test_what_asha_saves_and_loses(script, monkeypatch, tmp_path) -> None:
    none = [trial(0.1, 0.2, 0.1, 0.1), trial(0.1, 0.1, 0.1, 0.1)]
    asha = [trial(0.1, 0.19, 0.1), trial(0.1)]
    monkeypatch.setattr(script, "tune", tells(*[none, asha] * 3))
    rounds = script.asha(tmp_path, small=False)["rounds"]
    assert len(rounds) == 3
    assert rounds[0]["share_of_epochs"] == 0.5
    assert rounds[0]["loss_of_best"] == pytest.approx(0.05)
