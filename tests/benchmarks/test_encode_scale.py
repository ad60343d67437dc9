"""``benchmarks/encode_scale.py --small``: killed in the middle, resumed, each text once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "encode_scale.py"


@pytest.mark.slow
def test_a_kill_in_the_middle_loses_no_text() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--small"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 4 <= found["killed_at_shards"] < 8
    assert 0 < found["encoded_after_the_kill"] < 12_000
    assert found["min_cosine_of_a_sample"] > 0.99999
