"""Optimizer steps by hand: schedules, accumulation, clipping, averages."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from recbole_llm.train.optim import Steps, WeightAverage, learning_rate_factor


def steps(weight: nn.Parameter, **changes) -> Steps:
    """Return plain SGD of rate 1 on a weight."""
    parts = {
        "optimizer": torch.optim.SGD([weight], lr=1.0), "parameters": [weight], "accumulation": 1,
        "clip": None, "schedule": {"kind": "constant", "warmup": 0, "total": 10},
        "scaler": torch.amp.GradScaler("cpu", enabled=False), "average": None,
    }  # fmt: skip
    return Steps(**parts | changes)


@pytest.mark.parametrize(
    ("step", "kind", "factor"),
    [
        (0, "constant", 1 / 5),
        (3, "constant", 4 / 5),
        (4, "constant", 1.0),
        (99, "constant", 1.0),
        (4, "cosine", 1.0),
        (7, "cosine", (1 + math.cos(math.pi / 2)) / 2),
        (10, "cosine", 0.0),
        (99, "cosine", 0.0),
    ],
)
def test_a_schedule_by_hand(step: int, kind: str, factor: float) -> None:
    received = learning_rate_factor(step, kind=kind, warmup=4, total=10)
    assert received == pytest.approx(factor)


def test_a_group_of_batches_takes_one_step_along_their_mean_gradient() -> None:
    weight = nn.Parameter(torch.zeros(1))
    taken = steps(weight, accumulation=2)
    for place, slope in enumerate([1.0, 3.0, 5.0]):  # the third batch is a group of its own
        taken.backward(slope * weight.sum(), batch=place, num_batches=3)
    assert weight.item() == -(1 + 3) / 2 - 5
    assert taken.schedule.last_epoch == 2


def test_gradients_are_clipped_after_the_scale_is_gone() -> None:
    weight = nn.Parameter(torch.zeros(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    clipped = steps(weight, clip={"max_norm": 2.0}, scaler=scaler)
    clipped.backward(1.5 * weight.sum(), batch=0, num_batches=2)
    assert weight.item() == -1.5  # below the limit; 1536 while scaled
    clipped.backward(9.0 * weight.sum(), batch=1, num_batches=2)
    assert weight.item() == pytest.approx(-1.5 - 2.0, abs=1e-5)


def test_a_warm_up_and_a_cosine_change_the_steps() -> None:
    weight = nn.Parameter(torch.zeros(1))
    taken = steps(weight, schedule={"kind": "cosine", "warmup": 1, "total": 3})
    for place in range(3):
        taken.backward(weight.sum(), batch=place, num_batches=3)
    assert weight.item() == pytest.approx(-(1 / 2 + 1 + (1 + math.cos(math.pi / 2)) / 2))


def test_an_average_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    average = WeightAverage(layer, decay=0.5)
    nn.init.constant_(layer.weight, 3.0)
    average.update()  # decay min(0.5, 2 / 11)
    first = 1 + (1 - 2 / 11) * 2
    with average.in_place():
        assert layer.weight.item() == pytest.approx(first)
    assert layer.weight.item() == 3.0
    for _ in range(20):
        average.update()
    assert average.average[0].item() == pytest.approx(3.0, abs=1e-3)


def test_state_brings_back_every_part() -> None:
    weight, layer = nn.Parameter(torch.zeros(1)), nn.Linear(1, 1)
    average = WeightAverage(layer, decay=0.5)
    before = steps(
        weight, optimizer=torch.optim.Adam([weight], lr=0.1), average=average,
        schedule={"kind": "cosine", "warmup": 2, "total": 9},
    )  # fmt: skip
    for place in range(4):
        before.backward((weight - 1).square().sum(), batch=place, num_batches=9)
    twin = nn.Parameter(weight.detach().clone())
    after = steps(
        twin, optimizer=torch.optim.Adam([twin], lr=0.1),
        average=WeightAverage(nn.Linear(1, 1), decay=0.5),
        schedule={"kind": "cosine", "warmup": 2, "total": 9},
    )  # fmt: skip
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    assert torch.equal(after.average.average[0], average.average[0])
    for one, optimized in ((before, weight), (after, twin)):
        one.backward((optimized - 1).square().sum(), batch=4, num_batches=9)
    assert weight.item() == twin.item()
