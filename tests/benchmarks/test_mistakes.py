"""A mistake of the user ends each script with one line, as it ends the commands."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("ensembles", ["no.yaml"], "error: no.yaml: cannot be read"),
        ("encoder_speed", ["--suite=no.yaml"], "error: no.yaml: cannot be read"),
        ("recall", ["no-run"], "error: .*no-run"),
        ("faithfulness", ["no-run", "--out=out"], "error: .*no-run"),
        ("prequential", ["nothing", "--data_path=here"], "error: .*nothing.inter"),
    ],
)
def test_it_is_one_line(monkeypatch, tmp_path, name: str, words: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


@pytest.mark.slow
def test_the_main_job_says_what_its_run_said(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["main_job", "--model=Nothing", "--seeds=1"])
    with pytest.raises(SystemExit, match=r"error: .*unknown model 'Nothing'"):
        runpy.run_path(str(SCRIPTS / "main_job.py"), run_name="__main__")
