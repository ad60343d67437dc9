"""Runs that a signal stops, in training, in validation or in the test, and how they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import recbole_llm.quick_start
from recbole_llm import load_run, run_recbole
from recbole_llm.cli import run_recbole_command
from recbole_llm.run_dir import RESULT, STATE
from recbole_llm.train.engine import BatchLoss, Engine
from recbole_llm.train.scorers import InterestScorer

PROGRAM = "import sys; from recbole_llm.cli import *; sys.exit(run_recbole_command())"


def words_of(settings: dict[str, Any], **more: Any) -> list[str]:
    """Return the command line that asks for settings."""
    named = {"model": "LLMInterestLSTM", "dataset": "toy", **settings, **more}
    return [f"--{key}={value}" for key, value in named.items()]


@pytest.fixture
def start(tmp_path):
    """Return a function that starts run_recbole in a group of processes of its own."""
    started = []

    def begin(words: list[str]) -> subprocess.Popen:
        with (tmp_path / "log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *words],
                stderr=log, stdout=log, start_new_session=True,
            )  # fmt: skip
        started.append(child)
        return child

    yield begin
    for child in started:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def stop_in(stage: str, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Let a signal come while a stage of a run of two epochs, of two batches each, is at work."""
    batches, calls = [], []
    forward = BatchLoss.forward
    read, write = InterestScorer.read, recbole_llm.quick_start.write_ranks

    def reading(self, begin: int, end: int):
        calls.append(begin)
        if len(calls) == {"validation": 2, "test": 3}.get(stage):
            signal.raise_signal(number)
        return read(self, begin, end)

    def writing(run_dir: Path, ranks: Any) -> None:
        write(run_dir, ranks)
        if stage == "ranks":
            signal.raise_signal(number)

    def learning(self, batch):
        batches.append(batch)
        if stage == "epoch" and len(batches) == 3:
            signal.raise_signal(number)
        return forward(self, batch)

    monkeypatch.setattr(BatchLoss, "forward", learning)
    monkeypatch.setattr(InterestScorer, "read", reading)
    monkeypatch.setattr("recbole_llm.quick_start.write_ranks", writing)


def test_an_end_before_any_whole_epoch_says_that_none_is_kept(
    toy, tmp_path, monkeypatch, capfd
) -> None:
    def learning(self, batch):
        raise KeyboardInterrupt

    monkeypatch.setattr(BatchLoss, "forward", learning)
    assert run_recbole_command(words_of(toy, run_dir=tmp_path / "run")) == 130
    said = capfd.readouterr().err
    assert f"No epoch is kept: run_recbole --resume={tmp_path / 'run'} begins anew" in said


@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        ("epoch", signal.SIGINT, 130),  # the second of two
        ("validation", signal.SIGTERM, 143),  # after it
        ("test", signal.SIGINT, 130),
        ("ranks", signal.SIGTERM, 143),  # are written; the result is not
    ],
)
def test_a_signal_costs_no_more_than_the_epoch_or_the_test_that_it_comes_in(
    toy, numbers, tmp_path, monkeypatch, capfd, stage: str, number: signal.Signals, code: int
) -> None:
    settings, run_dir = {**toy, "epochs": 2}, tmp_path / "run"
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    with monkeypatch.context() as context:
        stop_in(stage, context, number)
        assert run_recbole_command(words_of(settings, run_dir=run_dir)) == code
    said = capfd.readouterr().err
    assert f"run_recbole --resume={run_dir} goes on" in said and "Traceback" not in said
    assert not (run_dir / RESULT).exists() and (run_dir / STATE).exists()
    model = load_run(run_dir)[1]  # the best epoch of those that were validated
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
    trained, run_epoch = [], Engine._run_epoch

    def counted(self, data, epoch, *args, **kwargs):
        trained.append(epoch)
        return run_epoch(self, data, epoch, *args, **kwargs)

    monkeypatch.setattr(Engine, "_run_epoch", counted)
    assert run_recbole_command([f"--resume={run_dir}"]) == 0
    assert trained == ([1] if stage in ("epoch", "validation") else [])
    resumed = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert numbers(resumed) == numbers(json.loads(json.dumps(whole)))
    assert not (run_dir / STATE).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "nproc"),
    [(signal.SIGKILL, -9, 1), (signal.SIGTERM, 143, 2), (signal.SIGKILL, -9, 2)],
)
def test_a_run_that_was_killed_ends_like_one_that_never_was(
    toy, numbers, tmp_path, capfd, start, until, number: int, code: int, nproc: int
) -> None:
    settings = {**toy, "epochs": 40, "stopping_step": 40, "ema_decay": 0.9, "warmup_steps": 3}
    settings |= {"lr_scheduler_type": "cosine", "gradient_accumulation_steps": 2}
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=settings, nproc=nproc)
    run_dir = tmp_path / "run"
    child = start(words_of(settings, run_dir=run_dir, nproc=nproc))
    until((run_dir / STATE).exists)
    os.kill(child.pid, number)
    assert child.wait(timeout=60) == code and not (run_dir / RESULT).exists()
    log, words = tmp_path / "log", f"run_recbole --resume={run_dir} goes on"
    if number == signal.SIGTERM or nproc > 1:  # processes hear that the one above them has died
        until(lambda: words in log.read_text())
    else:
        assert words not in log.read_text()
    assert "Traceback" not in log.read_text()
    load_run(run_dir)
    capfd.readouterr()
    assert run_recbole_command([f"--resume={run_dir}"]) == 0
    out, err = capfd.readouterr()
    assert "Resumed: training goes on with epoch" in err
    assert numbers(json.loads(out.splitlines()[-1])) == numbers(json.loads(json.dumps(whole)))
