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
import yaml

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep_speed.py"
RESULT = Path(__file__).parents[2] / "results" / "sweep_speed.json"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import sweep_speed

    return sweep_speed


def trial(
    *scores: float, hours: float = 0.0, seconds: float = 1.0, point: Any = None,
    state: str = "done",
) -> dict:  # fmt: skip
    """Return what a ledger has of a trial."""
    curve = [{"epoch": at, "seconds": seconds, "valid": one} for at, one in enumerate(scores)]
    best = max(scores, default=None)
    return {
        "curve": curve, "best": best, "hours": hours, "point": point or {}, "state": state,
    }  # fmt: skip


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


@pytest.mark.slow
def test_all_contestants_run(tmp_path: Path) -> None:
    """In real processes, and nothing is written."""
    before = RESULT.read_bytes() if RESULT.exists() else None
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "trials", "--small"], capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (one,) = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert list(one) == ["all_positions", "prefixes", "stock"]
    assert all(0 < pace["best_valid"] < 1 and pace["seconds"] > 0 for pace in one.values())
    assert "Target: all_positions at least 20 times: " in done.stdout
    assert before == (RESULT.read_bytes() if RESULT.exists() else None)


@pytest.fixture
def grid(script, monkeypatch) -> list[dict]:
    """Return the two points of a grid."""
    monkeypatch.setattr(script, "GRID", {"learning_rate": [0.001, 0.002]})
    return [{"learning_rate": 0.001}, {"learning_rate": 0.002}]


def test_contestants_take_turns_over_the_same_points(script, monkeypatch, tmp_path, grid) -> None:
    tried, order = [trial(0.1, 0.1, 0.2, point=one) for one in grid], []

    def tune(folder: Path, **sweep: Any) -> Any:
        order.append(sweep["settings"]["training"])
        return tried, {"all_positions": 90.0, "prefixes": 180.0}[order[-1]]

    def run(words: list[str], **_: Any) -> SimpleNamespace:
        order.append("stock")
        assert json.loads(words[-1])[0] == grid
        return SimpleNamespace(stdout="a log\n[[1000.0, 0.1], [800.0, 0.3]]\n")

    monkeypatch.setattr(script, "tune", tune)
    monkeypatch.setattr(script.subprocess, "run", run)
    found = script.trials(tmp_path, small=False, rounds=2)
    assert order == ["all_positions", "prefixes", "stock", "prefixes", "stock", "all_positions"]
    assert found["per_hour"] == {"all_positions": 80.0, "prefixes": 40.0, "stock": 4.0}
    assert found["ratios"] == {"all_positions": 20.0, "prefixes": 10.0} and found["is_met"]
    assert [one["stock"]["best_valid"] for one in found["rounds"]] == [0.3, 0.3]
    assert found["rounds"][0]["all_positions"]["best_valid"] == 0.2
    monkeypatch.setattr(script, "FASTER", 21)
    assert not script.trials(tmp_path / "again", small=False, rounds=1)["is_met"]


@pytest.mark.parametrize(
    "odd",
    [
        [trial(0.1, 0.1, 0.2, state="failed")],
        [trial(0.1, 0.1)],
        [trial()],
        [],
        [trial(0.1, 0.1, 0.2, point={"learning_rate": 9})],
    ],
    ids=["failed", "cut short", "no score", "missing", "another point"],
)
def test_trials_that_did_not_train_as_meant_do_not_count(
    script, monkeypatch, tmp_path, grid, odd
) -> None:
    for one in odd:
        one["point"] = one["point"] or grid[1]
    sound = trial(0.1, 0.1, 0.2, point=grid[0])
    monkeypatch.setattr(script, "tune", tells([sound, *odd]))
    with pytest.raises(SystemExit, match=r"do not count|other points"):
        script.trials(tmp_path, small=False, rounds=1)


