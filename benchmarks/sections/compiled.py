"""Whether ``torch.compile`` of the evolution layer helps on this machine.

Forward and backward of the layer alone, in the precision of training, on windows of changing
lengths, as batches have them; the first call, which compiles, is reported apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from recbole_llm.hardware import amp_dtype, cpu_has_bf16
from recbole_llm.model.attention import TransformerEvolution
from recbole_llm.model.evolution import LinearEvolution, RecurrentEvolution
from sections.process import in_rounds, median_ratio

LAYERS = ("Linear", "GRU", "LSTM", "Transformer")
LENGTHS = (200, 190, 150, 120)


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the layers so far."""
    part: dict[str, Any] = {"layers": {}}
    lengths = (20, 12) if request.small else LENGTHS
    for layer in LAYERS:
        tasks = {
            name: {"layer": layer, "is_compiled": name == "compiled", "lengths": lengths}
            for name in ("eager", "compiled")
        }
        rounds = in_rounds("compile", tasks, request.rounds)
        ratio = median_ratio(rounds, "seconds", of="eager", to="compiled")
        part["layers"][layer] = {"rounds": rounds, "median_ratio": ratio}
        yield part


def build(layer: str) -> nn.Module:
    """Return an evolution layer at the defaults of its model."""
    shared: dict[str, Any] = {"size": 64, "pooling": "mean"}
    if layer == "Linear":
        return LinearEvolution(**shared)
    if layer == "Transformer":
        return TransformerEvolution(
            **shared, hidden_size=128, num_layers=2, num_heads=2, dropout=0.2
        )
    cell = getattr(nn, layer)
    return RecurrentEvolution(**shared, cell=cell, hidden_size=256, num_layers=1, dropout=0.2)


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of the first pass over the lengths and the median of later ones."""
    torch.manual_seed(0)
    layer = build(task["layer"])
    if task["is_compiled"]:
        layer.compile(dynamic=True)
    passes = []
    for _ in range(6):
        begin = time.perf_counter()
        for length in task["lengths"]:
            items = torch.randn(128, length, 64, requires_grad=True)
            with torch.autocast("cpu", amp_dtype("cpu"), enabled=cpu_has_bf16()):
                states = layer(items)
            states.sum().backward()
        passes.append(time.perf_counter() - begin)
    return {"first_seconds": passes[0], "seconds": statistics.median(passes[1:])}


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for layer, one in part["layers"].items():
        first = one["rounds"][-1]["compiled"]["first_seconds"]
        yield f"{layer}: {one['median_ratio']:.2f} times as fast compiled, {first:.0f} s at first"
