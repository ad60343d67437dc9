"""Seconds and memory as interactions, items and length grow, on synthetic data.

Each case is prepared, trained for some steps and evaluated on some users, in one process; the peak
of memory begins anew with each of the three. Memory an interaction must not grow.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sections.contestants import build, train
from sections.process import forget_peak, in_child, peak_mib
from sections.synthetic import write

USERS_EVALUATED = 1024


def case(events: int, items: int, *, per_user: int = 50, length: int = 50) -> dict[str, int]:
    """Return the sizes of a case."""
    return {"events": events, "items": items, "per_user": per_user, "length": length}


CASES = (
    case(10**5, 10**4),
    case(10**6, 10**4),
    case(10**7, 10**4),
    case(10**6, 10**5),
    case(10**6, 10**6),
    case(10**6, 10**4, per_user=200, length=50),
    case(10**6, 10**4, per_user=200, length=200),
    case(10**7, 10**6),
)
SMALL = (case(2000, 100, per_user=10, length=10), case(4000, 200, per_user=10, length=10))


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cases so far."""
    part: dict[str, Any] = {"cases": []}
    for sizes in SMALL if request.small else CASES:
        part["cases"].append(sizes | in_child("growth", sizes))
        yield part


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Write the data, then prepare, train and evaluate."""
    folder = write(
        Path.cwd() / "data",
        name="grown",
        events=task["events"],
        items=task["items"],
        per_user=task["per_user"],
    )
    settings = {
        "data_path": str(folder), "MAX_ITEM_LIST_LENGTH": task["length"], "item_features": "id",
        "epochs": 1, "eval_batch_size": 256, "metrics": ["NDCG"], "topk": [10],
    }  # fmt: skip
    start = forget_peak()
    one = build("ours", "LLMInterestLSTM", "grown", settings)
    found = {"prepare_seconds": one.prepare_seconds, "prepare_mib": peak_mib() - start}
    found["prepare_bytes_an_interaction"] = 2**20 * found["prepare_mib"] / task["events"]
    forget_peak()
    steps = 6 if task["items"] < 10**6 else 3
    found["train"] = {"epoch_seconds": train(one, steps)[0].seconds, "mib": peak_mib()}
    test = some_users(one.test, USERS_EVALUATED)
    forget_peak()
    begin = time.perf_counter()
    one.trainer.evaluate(test, load_best_model=False)
    found["evaluate"] = {"seconds": time.perf_counter() - begin, "mib": peak_mib()}
    return found


def some_users(loader: Any, number: int) -> Any:
    """Return a loader of the first users of an evaluation."""
    dataset = loader.dataset
    part = dataset.copy(dataset.inter_feat[:number])
    return type(loader)(loader.config, part, loader.sampler, shuffle=False)


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for one in part["cases"]:
        yield (
            f"{one['events']:.0e} interactions, {one['items']:.0e} items, length {one['length']}: "
            f"prepared in {one['prepare_seconds']:.0f} s, "
            f"{one['prepare_bytes_an_interaction']:.0f} bytes an interaction; an epoch "
            f"{one['train']['epoch_seconds']:.0f} s, {one['train']['mib']:.0f} MiB; "
            f"{USERS_EVALUATED} users ranked in {one['evaluate']['seconds']:.1f} s, "
            f"{one['evaluate']['mib']:.0f} MiB"
        )
