"""Seconds until LLMInterestLSTM is as good on validation as a stock model at its best.

The stock model trains under plain RecBole at its own defaults until it stops. Both see RecBole's
order of time (``time_precision: recbole``), so that their validation sets are one, which is
checked; metrics are compared in full precision. A stock model takes from half an hour to hours: its
curve is kept in the results and not measured again on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Iterator
from typing import Any

from sections.contestants import build
from sections.process import in_child, machine

OURS = "LLMInterestLSTM"
BOTH = {
    "MAX_ITEM_LIST_LENGTH": 50, "stopping_step": 10, "valid_metric": "NDCG@10", "topk": [10],
    "metrics": ["Recall", "MRR", "NDCG"], "train_neg_sample_args": None,
}  # fmt: skip
FEW = {"epochs": 2, "train_batch_size": 8192}


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the results against each stock model; a kept curve of this machine is taken as is."""
    part = {"against": {}}
    if before.get("machine") == machine():
        part["against"] |= before["against"]
    less = FEW if request.small else {}
    for name in request.against:
        kept = part["against"].get(name, {})
        stock = kept.get("stock") or in_child("passing", task(name, "stock", **less))
        part["against"][name] = {"stock": stock}
        yield part
        own = {"time_precision": "recbole", "text_cache_dir": "cache"}  # empty: texts are encoded
        less_of_ours = {"epochs": 2} if request.small else {}
        runs = [
            in_child("passing", task(OURS, "ours", **own, **less_of_ours))
            for _ in range(request.rounds)
        ]
        part["against"][name] = {"stock": stock, "ours": runs} | compare(stock, runs)
        yield part


def task(model: str, runner: str, **settings: Any) -> dict[str, Any]:
    """Return the task of training a model until it stops."""
    return {"model": model, "runner": runner, "settings": BOTH | settings}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Train until it stops; return (epoch, seconds, validation) of each epoch, and the test."""
    one = build(task["runner"], task["model"], "ml-100k", task["settings"])
    curve: list[tuple[int, float, float]] = []
    best: dict[str, Any] = {}

    def note(epoch: int, score: float) -> None:
        curve.append((epoch, time.perf_counter() - begin, score))
        if score == max(point[2] for point in curve):
            best.update({key: value.clone() for key, value in one.model.state_dict().items()})

    begin = time.perf_counter()
    one.trainer.fit(one.train, one.valid, saved=False, verbose=False, callback_fn=note)
    one.model.load_state_dict(best)
    test = one.trainer.evaluate(one.test, load_best_model=False)
    return {
        "prepare_seconds": one.prepare_seconds,
        "curve": curve,
        "test_ndcg@10": float(test["ndcg@10"]),
        "valid_sha256": digest(one.valid.dataset),
    }


def digest(dataset: Any) -> str:
    """Return a digest of who is asked for what in a validation set."""
    fields = (dataset.uid_field, dataset.iid_field)
    names = [dataset.id2token(field, dataset.inter_feat[field]) for field in fields]
    pairs = sorted(zip(*names, strict=True))
    return hashlib.sha256("\n".join("\t".join(pair) for pair in pairs).encode()).hexdigest()


def compare(stock: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the seconds of both, and the median ratio; None where ours never gets there."""
    if {one["valid_sha256"] for one in runs} != {stock["valid_sha256"]}:
        raise SystemExit("passing: the validation sets differ, so that scores do not compare.")
    goal = max(point[2] for point in stock["curve"])
    target = reached(stock["curve"], goal)
    ours = [reached(one["curve"], goal) for one in runs]
    if target is None or None in ours:
        return {"goal": goal, "stock_seconds": target, "ours_seconds": ours, "median_ratio": None}
    whole = [s + one["prepare_seconds"] for s, one in zip(ours, runs, strict=True)]
    return {
        "goal": goal,
        "stock_seconds": target,
        "ours_seconds": ours,
        "median_ratio": statistics.median(target / seconds for seconds in ours),
        "median_ratio_with_preparation": statistics.median(
            (target + stock["prepare_seconds"]) / seconds for seconds in whole
        ),
    }


def reached(curve: list[list[float]], goal: float) -> float | None:
    """Return the seconds of the first epoch that is at least as good, or None."""
    return next((seconds for _, seconds, score in curve if score >= goal), None)


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for name, one in part["against"].items():
        if one.get("median_ratio") is None:
            yield f"{name}, stock: measured, but {OURS} has not been, or not got so far"
            continue
        ours = statistics.median(one["ours_seconds"])
        yield (
            f"validation NDCG@10 {one['goal']:.4f}: {name}, stock, {one['stock_seconds']:.0f} s; "
            f"{OURS} {ours:.1f} s, {one['median_ratio']:.0f} times less "
            f"({one['median_ratio_with_preparation']:.0f} times with preparation and encoding)"
        )
