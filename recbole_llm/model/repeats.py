"""Whether users come back to what they met: a number for the items that were read.

Letters: R rows of scores, L history length, B windows, T window length, P positions with a target,
N items (row 0 is padding), K drawn items, M cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_llm.model.similarity import Similar


class RepeatBias(nn.Module):
    """A learned number that is added to the scores of the items that were read.

    Users come back to songs, and hardly ever to films. An inner product cannot say so: what is like
    the history is most like what is in it. The number begins at the log of the share of training
    events whose item the user had met, so that where nobody comes back what was read is out of the
    list, and of the softmax, from the first step. RepeatNet (Ren et al., 2019, arXiv 1812.02646)
    learns when users repeat; here they all do alike.

    Args:
        repeats: Number of training events whose item their user had met.
        events: Number of training events.
        is_learned: Whether it moves from there.
    """

    def __init__(self, *, repeats: int, events: int, is_learned: bool = True) -> None:
        super().__init__()
        begin = torch.tensor((repeats + 1) / (events + 1)).log()
        self.value = nn.Parameter(begin, requires_grad=is_learned)

    def before(self, history: Tensor, targets: Tensor) -> Read:
        """Return what was read before each target of windows, ``(B, T)`` each; 0 is no target."""
        window, last = (targets > 0).nonzero(as_tuple=True)
        return Read(history, window, last, self.value)

    def cells(self, history: Tensor) -> ReadCells:
        """Return the cells of scores ``(R, N)`` that histories ``(R, L)`` give the number."""
        items = distinct(history)
        rows, places = items.nonzero(as_tuple=True)
        return ReadCells(rows, items[rows, places], self.value)


@dataclass(frozen=True)
class ReadCells:
    """Cells whose score a bias is added to.

    Attributes:
        rows: ``(M,)``.
        items: ``(M,)``; each cell is there once.
        bias: A scalar.
    """

    rows: Tensor
    items: Tensor
    bias: Tensor

    def add_to(self, scores: Tensor, begin: int = 0) -> None:
        """Add the bias to scores ``(R, n)`` of items from ``begin`` on; column 0 does not count."""
        columns = self.items - begin
        here = (columns > 0) & (columns < scores.shape[1])
        scores[self.rows[here], columns[here]] += self.bias.to(scores.dtype)


@dataclass(frozen=True)
class Read:
    """What was read before each target of some windows, and its bias.

    Attributes:
        history: The items of the windows, ``(B, T)``.
        window: The window of each target, ``(P,)``.
        last: The last place in it that was read, ``(P,)``.
        bias: A scalar.
        similar: How alike the texts of all items are to what was read last, if that counts; losses
            that do not ask for it find the same in the vectors.
    """

    history: Tensor
    window: Tensor
    last: Tensor
    bias: Tensor
    similar: Similar | None = None

    def items(self, part: slice = slice(None)) -> Tensor:
        """Return the items read before some targets, each once, the others 0, ``(p, T)``."""
        history, last = self.history[self.window[part]], self.last[part]
        is_later = torch.arange(history.shape[1], device=last.device) > last[:, None]
        return distinct(history.masked_fill(is_later, 0))

    def bias_of(self, ids: Tensor, *, num_items: int) -> Tensor:
        """Return what is added to the scores of items ``(K,)`` before each target, ``(P, K)``."""
        kept, column = ids.unique(return_inverse=True)
        place = torch.full((num_items,), len(kept), device=ids.device)
        place[kept] = torch.arange(len(kept), device=ids.device)
        items = self.items()
        is_read = torch.zeros(len(items), len(kept) + 1, device=ids.device)
        is_read.scatter_(1, place[items], 1.0)  # all others share a last column
        return self.bias * is_read[:, column]

    def bias_above_mean(self, ids: Tensor, *, num_items: int) -> Tensor:
        """Return what is added to one item's score less the mean of all N − 1, ``(P,)``."""
        return self.bias_of_own(ids) - self.bias * (self.items() > 0).sum(1) / (num_items - 1)

    def bias_of_own(self, ids: Tensor) -> Tensor:
        """Return what is added to the score of one item before each target, both ``(P,)``."""
        return self.bias * (self.items() == ids[:, None]).any(1)


def with_repeats(
    repeats: RepeatBias | None, scores: Tensor, history: Tensor, items: Tensor | None = None
) -> Tensor:
    """Return scores with the bias of what was read, if there is one.

    Args:
        repeats: The bias, or None.
        scores: Of all items, ``(R, N)``, or of one each, ``(R,)``.
        history: What was read, ``(R, L)``, padded with 0.
        items: Where one item is scored, which, ``(R,)``.
    """
    if repeats is None:
        return scores
    if items is not None:
        return scores + repeats.value * (history == items[:, None]).any(1)
    read = distinct(history)
    return scores.scatter_add(1, read, repeats.value.to(scores.dtype) * (read > 0))


def distinct(history: Tensor) -> Tensor:
    """Return the items of each row once, the others 0, ``(R, L)``."""
    ordered = history.sort(dim=1).values
    is_again = ordered[:, 1:] == ordered[:, :-1]
    return ordered.masked_fill(functional.pad(is_again, (1, 0)), 0)
