"""All-position training: each window of a history trains every position at once.

Letters: B batch, T length of the longest window in a batch, L the most inputs a window may have.
A user's events e_0 .. e_M (indices into one flat array) hold M targets e_1 .. e_M. A window reads
consecutive events as inputs and has the event after each input as its target, so that a causal
model sees for each target what RecBole's prefix data shows it, in one pass instead of M. A history
of more than L inputs is cut: targets behind a cut see what follows it, and
``window_overlap`` inputs before it as context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

BUCKET_BATCHES = 64  # windows of so many batches are sorted by length together: little padding
AUGMENTATION = 1  # its random numbers are not those of the cuts, which it must not change


@dataclass(frozen=True)
class Windows:
    """Windows over a flat array of events, one entry a window.

    Attributes:
        first: Index of the window's first input, shape ``(W,)``.
        length: Number of inputs, ``(W,)``.
        context: Number of leading inputs whose targets belong to the window before, ``(W,)``.
        user: Which user's it is, ``(W,)``.
    """

    first: np.ndarray
    length: np.ndarray
    context: np.ndarray
    user: np.ndarray


def cut_windows(
    starts: np.ndarray,
    num_targets: np.ndarray,
    *,
    max_length: int,
    overlap: int,
    rng: np.random.Generator,
) -> Windows:
    """Cut histories into windows in which each target is trained exactly once.

    A history of at most ``max_length`` targets is one window. A longer one is cut at offsets drawn
    from ``rng``, so that the cuts fall elsewhere each epoch; every window but the first begins with
    ``overlap`` events of context.

    Args:
        starts: Index of each user's first event, ``(U,)``.
        num_targets: Number of targets of each user, ``(U,)``; users without any are left out.
        max_length: The most inputs of a window.
        overlap: Inputs of context in a window that a cut begins, below ``max_length``.
        rng: The source of the cuts.
    """
    starts, num_targets = starts[num_targets > 0], num_targets[num_targets > 0]
    stride = max_length - overlap
    is_long = num_targets > max_length
    head = np.where(is_long, rng.integers(1, stride + 1, size=len(starts)), num_targets)
    pieces = 1 + -(-(num_targets - head) // stride)

    user = np.repeat(np.arange(len(starts)), pieces)
    piece = np.arange(len(user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = np.where(piece == 0, 0, head[user] + (piece - 1) * stride)
    end = np.minimum(head[user] + piece * stride, num_targets[user])
    context = np.minimum(begin, overlap)
    return Windows(starts[user] + begin - context, end - begin + context, context, user)


def bucket(length: np.ndarray, *, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Group windows of similar length into batches, in random order.

    Windows are shuffled, sorted by length within groups of ``BUCKET_BATCHES`` batches, and the
    batches are shuffled again.

    Returns:
        One array of window indices a batch.
    """
    order = rng.permutation(len(length))
    batches = []
    for begin in range(0, len(order), batch_size * BUCKET_BATCHES):
        group = order[begin : begin + batch_size * BUCKET_BATCHES]
        group = group[np.argsort(length[group], kind="stable")]
        batches += [group[i : i + batch_size] for i in range(0, len(group), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(frozen=True)
class WindowBatch:
    """Tensors of one training batch, right-padded with 0.

    Attributes:
        history: Input items, ``(B, T)``.
        lengths: Inputs in each row, ``(B,)``.
        targets: The item after each input, ``(B, T)``; 0 where there is nothing to learn (padding
            and context).
        users: Whose history each row is, ``(B,)``.
        views: The same windows changed at random, for the contrastive term.
        weight: What its loss counts for: 1, or, of the batches of a step or of the parts of a batch
            that several processes share, its share of the targets' weight times their number.
    """

    history: Tensor
    lengths: Tensor
    targets: Tensor
    users: Tensor
    views: tuple[WindowBatch, ...] = ()
    weight: float = 1.0

    @property
    def last_target(self) -> Tensor:
        """Return the last target of each row, ``(B,)``."""
        return self.targets.gather(1, self.lengths[:, None] - 1).squeeze(1)

    def rows(self, which: slice) -> WindowBatch:
        """Return some of the windows, with no more padding than they need."""
        lengths = self.lengths[which]
        longest = int(lengths.max())
        return replace(
            self,
            history=self.history[which, :longest],
            lengths=lengths,
            targets=self.targets[which, :longest],
            users=self.users[which],
            views=tuple(view.rows(which) for view in self.views),
        )

    def to(self, device: torch.device) -> WindowBatch:
        """Return the batch on a device."""
        history, lengths, targets, users = (
            tensor.to(device) for tensor in (self.history, self.lengths, self.targets, self.users)
        )
        views = tuple(view.to(device) for view in self.views)
        return WindowBatch(history, lengths, targets, users, views, self.weight)


Augment = Callable[[WindowBatch, np.random.Generator], WindowBatch]


class WindowSampler:
    """Draws an epoch's windows over flat item sequences and yields them in batches.

    Batches hold windows of like length and a loss is the mean over a batch's targets, so that the
    targets of short histories weigh more than those of long ones. RecBole's prefixes weigh equally.

    Args:
        items: Items of all users, user after user, in time order, ``(E,)``.
        starts: Index of each user's first event, ``(U,)``.
        num_targets: Number of targets of each user, ``(U,)``.
        max_length: The most inputs of a window.
        overlap: Context of a window that a cut begins.
        batch_size: Windows a batch.
        seed: Epoch ``k`` is a pure function of ``(seed, k)``.
        rank: Which of the processes draws; each makes every batch and keeps its part of it.
        num_ranks: Number of processes.
        accumulation: Batches whose gradients make one step.
        augmenter: Changes the windows that are trained.
        view_augmenter: Makes two views of each window.
        target_weights: What each item counts for as a target where a loss is divided by the sum of
            its targets' weights, ``(N,)``; all alike by default.
    """

    def __init__(
        self,
        *,
        items: Tensor,
        starts: np.ndarray,
        num_targets: np.ndarray,
        max_length: int,
        overlap: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        accumulation: int = 1,
        augmenter: Augment | None = None,
        view_augmenter: Augment | None = None,
        target_weights: Tensor | None = None,
    ) -> None:
        self.items = items
        self.starts = starts
        self.num_targets = num_targets
        self.max_length = max_length
        self.overlap = min(overlap, max_length - 1)
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.num_ranks, self.accumulation = rank, num_ranks, accumulation
        self.augmenter = augmenter
        self.view_augmenter = view_augmenter
        self.target_weights = None if target_weights is None else target_weights.double()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows and the batches of an epoch."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        self.windows = cut_windows(
            self.starts,
            self.num_targets,
            max_length=self.max_length,
            overlap=self.overlap,
            rng=rng,
        )
        self.batches = bucket(self.windows.length, batch_size=self.batch_size, rng=rng)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[WindowBatch]:
        rng = np.random.default_rng([self.seed, self.epoch, AUGMENTATION])
        made = (self._augment(self._gather(batch), rng) for batch in self.batches)
        while step := list(islice(made, self.accumulation)):
            weights = [self._weight(batch.targets) for batch in step]
            for batch, weight in zip(step, weights, strict=True):
                whole = replace(batch, weight=len(step) * weight / sum(weights))
                yield whole if self.num_ranks == 1 else self._part(whole)

    def _gather(self, batch: np.ndarray) -> WindowBatch:
        first = torch.from_numpy(self.windows.first[batch])[:, None]  # (B, 1)
        lengths = torch.from_numpy(self.windows.length[batch])
        context = torch.from_numpy(self.windows.context[batch])[:, None]
        step = torch.arange(int(lengths.max()))[None, :]  # (1, T)
        is_input = step < lengths[:, None]  # (B, T)
        at = torch.where(is_input, first + step, 0)
        history = torch.where(is_input, self.items[at], 0)
        targets = torch.where(is_input & (step >= context), self.items[at + 1], 0)
        return WindowBatch(history, lengths, targets, torch.from_numpy(self.windows.user[batch]))

    def _augment(self, batch: WindowBatch, rng: np.random.Generator) -> WindowBatch:
        make_view = self.view_augmenter
        views = () if make_view is None else (make_view(batch, rng), make_view(batch, rng))
        changed = batch if self.augmenter is None else self.augmenter(batch, rng)
        return replace(changed, views=views)

    def _part(self, batch: WindowBatch) -> WindowBatch:
        """Return this process's part of a batch that all processes make alike."""
        if self.rank >= len(batch.lengths):  # more processes than windows: one is read again
            return replace(batch.rows(slice(1)), weight=0.0)
        part = batch.rows(slice(self.rank, None, self.num_ranks))
        share = self._weight(part.targets) / self._weight(batch.targets)
        return replace(part, weight=batch.weight * self.num_ranks * share)

    def _weight(self, targets: Tensor) -> float:
        """Return the weight of all targets together."""
        found = targets[targets > 0]
        return float(
            len(found) if self.target_weights is None else self.target_weights[found].sum()
        )
