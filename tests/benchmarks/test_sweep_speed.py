"""``benchmarks/sweep_speed.py``; that it runs is shown by its ``--small``, which takes minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sweep_speed.py"


@pytest.mark.slow
def test_an_unknown_part_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "trails"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "unknown part trails" in done.stderr
