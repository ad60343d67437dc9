"""``benchmarks/encoding.py --small``: every step of it, of PyTorch's encoders alone."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "encoding.py"
NAMES = {"sentence-transformers float32": 0.999999, "torch float32": 0.999999}


@pytest.mark.slow
def test_encoders_are_compared_with_the_default(monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "--small"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    of = {name: [line for line in lines if f" {name} " in line] for name in NAMES}
    for name, least in NAMES.items():
        found = [float(line.split()[-1]) for line in of[name]]  # of short and of long texts
        assert len(found) == 2 and min(found) >= least, lines
    assert "short, 17 texts:" in lines and "long, 2 texts:" in lines
