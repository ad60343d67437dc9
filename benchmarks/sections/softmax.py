"""The full softmax of a million items: seconds and memory, against a plain one where that fits."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from recbole_llm.model.losses import FullSoftmax, item_scores
from sections.process import forget_peak, in_rounds, median_ratio, peak_mib

SIZES = (  # items, positions, whether the plain softmax fits
    (10_000, 12_800, True),
    (100_000, 2_560, True),
    (1_000_000, 12_800, False),
)
SMALL = ((1000, 128, True), (2000, 128, False))


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the sizes so far."""
    part: dict[str, Any] = {"size": 64, "sizes": []}
    for num_items, positions, has_plain in SMALL if request.small else SIZES:
        size = {"num_items": num_items, "positions": positions}
        names = ("ours", "plain") if has_plain else ("ours",)
        tasks = {name: size | {"loss": name, "size": part["size"]} for name in names}
        rounds = in_rounds("softmax", tasks, request.rounds)
        ratios = {
            unit: median_ratio(rounds, unit, of="plain")
            for unit in (("seconds", "mib") if has_plain else ())
        }
        part["sizes"].append(size | {"rounds": rounds, "median_ratio": ratios})
        yield part


def plain(interest: torch.Tensor, table: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of all scores, made at once."""
    return functional.cross_entropy(item_scores(interest, table[1:], temperature=1.0), targets - 1)


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of loss and gradients, and the MiB of this process and above its start."""
    torch.manual_seed(0)
    interest = torch.randn(task["positions"], task["size"], requires_grad=True)
    table = (0.1 * torch.randn(task["num_items"] + 1, task["size"])).requires_grad_()
    targets = torch.randint(1, task["num_items"] + 1, (task["positions"],))
    loss = {"ours": FullSoftmax(temperature=1.0), "plain": plain}[task["loss"]]
    loss(interest[:2], table[:9], targets[:2].clamp(max=8)).backward()  # imports what it needs
    start = forget_peak()
    begin = time.perf_counter()
    loss(interest, table, targets).backward()
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "mib": peak_mib() - start, "process_mib": peak_mib()}


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for one in part["sizes"]:
        last = one["rounds"][-1]["ours"]
        ratios = "".join(f", plain {v:.1f} times the {k}" for k, v in one["median_ratio"].items())
        yield (
            f"{one['num_items']} items, {one['positions']} positions: {last['seconds']:.1f} s, "
            f"{last['process_mib']:.0f} MiB in the process{ratios}"
        )
