"""Training that knows some of the items only; all others are no candidates and stay untrained.

Letters: P positions with a target, N items (row 0 is padding), K known items, H item-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KnownItems(nn.Module):
    """Narrows a table of items, and targets in it, to the items that training knows.

    Args:
        ids: The known items, ``(K,)``, without padding.
        num_items: N.
    """

    rows: Tensor
    place: Tensor

    def __init__(self, ids: Tensor, *, num_items: int) -> None:
        super().__init__()
        rows = torch.cat([ids.new_zeros(1), ids])  # padding stays first
        place = torch.full((num_items,), -1).scatter(0, rows, torch.arange(len(rows)))
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("place", place, persistent=False)

    @classmethod
    def of(cls, ids: Tensor | None, *, num_items: int) -> KnownItems | None:
        """Return what narrows to these items, or None where ``ids`` is None: all are known."""
        return None if ids is None else cls(ids, num_items=num_items)

    def places(self, items: Tensor) -> Tensor:
        """Return where items are in the narrowed table, 0 for those that are not, of any shape."""
        return self.place[items].clamp(min=0)

    def forward(self, table: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the known rows of ``(N, H)``, ``(1 + K, H)``, and where targets ``(P,)`` are."""
        return table[self.rows], self.place[targets]


class KnownSoftmax(nn.Module):
    """The cross-entropy of a model of RecBole's, without the scores of items it must not know.

    Args:
        loss: The model's own loss, of scores ``(P, N)`` and targets ``(P,)``.
        ids: The known items, ``(K,)``.
        num_items: N; padding stays as the model has it.
    """

    is_unknown: Tensor

    def __init__(self, loss: nn.CrossEntropyLoss, *, ids: Tensor, num_items: int) -> None:
        super().__init__()
        self.loss = loss
        is_unknown = torch.ones(num_items, dtype=torch.bool)
        is_unknown[0] = False
        is_unknown[ids] = False
        self.register_buffer("is_unknown", is_unknown, persistent=False)

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of scores ``(P, N)`` and targets ``(P,)``."""
        return self.loss(scores.masked_fill(self.is_unknown, -torch.inf), targets)
