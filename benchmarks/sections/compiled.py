"""Whether ``torch.compile`` of the evolution layer helps on this machine.

Forward and backward of the layer alone, in the precision of training, on windows of changing
lengths, as batches have them; the first call, which compiles, is reported apart. And a whole
training epoch of LLMInterestTransformer with ``compile_evolution`` and without, the second, which
compiles no more: some of its batches, from which the rest is extrapolated.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from recbole_llm.hardware import amp_dtype, cpu_is_faster_in_bf16
from recbole_llm.model.attention import TransformerEvolution
from recbole_llm.model.evolution import LinearEvolution, RecurrentEvolution
from sections.contestants import build, place, train
from sections.process import in_rounds, median_ratio

LAYERS = ("Linear", "GRU", "LSTM", "Transformer")
LENGTHS = (200, 190, 150, 120)
MODEL = "LLMInterestTransformer"
BATCHES = 12


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the layers so far."""
    dataset, length = ("ml-1m", 200) if request.data_path else ("ml-100k", 50)
    lengths = (20, 12) if request.small else LENGTHS
    part: dict[str, Any] = {"layers": {}}
    for layer in LAYERS:
        of_layer = {"layer": layer, "lengths": lengths}
        part["layers"][layer] = contest(of_layer, request.rounds)
        yield part
    of_model = {"dataset": dataset, "length": length}
    part["epoch"] = of_model | contest(of_model | {"data_path": request.data_path}, request.rounds)
    yield part


def contest(task: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return what a task takes as it is and compiled, and how many times as fast that is."""
    tasks = {name: task | {"is_compiled": name == "compiled"} for name in ("eager", "compiled")}
    found = in_rounds("compile", tasks, rounds)
    ratio = median_ratio(found, "seconds", of="eager", to="compiled")
    return {"rounds": found, "median_ratio": ratio}


def build_layer(layer: str) -> nn.Module:
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
    """Return what a layer or an epoch takes, at first and later."""
    return measure_layer(task) if "layer" in task else measure_epoch(task)


def measure_epoch(task: dict[str, Any]) -> dict[str, float]:
    """Train some batches of two epochs; compiling is in the seconds of both."""
    settings = {
        "MAX_ITEM_LIST_LENGTH": task["length"], "epochs": 2,
        "compile_evolution": task["is_compiled"],
    }  # fmt: skip
    settings |= place(task["dataset"], task["data_path"])
    one = build("ours", MODEL, task["dataset"], settings)
    begin = time.perf_counter()
    _, second = train(one, BATCHES)
    return {"both_seconds": time.perf_counter() - begin, "seconds": second.seconds}


def measure_layer(task: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of the first pass over the lengths and the median of later ones."""
    torch.manual_seed(0)
    layer = build_layer(task["layer"])
    if task["is_compiled"]:
        layer.compile(dynamic=True)
    passes = []
    for _ in range(6):
        begin = time.perf_counter()
        for length in task["lengths"]:
            items = torch.randn(128, length, 64, requires_grad=True)
            with torch.autocast("cpu", amp_dtype("cpu"), enabled=cpu_is_faster_in_bf16()):
                states = layer(items)
            states.sum().backward()
        passes.append(time.perf_counter() - begin)
    return {"first_seconds": passes[0], "seconds": statistics.median(passes[1:])}


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    for layer, one in part["layers"].items():
        first = one["rounds"][-1]["compiled"]["first_seconds"]
        yield f"{layer}: {one['median_ratio']:.2f} times as fast compiled, {first:.0f} s at first"
    if one := part.get("epoch"):
        yield (
            f"an epoch of {MODEL}, {one['dataset']}, length {one['length']}: "
            f"{one['median_ratio']:.2f} times as fast compiled"
        )