def test_what_a_trial_costs_beyond_its_own_time(script, monkeypatch, tmp_path) -> None:
    """Ends at 30, 35 and 42 seconds, of which 20, 4 and 4 are their own; the first is left out."""
    ends = [(30, 20), (35, 4), (42, 4)]
    one = [trial(0.1, hours=end / 3600, seconds=own) for end, own in ends]
    monkeypatch.setattr(script, "tune", tells(one))
    found = script.overhead(tmp_path, small=True, rounds=1)
    assert found["seconds"] == pytest.approx([1.0, 3.0]) and found["most"] == pytest.approx(3.0)
    assert not found["is_met"]  # one of them took more than two seconds
    one[2]["hours"] = 40 / 3600
    monkeypatch.setattr(script, "tune", tells(one))
    assert script.overhead(tmp_path, small=True, rounds=1)["is_met"]


@pytest.mark.parametrize(("best", "is_met"), [(0.1985, True), (0.19, False)])
def test_what_asha_saves_and_loses_on_a_sweep_that_is_shipped(
    script, monkeypatch, tmp_path, best, is_met
) -> None:
    none = [trial(0.1, 0.2, 0.1, 0.1)] * 12
    asha = [trial(0.1, best, 0.1)] + [trial(0.1, state="pruned")] * 11
    answers, sweeps = iter([none, asha] * 3), []
    monkeypatch.setattr(
        script, "tune", lambda folder, **sweep: sweeps.append(sweep) or (next(answers), 1.0)
    )
    found = script.asha(tmp_path, small=False, rounds=1)
    shipped = yaml.safe_load(script.SHIPPED.read_text())
    assert [one["seed"] for one in sweeps] == [0, 0, 1, 1, 2, 2]
    assert [one["scheduler"] for one in sweeps] == [{"kind": "none"}, script.ASHA] * 3
    assert all(one["space"] == shipped["space"] for one in sweeps)
    assert script.ASHA["kind"] == "asha" and shipped["budget"]["trials"] == 12
    assert [one["share_of_epochs"] for one in found["seeds"]] == [14 / 48] * 3
    assert found["seeds"][0]["loss_of_best"] == pytest.approx(1 - best / 0.2)
    assert found["is_met"] is is_met


def test_asha_is_replayed_on_curves_that_are_whole(script) -> None:
    """The second trial is behind at epoch 2 and ends there, though it would have been the best."""
    from sections.halving import replayed, replays

    curves = [[0.1, 0.2, 0.3, 0.4], [0.05, 0.06, 0.07, 0.5]]
    how = {"reduction": 2, "epochs": 4}
    for at_once in (1, 2):
        assert replayed(curves, grace=2, at_once=at_once, **how) == (6, 0.4)
    assert replayed(curves, grace=4, **how) == (8, 0.5)
    assert replayed(curves[::-1], grace=2, **how) == (8, 0.5)  # nobody to compare the first with
    made = {(one["grace_epochs"], one["reduction"]): one for one in replays([curves], epochs=4)}
    assert made[3, 2]["share_of_epochs"] == [7 / 8]
    assert made[3, 2]["loss_of_best"] == [pytest.approx(0.2)]
    assert made[20, 4]["share_of_epochs"] == [1.0] and made[20, 4]["loss_of_best"] == [0.0]


@pytest.mark.slow
def test_a_call_that_was_stopped_is_gone_on_with(script, monkeypatch, tmp_path: Path) -> None:
    """Without Ray, which shows in the test of all contestants."""
    monkeypatch.setattr(script, "SEARCH", f"import sys; sys.modules['ray'] = None{script.SEARCH}")
    sweep = {
        "model": "LLMInterestLinear", "dataset": "ml-100k", "scheduler": {"kind": "none"},
        "budget": {"trials": 2}, "space": {"dropout_prob": {"choice": [0.1, 0.2, 0.3]}},
        "settings": {"epochs": 1, "item_features": "id"},
        "protocol": {"MAX_ITEM_LIST_LENGTH": 5, "user_inter_num_interval": "[100,inf)"},
    }  # fmt: skip
    tried, _ = script.tune(tmp_path, **sweep)
    lost = tmp_path / "results" / "trials" / f"{tried[1]['id']}.json"
    lost.unlink()
    again, _ = script.tune(tmp_path, **sweep)
    assert again[0] == tried[0] and again[1]["best"] == tried[1]["best"] and lost.exists()
