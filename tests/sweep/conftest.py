"""Sweeps over a small dataset."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from recbole_llm.cli import main
from recbole_llm.sweep.ledger import TRIALS, Ledger, Trial
from recbole_llm.sweep.search import Search
from recbole_llm.sweep.specs import Sweep

TOY: dict[str, Any] = {
    "model": "LLMInterestLSTM",
    "dataset": "toy",
    "metric": "ndcg@3",
    "protocol": {"topk": [3]},
    "settings": {
        "item_features": "id", "embedding_size": 8, "hidden_size": 8, "epochs": 3,
        "train_batch_size": 8,
    },
    "space": {
        "learning_rate": {"loguniform": [1e-3, 1e-1]},
        "num_layers": {"int": [1, 2]},
    },
    "scheduler": "none",
    "budget": {"trials": 3},
    "finalists": {"top": 2, "seeds": [1, 2]},
}  # fmt: skip

WriteSweep = Callable[..., Path]


@pytest.fixture
def write_sweep(tmp_path: Path) -> WriteSweep:
    """Return a function that writes a sweep, TOY but for the parts given, and returns its path."""

    def write(name: str = "toy", **parts: Any) -> Path:
        path = tmp_path / "tuning" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(TOY | parts, sort_keys=False), "utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def sweep() -> Callable[..., Sweep]:
    """Return a function that makes a sweep, TOY but for the parts given."""

    def make(**parts: Any) -> Sweep:
        facts = TOY | {"scheduler": {"kind": "none"}} | parts
        return Sweep.model_validate(facts)

    return make


@pytest.fixture
def without_ray(monkeypatch) -> None:
    """Let Ray be absent, so that trials run in this process."""
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest)
    )


@pytest.fixture
def tune(capsys, toy_data, train_here, monkeypatch) -> Callable[..., tuple[int, dict, str]]:
    """Return the command; its exit code, what it printed, and its complaints."""
    monkeypatch.setattr("recbole_llm.sweep.outcome.execute", train_here)

    def call(*argv: object) -> tuple[int, dict, str]:
        code = main(["tune", *map(str, argv), f"--data_path={toy_data}"])
        out, err = capsys.readouterr()
        return code, json.loads(out.splitlines()[-1]) if code == 0 else {}, err

    return call


@pytest.fixture
def trials() -> Callable[..., list[dict]]:
    """Return a function that reads the records of toy's trials, in the order of their numbers."""

    def read(role: str = "trial") -> list[dict]:
        files = Path("results/tuning/toy/trials").glob("*.json")
        found = [one for one in map(json.loads, (file.read_text() for file in files))]
        return sorted((one for one in found if one["role"] == role), key=lambda one: one["number"])

    return read


@pytest.fixture
def start(start_command) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts ``tune`` in a process of its own."""
    return partial(start_command, "tune")


@pytest.fixture
def is_trial() -> Callable[[psutil.Process], bool]:
    """Return a function that tells whether a process is one of Ray's that trials run in."""

    def tell(process: psutil.Process) -> bool:
        try:
            return "ImplicitFunc" in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    return tell


class Runner:
    """Runs the search of a sweep in this process."""

    def __init__(self, folder: Path, data: Path) -> None:
        (folder / "results" / TRIALS).mkdir(parents=True)
        self.folder, self.data = folder, data
        self.ledger = Ledger(folder / "results")
        self.heard: list[str] = []
        self.when_prepared: Callable[[], Any] = lambda: None

    def say(self, line: str) -> None:
        self.heard.append(line)
        if line.startswith("prepared"):
            self.when_prepared()

    def search(self, sweep: Sweep, ray: Any) -> Search:
        return Search(
            sweep, self.ledger, ray, data_path=str(self.data), work=Path("work"), say=self.say
        )

    def __call__(self, sweep: Sweep, *, ray: Any) -> list[Trial]:
        self.search(sweep, ray).trials()
        return self.ledger.trials()


@pytest.fixture
def runner(tmp_path: Path, toy_data: Path) -> Runner:
    return Runner(tmp_path, toy_data)
