"""What an item is to the model: its text, its id, or both, as one vector.

Letters: N items (row 0 is padding), D text-vector size, H item-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ItemRepresentation(nn.Module):
    """Item vectors as the sum of projected text and a learned id embedding.

    The text table is a non-persistent buffer: it is not trained, not saved in a checkpoint, and
    moves with the module. Padding is the zero vector.

    Args:
        num_items: N, padding included.
        size: H.
        text: Text vectors, ``(N, D)``, or None to leave text out.
        use_id: Whether each item also has a learned vector of its own.
        dropout: Share of the text vectors' entries zeroed in training.
    """

    def __init__(
        self, *, num_items: int, size: int, text: Tensor | None, use_id: bool, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)
        self.projection = None if text is None else nn.Linear(text.shape[1], size)
        self.embedding = nn.Embedding(num_items, size, padding_idx=0) if use_id else None
        self.dropout = nn.Dropout(dropout)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=size**-0.5)
            with torch.no_grad():
                self.embedding.weight[0] = 0.0

    def table(self) -> Tensor:
        """Return the vectors of all items, ``(N, H)``; computed once a step."""
        parts = []
        if self.projection is not None:
            parts.append(self.projection(self.dropout(self.text)))
        if self.embedding is not None:
            parts.append(self.embedding.weight)
        vectors = torch.stack(parts).sum(0)
        return functional.pad(vectors[1:], (0, 0, 1, 0))  # row 0 stays zero

    @staticmethod
    def lookup(table: Tensor, ids: Tensor) -> Tensor:
        """Return the vectors of ``ids`` ``(...)`` from ``table()``, ``(..., H)``."""
        return functional.embedding(ids, table)
