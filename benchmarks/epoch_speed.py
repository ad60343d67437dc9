"""Seconds of a training epoch on ml-100k, length 50: ours against stock RecBole's, in one run.

    uv run python benchmarks/epoch_speed.py [--rounds 3]

Every model has its own defaults and sees every training target once an epoch. Rounds alternate the
models, so that a drift of the machine's speed meets all of them; ratios are taken round by round.
Writes results/epoch_speed.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import torch

from recbole_llm import run_recbole
from recbole_llm.files import write_json

OURS = "LLMInterestLSTM"
STOCK = ("GRU4Rec", "SASRec")
EPOCHS = {OURS: 3}  # short epochs are averaged over a few
RESULT = Path(__file__).parents[1] / "results" / "epoch_speed.json"


def epoch_seconds(model: str) -> float:
    """Train a model for an epoch or a few and return the mean seconds of one."""
    settings = {
        "epochs": EPOCHS.get(model, 1),
        "MAX_ITEM_LIST_LENGTH": 50,
        "show_progress": False,
        "state": "ERROR",
    }
    result = run_recbole(model=model, dataset="ml-100k", config_dict=settings)
    seconds: float = result["seconds"]["per_epoch"]
    return seconds


def main() -> None:
    """Run the rounds, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = []
    request = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for _ in range(request.rounds):
            rounds.append({model: epoch_seconds(model) for model in (OURS, *STOCK)})
            print(rounds[-1], flush=True)
    ratios = {model: statistics.median(one[model] / one[OURS] for one in rounds) for model in STOCK}
    for model, ratio in ratios.items():
        print(f"{model}: {ratio:.1f} times the seconds of {OURS} (median of {len(rounds)} rounds)")
    write_json(
        RESULT,
        {"rounds": rounds, "median_ratio": ratios, "threads": torch.get_num_threads()},
    )


if __name__ == "__main__":
    main()
