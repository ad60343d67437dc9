"""Suites on a small dataset, and runs that take no time or little."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recbole_llm.bench.results import record_path, spec_id
from recbole_llm.bench.specs import RunSpec
from recbole_llm.cli import main
from recbole_llm.job import Job, Outcome, failure
from recbole_llm.ranks import Ranks, pack

TOY: dict[str, Any] = {
    "about": "Toys.",
    "metric": "ndcg@3",
    "seeds": [1, 2],
    "settings": {"topk": [3], "valid_metric": "NDCG@3"},
    "datasets": {"toy": {}},
    "models": {
        "LSTM": {"model": "LLMInterestLSTM", "settings": {"embedding_size": 8}},
        "id only": {
            "model": "LLMInterestLSTM",
            "role": "control",
            "settings": {"item_features": "id"},
        },
    },
}
SMALL = {
    "item_features": "id", "embedding_size": 8, "hidden_size": 8, "epochs": 3, "topk": [3],
    "train_batch_size": 8, "valid_metric": "NDCG@3",
}  # fmt: skip
RESULT: dict[str, Any] = {
    "schema": 1, "best_valid_result": {"ndcg@3": 0.5}, "test_result": {"ndcg@3": 0.25},
    "seconds": {"prepare": 1.0, "encode": 2.0, "train": 60.0, "evaluate": 7.0, "per_epoch": 6.0},
    "protocol": {"max_length": 50}, "versions": {"recbole": "1.2.1"}, "run_dir": "/somewhere",
}  # fmt: skip

NUMBER = np.array([3])
RANKS = pack(Ranks(["u1"], ["i1"], NUMBER, NUMBER, NUMBER, ["u2"]))


WriteSuite = Callable[..., Path]


@pytest.fixture
def write_suite(tmp_path: Path) -> WriteSuite:
    """Return a function that writes a suite, TOY but for the parts given, and returns its path."""

    def write(name: str = "toy", **parts: Any) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(TOY | parts, allow_unicode=True, sort_keys=False), "utf-8")
        return path

    return write


class Bench:
    """Calls ``recbole-llm bench`` with runs that train nothing.

    Attributes:
        jobs: The jobs that were executed, in order.
        broken: Seeds whose runs fail.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], data: Path) -> None:
        self.capsys, self.data = capsys, data
        self.jobs: list[Job] = []
        self.broken: set[int] = set()
        self.out = self.err = ""

    def __call__(self, *argv: object) -> int:
        """Run the command, keep what it said, and return its exit code."""
        code = main(["bench", *map(str, argv), f"--data_path={self.data}"])
        self.out, self.err = self.capsys.readouterr()
        return code

    def execute(self, job: Job) -> Outcome:
        """Stand in for a process."""
        self.jobs.append(job)
        Path(job.run_dir).mkdir(parents=True, exist_ok=True)
        if job.seed in self.broken:
            return Outcome(None, None, failure(ValueError("broke"), traceback="at line 1"), 3.0)
        names = {"model": job.model, "dataset": job.dataset, "seed": job.seed}
        settings = {**job.settings, "data_path": job.data_path, "run_dir": job.run_dir}
        return Outcome({**RESULT, **names, "settings": settings}, RANKS, None, 70.0)


@pytest.fixture
def bench(monkeypatch, capsys, toy_data: Path) -> Bench:
    """Return the command, with runs that train nothing."""
    caller = Bench(capsys, toy_data)
    monkeypatch.setattr("recbole_llm.bench.runner.execute", caller.execute)
    return caller


@pytest.fixture
def small() -> dict[str, Any]:
    """Return settings of a small model and a short training."""
    return dict(SMALL)


@pytest.fixture
def result() -> dict[str, Any]:
    """Return what the stand-in of a process gives as result."""
    return dict(RESULT)


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Return a function that makes a sound record."""

    def make(seed: int = 1, label: str = "A", **settings: Any) -> dict[str, Any]:
        """Return a sound record."""
        names = {"model": "SASRec", "dataset": "toy", "seed": seed}
        spec = {**names, "settings": settings}
        return {
            "schema": 1, **names, "suite": "toy", "label": label, "role": "model",
            "spec_id": spec_id(spec), "spec": spec, "command": "run_recbole --model=SASRec",
            "best_valid_result": {}, "test_result": {"ndcg@10": 0.5}, "protocol": {},
            "seconds": {"prepare": 1, "encode": 2, "train": 60, "evaluate": 7, "per_epoch": 6},
            "versions": {"recbole": "1.2.1"}, "settings": {},
        }  # fmt: skip

    return make


@pytest.fixture
def write() -> Callable[..., Path]:
    """Return a function that writes a record where its spec belongs, changed afterwards."""

    def write(root: Path, facts: dict[str, Any], **changes: Any) -> Path:
        """Write a record where its spec belongs, changed afterwards."""
        path = root / record_path(facts["label"], facts["spec"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts | changes), encoding="utf-8")
        return path

    return write


@pytest.fixture
def spec() -> Callable[..., RunSpec]:
    """Return a function that makes a run."""

    def make(seed: int, label: str = "A", **changes: Any) -> RunSpec:
        facts = {
            "suite": "toy",
            "ruler": None,
            "role": "model",
            "model": "SASRec",
            "dataset": "toy",
        }
        return RunSpec(**facts | {"label": label, "seed": seed, "settings": {}} | changes)

    return make


@pytest.fixture
def start(start_command) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts ``bench`` in a process of its own."""
    return partial(start_command, "bench")


@pytest.fixture
def begin(fork, toy_data, tmp_path) -> Callable[..., tuple[BaseProcess, Path]]:
    """Return a function that begins ``bench`` in a fork of this process, which imports nothing.

    What it prints goes into a file, the second that is returned.
    """

    def run(printed: Path, argv: Sequence[str]) -> None:
        with printed.open("w") as file, redirect_stdout(file), redirect_stderr(file):
            sys.exit(main(argv))

    def start(suite: Path, *options: str) -> tuple[BaseProcess, Path]:
        printed = tmp_path / f"printed-{len(list(tmp_path.glob('printed-*')))}"
        printed.touch()
        words = ["bench", str(suite), f"--data_path={toy_data}", *options]
        return fork(run, printed, words), printed

    return start
