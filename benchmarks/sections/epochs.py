"""Seconds of a training epoch: our models at their defaults, and at the sizes of stock models.

Every model sees every training target once an epoch. ``ours`` runs RecBole's models too, without
the anomaly detection that stock RecBole trains under.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from typing import Any

from sections.contestants import build, place, train
from sections.process import in_rounds, median_ratio

SHORT = {"MAX_ITEM_LIST_LENGTH": 50, "train_neg_sample_args": None}
LONG = SHORT | {"MAX_ITEM_LIST_LENGTH": 200}
GRU4REC = {"item_features": "id", "embedding_size": 64, "hidden_size": 128, "num_layers": 1}


def entry(
    model: str, runner: str, *, epochs: int = 1, batches: int | None = None, **own: Any
) -> Any:
    """Return a contestant's task; short epochs are averaged over a few."""
    settings = {"epochs": epochs, **own}
    return {"model": model, "runner": runner, "batches": batches, "settings": settings}


def contests(request: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the contests; the first contestant of each is the one that is compared."""
    few = 1 if request.small else None
    stock = {"model": "GRU4Rec", "runner": "stock"}
    found: dict[str, dict[str, Any]] = {
        "defaults": {
            "dataset": "ml-100k",
            "settings": SHORT,
            "tasks": {
                "LLMInterestLSTM": entry("LLMInterestLSTM", "ours", epochs=4),
                "GRU4Rec": entry("GRU4Rec", "ours", batches=few),
                "GRU4Rec, stock": entry(**stock, batches=few),
                "SASRec": entry("SASRec", "ours", batches=few),
                "SASRec, stock": entry("SASRec", "stock", batches=few),
            },
        },
        "equal sizes": {
            "dataset": "ml-100k",
            "settings": SHORT,
            "tasks": {
                "LLMInterestGRU": entry("LLMInterestGRU", "ours", epochs=4, **GRU4REC),
                "GRU4Rec, stock": entry(**stock, batches=few),
            },
        },
    }
    if request.data_path:
        found["equal sizes, long"] = {
            "dataset": "ml-1m",
            "settings": LONG,
            "tasks": {
                "LLMInterestGRU": entry("LLMInterestGRU", "ours", batches=few, **GRU4REC),
                "GRU4Rec, stock": entry(**stock, batches=few or 12),  # an epoch takes half an hour
            },
        }
    return found


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the contests so far."""
    part = {"contests": {}}
    for name, contest in contests(request).items():
        shared = {"dataset": contest["dataset"], "data_path": request.data_path}
        tasks = {
            who: shared | task | {"settings": contest["settings"] | task["settings"]}
            for who, task in contest["tasks"].items()
        }
        rounds = in_rounds("epochs", tasks, request.rounds)
        ours = next(iter(tasks))
        part["contests"][name] = {
            "dataset": contest["dataset"],
            "length": contest["settings"]["MAX_ITEM_LIST_LENGTH"],
            "extrapolated_from_batches": {
                who: task["batches"] for who, task in tasks.items() if task["batches"]
            },
            "rounds": rounds,
            "median_ratio": {
                who: median_ratio(rounds, "seconds", of=who, to=ours)
                for who in tasks
                if who != ours
            },
        }
        yield part


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Train in this process and return the mean seconds of an epoch."""
    settings = task["settings"] | place(task["dataset"], task["data_path"])
    one = build(task["runner"], task["model"], task["dataset"], settings)
    epochs = train(one, task["batches"])
    return {"seconds": statistics.mean(epoch.seconds for epoch in epochs)}


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for contest in part["contests"].values():
        ours = next(iter(contest["rounds"][0]))
        for who, ratio in contest["median_ratio"].items():
            yield (
                f"{contest['dataset']}, length {contest['length']}: {who} takes {ratio:.1f} times "
                f"the seconds of {ours} (median of {len(contest['rounds'])} rounds)"
            )
