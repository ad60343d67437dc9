"""Seconds of a full-ranking evaluation, ours against stock RecBole's, of the same weights.

The weights are those that a model begins with. Both see RecBole's order of time, so that their
metrics must be equal, which is checked. The second evaluation of a process is the one that counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from sections.contestants import build, place
from sections.process import forget_peak, in_rounds, median_ratio, peak_mib

MODELS = ("GRU4Rec", "SASRec", "LLMInterestLSTM")
BOTH = {
    "time_precision": "recbole", "train_neg_sample_args": None, "topk": [10],
    "metrics": ["Recall", "MRR", "NDCG"], "valid_metric": "NDCG@10",
}  # fmt: skip


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the models so far."""
    dataset, length = ("ml-1m", 200) if request.data_path else ("ml-100k", 50)
    part: dict[str, Any] = {"dataset": dataset, "length": length, "models": {}}
    settings = BOTH | {"MAX_ITEM_LIST_LENGTH": length}
    for model in MODELS[-1:] if request.small else MODELS:
        shared = {"model": model, "dataset": dataset, "data_path": request.data_path}
        tasks = {
            runner: shared | {"runner": runner, "settings": settings}
            for runner in ("ours", "stock")
        }
        rounds = in_rounds("evaluation", tasks, request.rounds)
        for one in rounds:
            if max(abs(one["ours"]["test"][k] - v) for k, v in one["stock"]["test"].items()) > 1e-6:
                raise SystemExit(f"evaluation: {model} has other metrics under stock RecBole.")
        ratios = {unit: median_ratio(rounds, unit, of="stock") for unit in ("seconds", "mib")}
        part["models"][model] = {"rounds": rounds, "median_ratio": ratios}
        yield part


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Evaluate twice; return the seconds of the second, MiB above the start, and the metrics."""
    settings = task["settings"] | place(task["dataset"], task["data_path"])
    one = build(task["runner"], task["model"], task["dataset"], settings)
    one.trainer.eval_collector.data_collect(one.train)
    start = forget_peak()
    for _ in range(2):
        begin = time.perf_counter()
        test = one.trainer.evaluate(one.test, load_best_model=False)
        seconds = time.perf_counter() - begin
    metrics = {name: float(value) for name, value in test.items()}
    return {"seconds": seconds, "mib": peak_mib() - start, "test": metrics}


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for model, one in part["models"].items():
        yield (
            f"{part['dataset']}, {model}: stock needs {one['median_ratio']['seconds']:.1f} times "
            f"the seconds, {one['median_ratio']['mib']:.1f} times the memory"
        )
