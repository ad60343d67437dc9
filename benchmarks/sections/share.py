"""Share of the machine's matmul peak that a training step of LLMInterestLSTM reaches, by part.

The batches are like ml-1m's at length 200: windows of about 165 items, 3,416 items. Operations are
those of matrix products only. FlopCounterMode sees neither the fused LSTM nor the chunked softmax
on a CPU, so that these are counted by formula; tests check the formulas against what it counts of
unfused equivalents. Each part is compared with the peak of the precision that it computes in.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_llm.data.batches import WindowBatch
from recbole_llm.hardware import amp_dtype, cpu_has_bf16
from recbole_llm.train.trainer import WindowLoader
from sections.contestants import Contestant, build, train
from sections.process import in_rounds
from sections.synthetic import write

MODEL = "LLMInterestLSTM"
OF_PEAKS = {"float32": "share_of_fp32_peak", "bf16": "share_of_bf16_peak"}
LIKE_ML_1M = {"items": 3416, "per_user": 165, "events": 165 * 1500}
SMALL = {"items": 50, "per_user": 10, "events": 1000}


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the shares."""
    data = SMALL if request.small else LIKE_ML_1M
    rounds = in_rounds("share", {MODEL: {"data": data}}, request.rounds)
    kinds = [kind for kind in rounds[0][MODEL] if kind in ("share", *OF_PEAKS.values())]
    medians = {kind: statistics.median(one[MODEL][kind] for one in rounds) for kind in kinds}
    yield {"data": data, "rounds": rounds, "median": medians}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Train an epoch, time the parts of the same steps, and relate both to the peaks."""
    folder = write(Path.cwd() / "data", name="like", **task["data"])
    own = {"data_path": str(folder), "MAX_ITEM_LIST_LENGTH": 200, "epochs": 2}
    one = build("ours", MODEL, "like", own)
    peaks = {"float32": peak(torch.float32)}
    if cpu_has_bf16():  # others emulate it, for many minutes
        peaks["bf16"] = peak(torch.bfloat16)
    last = train(one)[-1]
    step = last.seconds / last.batches
    seconds, flops = stages(one)
    precision = {name: "float32" for name in flops}
    if one.trainer.enable_amp:
        precision |= {"evolution": "bf16", "items": "bf16"}
    ideal = {name: count / peaks[precision[name]] for name, count in flops.items()}
    spent = {name: sum(v for k, v in seconds.items() if k.startswith(name)) for name in flops}
    total = sum(flops.values())
    return {
        "peaks": peaks,
        "step_seconds": step,
        "stage_seconds": seconds | {"rest": step - sum(seconds.values())},
        "flops": flops,
        "precision": precision,
        "share_by_part": {name: ideal[name] / spent[name] for name in flops},
        "share": sum(ideal.values()) / step,
        **{OF_PEAKS[name]: total / step / rate for name, rate in peaks.items()},
    }


def peak(dtype: torch.dtype, *, size: int = 2048, repeats: int = 7) -> float:
    """Return the operations a second of the fastest of some products of two square matrices."""
    one, other = torch.randn(2, size, size).to(dtype).unbind()
    return 2 * size**3 / min(timed(lambda: one @ other) for _ in range(repeats))


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds of a call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def stages(one: Contestant) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean seconds of the stages of a step, and the operations of its parts."""
    clock, flops = Clock(), Counter()
    batches = list(WindowLoader(one.train.dataset, one.config))
    for batch in batches:
        take_apart(one, batch, clock)
        for name, count in operations(one.model, batch).items():
            flops[name] += count / len(batches)
    return {name: taken / len(batches) for name, taken in clock.seconds.items()}, dict(flops)


class Clock:
    """Adds up the seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block."""
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin


def take_apart(one: Contestant, batch: WindowBatch, clock: Clock) -> None:
    """Take a step of training whose graph is cut between the parts, and time each."""
    model, optimizer = one.model, one.trainer.optimizer
    with torch.autocast("cpu", amp_dtype("cpu"), enabled=one.trainer.enable_amp):
        with clock("items forward"):
            table = model.items.table()
        cut = cut_off(table)
        with clock("look-up"):
            items = model.input_dropout(model.items.lookup(cut, batch.history))
        joined = cut_off(items)
        with clock("evolution forward"):
            states = model.evolution(joined)
        ends = cut_off(states)
        candidates = cut_off(table)
        with clock("softmax forward and gradients"):
            loss = model.target_loss(ends, candidates, batch)
    with clock("softmax backward"):
        loss.backward()
    with clock("evolution backward"):
        states.backward(ends.grad)
    with clock("look-up backward"):
        items.backward(joined.grad)
    with clock("items backward"):
        table.backward(cut.grad + candidates.grad)
    with clock("optimizer"):
        optimizer.step()
        optimizer.zero_grad()


def cut_off(tensor: Tensor) -> Tensor:
    """Return a tensor's values as the begin of a graph of its own."""
    return tensor.detach().requires_grad_()


def operations(model: Any, batch: WindowBatch) -> dict[str, float]:
    """Return the operations of the matrix products of a step, forward and backward."""
    network, output = model.evolution.network, model.evolution.output
    rows, length = batch.history.shape
    positions = int((batch.targets > 0).sum())
    num_items, size = model.items.embedding.weight.shape
    recurrent = recurrent_flops(
        rows=rows,
        length=length,
        in_size=network.input_size,
        hidden_size=network.hidden_size,
        gates=network.weight_hh_l0.shape[0] // network.hidden_size,
    )
    return {
        "evolution": recurrent + 6 * rows * length * output.in_features * output.out_features,
        "softmax": softmax_flops(positions=positions, num_items=num_items - 1, size=size),
        "items": sum(4 * f.vectors.numel() * size for f in model.items.features),  # given: no grad
    }


def recurrent_flops(*, rows: int, length: int, in_size: int, hidden_size: int, gates: int) -> int:
    """Return the operations of a recurrent layer, forward and backward.

    Three products a step, of the states and of the inputs with their weights: forward, gradient of
    the weights, gradient of what was multiplied. The first state, zero, needs no gradient.
    """
    steps = 3 * length * (in_size + hidden_size) - hidden_size
    return 2 * rows * gates * hidden_size * steps


def softmax_flops(*, positions: int, num_items: int, size: int) -> int:
    """Return the operations of a softmax over all items: scores, and the gradients of both."""
    return 6 * positions * num_items * size


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    last = part["rounds"][-1][MODEL]
    peaks = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in last["peaks"].items())
    yield f"peaks {peaks}; a step takes {1e3 * last['step_seconds']:.0f} ms"
    for name, seconds in last["stage_seconds"].items():
        yield f"  {name}: {100 * seconds / last['step_seconds']:.0f} % of the step"
    for name, share in last["share_by_part"].items():
        yield f"  {name}: {100 * share:.0f} % of the {last['precision'][name]} peak"
    shares = part["median"]
    alone = ", ".join(
        f"{100 * shares[kind]:.0f} % of the {name} peak alone"
        for name, kind in OF_PEAKS.items()
        if kind in shares
    )
    yield f"a step: {100 * shares['share']:.0f} % of the peaks of its parts' precisions; {alone}"
