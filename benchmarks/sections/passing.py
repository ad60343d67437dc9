"""Seconds until LLMInterestLSTM is as good on validation as a stock model at its best.

A stock model takes from half an hour to hours to converge, so what it reaches and in which epoch is
read from the records of the suite ml-100k (``recbole-llm bench benchmarks/ml-100k.yaml``), which
trains it on the same events until it stops; of several seeds the best score is the goal. What an
epoch of it takes, its validation included, is measured here under stock RecBole, in turn with ours,
which trains until it has passed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sections.contestants import build
from sections.process import in_child, provenance

OURS = "LLMInterestLSTM"
RECORDS = Path(__file__).parents[2] / "results" / "ml-100k" / "ml-100k"
PROTOCOL = {
    "time_precision": "exact", "max_length": 50, "seen_items_filtered": False,
    "candidates": "all items",
}  # fmt: skip
BOTH = {
    "MAX_ITEM_LIST_LENGTH": 50, "valid_metric": "NDCG@10", "topk": [10],
    "metrics": ["Recall", "MRR", "NDCG"], "train_neg_sample_args": None,
}  # fmt: skip
LARGE = {"train_batch_size": 8192}


class Passed(Exception):  # noqa: N818 - it is no error
    """Ours is as good as the stock model at its best."""


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the results against each stock model; those of an earlier call keep their machine."""
    earlier = {key: value for key, value in before.items() if key != "against"}
    kept = {name: earlier | one for name, one in before.get("against", {}).items()}
    part: dict[str, Any] = {"against": kept}
    for name in request.against[: 1 if request.small else None]:
        goal = {"score": 0.0, "epochs": 1} if request.small else goal_of(name)
        less = LARGE if request.small else {}
        stock = {"model": name, "runner": "stock", "settings": BOTH | {"epochs": 1} | less}
        rounds = []
        for at in range(request.rounds):
            own = {"seed": 2020 + at, "text_cache_dir": "cache"}  # empty: texts are encoded
            ours = {"model": OURS, "runner": "ours", "settings": BOTH | own}
            taken = in_child("passing", stock)
            rounds.append({"stock": taken, "ours": in_child("passing", ours | {"goal": goal})})
            print(json.dumps(rounds[-1]), flush=True)
        found = {"goal": goal, "rounds": rounds} | compare(goal, rounds)
        part["against"][name] = provenance() | found
        yield part


def goal_of(model: str, folder: Path = RECORDS) -> dict[str, Any]:
    """Return the best validation NDCG@10 of a stock model's records, and the epochs it took."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    found = [one for one in records if one["model"] == model and is_stock(one)]
    if not found:
        raise SystemExit(
            f"passing: {folder} holds no record of stock {model}. Make some with "
            "recbole-llm bench benchmarks/ml-100k.yaml."
        )
    best = max(found, key=lambda one: one["best_valid_result"]["ndcg@10"])
    return {
        "score": best["best_valid_result"]["ndcg@10"],
        "epochs": best["best_epoch"] + 1,
        "seed": best["seed"],
        "seeds": sorted(one["seed"] for one in found),
    }


def is_stock(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of RecBole's own training, on the events that ours sees."""
    is_own_way = record["settings"].get("training") != "all_positions"
    is_id_only = record["settings"].get("item_features") is None
    same = {key: record["protocol"][key] for key in PROTOCOL} == PROTOCOL
    return is_own_way and is_id_only and same


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Train, until a goal is passed if there is one; return its seconds, validation included."""
    one = build(task["runner"], task["model"], "ml-100k", task["settings"])
    goal = task.get("goal")
    curve: list[tuple[int, float, float]] = []

    def note(epoch: int, score: float) -> None:
        curve.append((epoch, time.perf_counter() - begin, score))
        if goal and score >= goal["score"]:
            raise Passed

    begin = time.perf_counter()
    try:
        one.trainer.fit(one.train, one.valid, saved=False, verbose=False, callback_fn=note)
        has_passed = goal is None
    except Passed:
        has_passed = True
    return {
        "prepare_seconds": one.prepare_seconds,
        "seconds": curve[-1][1] if has_passed else None,
        "curve": curve,
    }


def compare(goal: Mapping[str, Any], rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the seconds of both, and the median ratio; None where ours never gets there."""
    stock = [goal["epochs"] * of_epoch(one["stock"]) for one in rounds]
    ours = [one["ours"]["seconds"] for one in rounds]
    found = {"stock_seconds": statistics.median(stock), "ours_seconds": ours}
    if None in ours:
        return found | {"median_ratio": None}
    whole = [
        (theirs + one["stock"]["prepare_seconds"]) / (own + one["ours"]["prepare_seconds"])
        for theirs, own, one in zip(stock, ours, rounds, strict=True)
    ]
    return found | {
        "median_ratio": statistics.median(a / b for a, b in zip(stock, ours, strict=True)),
        "median_ratio_with_preparation": statistics.median(whole),
    }


def of_epoch(measured: Mapping[str, Any]) -> float:
    """Return the seconds of one of the epochs that were measured."""
    return measured["seconds"] / len(measured["curve"])


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for name, one in part["against"].items():
        if one["median_ratio"] is None:
            yield f"{name}, stock: {OURS} did not get to {one['goal']['score']:.4f}"
            continue
        ours = statistics.median(one["ours_seconds"])
        yield (
            f"validation NDCG@10 {one['goal']['score']:.4f}: {name}, stock, "
            f"{one['stock_seconds']:.0f} s; {OURS} {ours:.1f} s, "
            f"{one['median_ratio']:.0f} times less "
            f"({one['median_ratio_with_preparation']:.0f} times with preparation and encoding)"
        )
