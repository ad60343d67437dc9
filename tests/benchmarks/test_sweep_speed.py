"""``benchmarks/sweep_speed.py`` runs, in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep_speed.py"
RESULT = SCRIPT.parents[1] / "results" / "sweep_speed.json"


@pytest.mark.slow
def test_it_runs_and_writes_nothing_when_small() -> None:
    before = RESULT.read_bytes() if RESULT.exists() else None
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--small"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    parts = {
        line.partition(": ")[0]: json.loads(line.partition(": ")[2])
        for line in done.stdout.splitlines()
        if line.partition(": ")[0] in ("trials", "overhead", "asha")
    }
    assert parts["trials"]["ratio"] > 1
    assert 0 < parts["overhead"]["median"] < 60
    (one,) = parts["asha"]["rounds"]
    assert one["asha"]["epochs"] <= one["none"]["epochs"] == 6
    assert (RESULT.read_bytes() if RESULT.exists() else None) == before


def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "trails"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "unknown part trails" in done.stderr
