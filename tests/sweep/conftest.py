"""Sweeps over a small dataset."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

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
TUNE = [
    sys.executable, "-c", "import sys; from recbole_llm.cli import main; sys.exit(main())", "tune",
]  # fmt: skip
WAIT = 300  # seconds that a slow machine may need for what takes one

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


@pytest.fixture
def sweep() -> Callable[..., Sweep]:
    """Return a function that makes a sweep, TOY but for the parts given."""

    def make(**parts: Any) -> Sweep:
        facts = TOY | {"scheduler": {"kind": "none"}} | parts
        return Sweep.model_validate(facts)

    return make


@pytest.fixture
def toy_data(write_dataset) -> Path:
    """Return the folder of a dataset: twelve users walk a circle of nine items."""
    walks = [(f"u{user}", f"i{(user + k) % 9}", float(k)) for user in range(12) for k in range(7)]
    folder: Path = write_dataset(walks, {f"i{k}": f"title {k}" for k in range(9)})
    return folder


@pytest.fixture
def without_ray(monkeypatch) -> None:
    """Let Ray be absent, so that trials run in this process."""
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "ray" else find(name, *rest)
    )


@pytest.fixture
def start(toy_data: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts ``tune`` in a process of its own."""
    started = []

    def begin(sweep: Path, *options: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*TUNE, str(sweep), f"--data_path={toy_data}", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that waits until something is there, and returns it."""

    def wait(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT
        while not (found := condition()):
            assert time.monotonic() < end, "it never came"
            time.sleep(0.05)
        return found

    return wait


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
