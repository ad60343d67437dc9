"""Windows that continue a training: over new events, and over a sample of the old ones.

Letters: U users, E events of all users, W windows. A user's events hold one target less than there
are of them; the first ``num_old`` targets are old, those behind them are new.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_llm.data.batches import Windows, WindowSampler, bucket, cut_windows


def new_windows(
    starts: np.ndarray, num_old: np.ndarray, num_new: np.ndarray, *, max_length: int
) -> Windows:
    """Cut windows in which each new target is trained exactly once, and no old one.

    A window holds half of ``max_length`` targets at most, so that each has the other half before
    it as context, or all that the user did.

    Args:
        starts: Index of each user's first event, ``(U,)``.
        num_old: Old targets of each user, ``(U,)``.
        num_new: New targets of each user, ``(U,)``.
        max_length: The most inputs of a window.
    """
    most = (max_length + 1) // 2
    pieces = -(-num_new // most)
    user = np.repeat(np.arange(len(starts)), pieces)
    piece = np.arange(len(user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = num_old[user] + piece * most
    end = np.minimum(begin + most, (num_old + num_new)[user])
    first = np.maximum(0, end - max_length)
    return Windows(starts[user] + first, end - first, begin - first, user)


class ReplaySampler(WindowSampler):
    """Draws an epoch's windows over all new targets and, anew each epoch, over some of the old.

    Old histories are cut as in training, and whole windows are drawn from them uniformly without
    replacement, so that each old target is as likely as any other (experience replay: Rolnick et
    al., 2019, arXiv 1811.11682; of sequences of items: Mi et al., 2020, arXiv 2007.12000).

    Args:
        num_old: Old targets of each user, ``(U,)``.
        num_new: New targets of each user, ``(U,)``.
        replay: Old targets for each new one; windows are drawn until there are as many, or none is
            left.
        **sampling: What a :class:`WindowSampler` takes beside ``num_targets``.
    """

    def __init__(
        self, *, num_old: np.ndarray, num_new: np.ndarray, replay: float, **sampling: Any
    ) -> None:
        self.num_old, self.num_new, self.replay = num_old, num_new, replay
        super().__init__(num_targets=num_old + num_new, **sampling)

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows and the batches of an epoch."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        new = new_windows(self.starts, self.num_old, self.num_new, max_length=self.max_length)
        both = zip(vars(new).values(), vars(self._replayed(rng)).values(), strict=True)
        self.windows = Windows(*(np.concatenate(parts) for parts in both))
        self.batches = bucket(self.windows.length, batch_size=self.batch_size, rng=rng)

    def _replayed(self, rng: np.random.Generator) -> Windows:
        known = np.flatnonzero(self.num_old)
        old = cut_windows(
            self.starts[known],
            self.num_old[known],
            max_length=self.max_length,
            overlap=self.overlap,
            rng=rng,
        )
        order = rng.permutation(len(old.first))
        before = np.cumsum((old.length - old.context)[order]) - (old.length - old.context)[order]
        chosen = order[before < self.replay * self.num_new.sum()]
        return Windows(
            old.first[chosen], old.length[chosen], old.context[chosen], known[old.user[chosen]]
        )
