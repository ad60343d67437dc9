"""How an interest moves: f(E_u, X_u) over a history.

Letters: B batch, L history length, H item-vector size. Every layer maps item vectors ``(B, L, H)``
to the predicted next interest after each item, ``(B, L, H)``, reads no later position, and ignores
what stands behind a history's end. The transformer has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Past:
    """All that the next item's step needs of the items before it, whatever their number.

    Attributes:
        total: Sum of their vectors, ``(B, H)`` float32.
        count: Their number.
        memory: State of a recurrent network after them; None of a layer that has none.
    """

    total: Tensor
    count: int
    memory: Any

    def then(self, items: Tensor, *, memory: Any) -> Past:
        """Return the past with more items ``(B, L, H)`` in it."""
        return Past(self.total + items.float().sum(1), self.count + items.shape[1], memory)

    @staticmethod
    def none(items: Tensor) -> Past:
        """Return the past of histories that begin with ``items``, ``(B, L, H)``."""
        return Past(torch.zeros_like(items[:, 0], dtype=torch.float32), 0, None)


def running_interest(items: Tensor, *, pooling: str, past: Past | None = None) -> Tensor:
    """Return E_u after each item: the running ``mean`` or ``sum`` of the vectors so far.

    Args:
        items: Item vectors, ``(B, L, H)``.
        pooling: ``mean`` or ``sum``. The sum runs in float32, whatever the precision around it.
        past: What came before ``items``; nothing by default.
    """
    total, begin = items.float().cumsum(dim=1), 0
    if past is not None:
        total, begin = total + past.total[:, None], past.count
    if pooling == "mean":
        last = begin + items.shape[1]
        total = total / torch.arange(begin + 1, last + 1, device=items.device)[:, None]
    return total.to(items.dtype)


class SequenceDropout(nn.Dropout):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani, 2016).

    The paper's for recurrent networks; it also draws L times fewer random numbers.
    """

    def forward(self, sequence: Tensor) -> Tensor:
        """Zero the same entries of each step of ``(B, L, H)`` and scale the rest, in training."""
        if not self.training or self.p == 0:
            return sequence
        mask = sequence.new_empty(len(sequence), 1, sequence.shape[-1])  # (B, 1, H)
        return sequence * mask.bernoulli_(1 - self.p).div_(1 - self.p)


class Evolution(nn.Module):
    """Base: joins the running interest E_u and the item X_u of each step, ``(B, L, 2H)``.

    Attributes:
        can_resume: Whether the past is a state of fixed size, so that an item is read in O(1).
    """

    can_resume = False

    def __init__(self, *, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, items: Tensor) -> Tensor:
        """Map item vectors ``(B, L, H)`` to next-interest vectors ``(B, L, H)``."""
        return self.evolve(torch.cat([running_interest(items, pooling=self.pooling), items], -1))

    def evolve(self, joined: Tensor) -> Tensor:
        """Map [E_u, X_u] of each step, ``(B, L, 2H)``, to the next interest, ``(B, L, H)``."""
        raise NotImplementedError(f"{type(self).__name__} must say how an interest evolves")

    def resume(self, items: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Read more items ``(B, L, H)``; return their next interests and the past with them."""
        joined = torch.cat([running_interest(items, pooling=self.pooling, past=past), items], -1)
        states, memory = self.evolve_from(joined, past.memory)
        return states, past.then(items, memory=memory)

    def evolve_from(self, joined: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Evolve ``(B, L, 2H)`` from a memory, and return the memory after it too."""
        raise NotImplementedError(f"{type(self).__name__} reads a history as a whole")


class LinearEvolution(Evolution):
    """θᵀ[E_u, X_u]: the next interest is a linear map of the running interest and the last item.

    Args:
        size: H.
        pooling: How E_u is pooled.
    """

    can_resume = True

    def __init__(self, *, size: int, pooling: str) -> None:
        super().__init__(pooling=pooling)
        self.theta = nn.Linear(2 * size, size)

    def evolve(self, joined: Tensor) -> Tensor:
        """Apply θ to each step."""
        return self.theta(joined)

    def evolve_from(self, joined: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Apply θ to each step; nothing is kept of a step."""
        return self.theta(joined), None


class RecurrentEvolution(Evolution):
    """A recurrent network over [E_u, X_u], its states mapped back to item vectors.

    Args:
        cell: ``nn.RNN`` (Elman, 1990), ``nn.GRU`` (Cho et al., 2014, arXiv 1406.1078) or
            ``nn.LSTM`` (Hochreiter and Schmidhuber, 1997).
        size: H.
        hidden_size: Size of the state.
        num_layers: Number of stacked networks.
        dropout: Share of a state zeroed between layers and before the output, in training.
        pooling: How E_u is pooled.
    """

    can_resume = True

    def __init__(
        self,
        *,
        cell: Callable[..., nn.RNNBase],
        size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        pooling: str,
    ) -> None:
        super().__init__(pooling=pooling)
        between = dropout if num_layers > 1 else 0.0
        self.network = cell(2 * size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.dropout = SequenceDropout(dropout)
        self.output = nn.Linear(hidden_size, size)

    def evolve(self, joined: Tensor) -> Tensor:
        """Run over the steps from a zero state."""
        return self.evolve_from(joined, None)[0]

    def evolve_from(self, joined: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Run over the steps from the network's state, which is zero where it is None."""
        states, memory = self.network(joined, memory)  # (B, L, hidden_size)
        return self.output(self.dropout(states)), memory


class Combination(nn.Module):
    """How the current interest X and the long-term interest H_u make the one that is ranked by.

    ``current`` is X, ``sum`` is X + H_u, ``gate`` is g X + (1 - g) H_u with g = σ(W [X, H_u]), one
    gate an entry.

    Args:
        kind: ``current``, ``sum`` or ``gate``.
        size: H.
    """

    def __init__(self, *, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.gate = nn.Linear(2 * size, size) if kind == "gate" else None

    def forward(self, current: Tensor, items: Tensor, past: Past | None = None) -> Tensor:
        """Combine current interests with the running mean of the items, both ``(B, L, H)``."""
        if self.kind == "current":
            return current
        long_term = running_interest(items, pooling="mean", past=past)
        if self.gate is None:
            return current + long_term
        share = torch.sigmoid(self.gate(torch.cat([current, long_term], -1)))
        return share * current + (1 - share) * long_term
