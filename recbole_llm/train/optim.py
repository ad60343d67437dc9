"""From losses to optimizer steps: accumulated, unscaled, clipped, scheduled, averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR


def learning_rate_factor(step: int, *, kind: str, warmup: int, total: int) -> float:
    """Return what the learning rate is multiplied by at a step.

    It rises linearly over the warm-up's steps, then stays (``constant``), or falls to nothing along
    half a cosine (``cosine``: Loshchilov and Hutter, 2017, arXiv 1608.03983, without restarts).

    Args:
        step: Steps taken so far.
        kind: ``constant`` or ``cosine``.
        warmup: Steps of the warm-up.
        total: Steps of the whole training.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if kind == "constant":
        return 1.0
    return (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup)))) / 2


class WeightAverage:
    """An exponential moving average of a model's weights (Polyak and Juditsky, 1992).

    Early averages are not held back by the first weights: after n steps the decay is at most
    (1 + n) / (10 + n), as in TensorFlow's.

    Args:
        model: Its floating-point parameters are averaged.
        decay: Share of the average that a step keeps.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.decay, self.num_updates = decay, 0
        self.average = [p.detach().clone() for p in self.parameters]

    def update(self) -> None:
        """Move the average towards the weights."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the model's place while the block runs."""
        weights = [p.detach().clone() for p in self.parameters]
        self._assign(self.average)
        try:
            yield
        finally:
            self._assign(weights)

    def keep(self) -> None:
        """Put the average in the model's place for good."""
        self._assign(self.average)

    def _assign(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, values)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its age."""
        return {"num_updates": self.num_updates, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take an average back."""
        self.num_updates = state["num_updates"]
        torch._foreach_copy_(self.average, state["average"])


class Steps:
    """Takes an optimizer's steps from the losses of batches.

    Gradients of ``accumulation`` batches are averaged, freed of the scaler's factor, and only then
    clipped; RecBole clips what is still scaled, by a scaler that forgets its factor each epoch.

    Args:
        optimizer: The optimizer.
        parameters: What it optimizes.
        accumulation: Batches a step.
        clip: Arguments of ``clip_grad_norm_``, or None.
        schedule: Factor of the learning rate at a step, ``learning_rate_factor``'s arguments; a
            group of parameters may have a ``warmup`` of its own.
        scaler: For float16; disabled otherwise.
        average: An average to keep, or None.
    """

    def __init__(
        self,
        *,
        optimizer: torch.optim.Optimizer,
        parameters: list[nn.Parameter],
        accumulation: int,
        clip: Mapping[str, Any] | None,
        schedule: Mapping[str, Any],
        scaler: torch.amp.GradScaler,
        average: WeightAverage | None,
    ) -> None:
        self.optimizer, self.parameters = optimizer, parameters
        self.accumulation, self.clip = accumulation, clip
        self.scaler, self.average = scaler, average
        self._weight_decays = [group["weight_decay"] for group in optimizer.param_groups]
        warmups = [group.get("warmup", schedule["warmup"]) for group in optimizer.param_groups]
        self.schedule = LambdaLR(
            optimizer,
            [partial(learning_rate_factor, **{**schedule, "warmup": steps}) for steps in warmups],
        )

    def backward(self, loss: Tensor, *, batch: int, num_batches: int) -> None:
        """Add a batch's gradients, and take a step if it is the last of its group.

        Args:
            loss: The batch's loss.
            batch: Its place in the epoch.
            num_batches: Batches of the epoch; the last group may be smaller.
        """
        begin = batch - batch % self.accumulation
        size = min(self.accumulation, num_batches - begin)
        self.scaler.scale(loss / size).backward()
        if batch + 1 == begin + size:
            self._step()

    def _step(self) -> None:
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, **self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.schedule.step()
        if self.average:
            self.average.update()

    def use_own_rates(self) -> None:
        """Go on with the learning rate and weight decay given, not with those that were loaded."""
        groups, schedule = self.optimizer.param_groups, self.schedule
        factors = [factor(schedule.last_epoch) for factor in schedule.lr_lambdas]
        rates = [base * factor for base, factor in zip(schedule.base_lrs, factors, strict=True)]
        for group, rate, decay in zip(groups, rates, self._weight_decays, strict=True):
            group["lr"], group["weight_decay"] = rate, decay

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later step depends on but the weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "step": self.schedule.last_epoch,
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.last_epoch = state["step"]
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])
