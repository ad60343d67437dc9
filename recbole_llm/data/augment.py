"""Augmentation: training windows changed at random, each epoch in another way.

Letters: B batch, T inputs of the longest window, S = T + 1 its events, the last target included.
In a window's sequence of events each but the last is an input, and has the event after it as its
target. An operation gives events other places, or none; then targets are read off anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from recbole_llm.data.batches import WindowBatch
from recbole_llm.settings import Settings

OPERATIONS = ("drop", "mask", "crop", "reorder")
GONE = np.inf  # the place of an event that is left out


@dataclass(frozen=True)
class Augmenter:
    """Changes each window by one operation, drawn from a list (CL4SRec: Xie et al., 2022).

    ``drop`` leaves each event out with probability ``rate``. ``mask`` makes each input the zero
    vector with that probability; its place and its target stay. ``crop`` cuts this share of the
    events off, some at either end. ``reorder`` shuffles a span of this share of the events. Shares
    are rounded down. Inputs of context still have no target, and a window keeps at least one
    target: a change that would take the last is not made.

    Differs from CL4SRec (arXiv 2010.14395): windows may be trained changed, not only compared;
    one rate says how much is changed, where theirs says how much ``crop`` keeps; ``mask`` and
    ``drop``, which they lack, decide for each event alone; ``reorder`` moves neither context nor
    the first input, so that each target is still trained once.

    Attributes:
        operations: ``drop``, ``mask``, ``crop``, ``reorder``, at least one.
        rate: How much is changed, between 0 and 1.
    """

    operations: Sequence[str]
    rate: float

    def __call__(self, batch: WindowBatch, rng: np.random.Generator) -> WindowBatch:
        """Return the windows changed, in rows as before."""
        number = batch.lengths.numpy() + 1  # (B,)
        context = (batch.targets > 0).int().argmax(1).numpy()  # (B,)
        step = np.arange(batch.history.shape[1] + 1)  # (S,)
        is_event = step < number[:, None]  # (B, S)
        stay = np.where(is_event, step, GONE)
        names = np.array(self.operations)[rng.integers(len(self.operations), size=len(number))]
        place = np.select(
            [names[:, None] == name for name in ("drop", "crop", "reorder")],
            [
                np.where(rng.random(stay.shape) < self.rate, GONE, stay),
                cropped(stay, number, rate=self.rate, rng=rng),
                reordered(stay, number, first=context + 1, rate=self.rate, rng=rng),
            ],
            default=stay,
        )
        learns = (place < GONE) & (step >= context[:, None])
        place = np.where(learns.sum(1, keepdims=True) < 2, stay, place)  # a target and its input
        is_masked = (names[:, None] == "mask") & (rng.random(stay.shape) < self.rate)
        return rearranged(batch, place, is_masked=is_masked, context=context)


def cropped(
    place: np.ndarray, number: np.ndarray, *, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the places of events ``(B, S)`` of which a random span stays, at least two events.

    Args:
        place: Where each event stands, ``(B, S)``.
        number: Events of each window, ``(B,)``.
        rate: Share of the events that is cut off.
        rng: The source of the span's beginning.
    """
    cut = np.minimum((rate * number).astype(int), number - 2)
    begin = rng.integers(cut + 1)
    stays = (place >= begin[:, None]) & (place < (begin + number - cut)[:, None])
    return np.where(stays, place, GONE)


def reordered(
    place: np.ndarray,
    number: np.ndarray,
    *,
    first: np.ndarray,
    rate: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the places of events ``(B, S)`` of which a random span is shuffled.

    Args:
        place: Where each event stands, ``(B, S)``.
        number: Events of each window, ``(B,)``.
        first: The first event that may be moved, ``(B,)``.
        rate: Share of the events that the span has.
        rng: The source of the span's beginning and order.
    """
    span = np.minimum((rate * number).astype(int), number - first)
    begin = (first + rng.integers(number - first - span + 1))[:, None]
    moves = (place >= begin) & (place < begin + span[:, None])
    return np.where(moves, begin + rng.random(place.shape), place)  # all before the event after


def rearranged(
    batch: WindowBatch, place: np.ndarray, *, is_masked: np.ndarray, context: np.ndarray
) -> WindowBatch:
    """Return windows whose events are in the order of their places, and their targets.

    Args:
        batch: The windows as they were.
        place: Where each event goes, ``(B, S)``; ``GONE`` for nowhere.
        is_masked: Which inputs become zero vectors, at their new places, ``(B, S)``.
        context: Leading inputs whose targets another window trains, ``(B,)``.
    """
    end = batch.lengths[:, None]  # (B, 1)
    events = functional.pad(batch.history, (0, 1)).scatter(1, end, batch.last_target[:, None])
    lengths = (place < GONE).sum(1) - 1  # (B,)
    order = np.argsort(place, axis=1, kind="stable")[:, : lengths.max() + 1]
    moved = np.take_along_axis(events.numpy(), order, axis=1)
    is_input = np.arange(lengths.max()) < lengths[:, None]
    history = np.where(is_input & ~is_masked[:, : lengths.max()], moved[:, :-1], 0)
    learns = is_input & (order[:, :-1] >= context[:, None])
    targets = np.where(learns, moved[:, 1:], 0)
    return replace(
        batch,
        history=torch.from_numpy(history),
        lengths=torch.from_numpy(lengths),
        targets=torch.from_numpy(targets),
    )


def training_augmenter(settings: Settings) -> Augmenter | None:
    """Return what changes the windows that are trained, if anything does."""
    if not settings.augmentation:
        return None
    return Augmenter(settings.augmentation, settings.augmentation_rate)


def view_augmenter(settings: Settings) -> Augmenter | None:
    """Return what makes the views that the contrastive term compares, if it does."""
    if not settings.has_augmented_views:
        return None
    return Augmenter(settings.augmentation or OPERATIONS, settings.augmentation_rate)
