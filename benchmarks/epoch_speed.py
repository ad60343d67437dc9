"""Seconds of a training epoch on ml-100k, length 50: ours against RecBole's, in one run.

    uv run python benchmarks/epoch_speed.py [--rounds 3]

Every model has its own defaults and sees every training target once an epoch, in a process of its
own. ``stock`` is ``recbole.quick_start.run_recbole``, as RecBole runs; ``ours`` is our command,
which runs RecBole's models without the anomaly detection that an import of RecBole's turns on.
Rounds alternate the runs, so that a drift of the machine's speed meets all of them; ratios are
taken round by round. Writes results/epoch_speed.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import recbole_llm
from recbole_llm.files import write_json

OURS = "LLMInterestLSTM"
RUNS = {  # name: (model, runner, epochs); short epochs are averaged over a few
    OURS: (OURS, "ours", 4),
    "GRU4Rec": ("GRU4Rec", "ours", 1),
    "GRU4Rec, stock": ("GRU4Rec", "stock", 1),
    "SASRec": ("SASRec", "ours", 1),
    "SASRec, stock": ("SASRec", "stock", 1),
}
RESULT = Path(__file__).parents[1] / "results" / "epoch_speed.json"


def epoch_seconds(name: str) -> float:
    """Train in this process and return the mean seconds of an epoch."""
    from recbole.quick_start import run_recbole as run_stock
    from recbole.trainer import Trainer

    model, runner, epochs = RUNS[name]
    seconds: list[float] = []
    train_epoch = Trainer._train_epoch

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        losses = train_epoch(*args, **kwargs)
        seconds.append(time.perf_counter() - begin)
        return losses

    Trainer._train_epoch = timed
    settings = {
        "epochs": epochs,
        "MAX_ITEM_LIST_LENGTH": 50,
        "train_neg_sample_args": None,
        "show_progress": False,
        "state": "ERROR",
    }
    run = recbole_llm.run_recbole if runner == "ours" else run_stock
    run(model=model, dataset="ml-100k", config_dict=settings, saved=False)
    return statistics.mean(seconds)


def measure(name: str) -> float:
    """Return ``epoch_seconds`` of a process of its own, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        child = [sys.executable, str(Path(__file__).resolve()), "--run", name]
        done = subprocess.run(child, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    seconds: float = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    """Run the rounds, print a table, write the JSON; or, in a child, measure one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    request = parser.parse_args()
    if request.run:
        print(json.dumps(epoch_seconds(request.run)))
        return
    rounds = []
    for _ in range(request.rounds):
        rounds.append({name: measure(name) for name in RUNS})
        print(rounds[-1], flush=True)
    ratios = {
        name: statistics.median(one[name] / one[OURS] for one in rounds)
        for name in RUNS
        if name != OURS
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f} times the seconds of {OURS} (median of {len(rounds)} rounds)")
    write_json(
        RESULT,
        {"rounds": rounds, "median_ratio": ratios, "threads": torch.get_num_threads()},
    )


if __name__ == "__main__":
    main()
