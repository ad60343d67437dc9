"""``benchmarks/encode_scale.py --small``: killed in the middle, resumed, each text once."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "encode_scale.py"


@pytest.mark.slow
def test_a_kill_in_the_middle_loses_no_text(monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "--small"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == "parquet" and 4 <= found["killed_at_shards"] < 8
    assert 0 < found["encoded_after_the_kill"] < 7_000
    assert found["min_cosine_of_a_sample"] > 0.99999
