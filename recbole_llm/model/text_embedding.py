"""Text in place of the item embedding of any RecBole model.

Letters: N items (row 0 is padding), R rows of the embedding (N, or more where a model has mask
tokens), D text-vector size, H item-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_llm.model.kept import KeptTable


class TextEmbedding(KeptTable):
    """Stands in for an ``nn.Embedding`` of items: its rows are projected text, or text plus id.

    The rows are computed when they are first asked for after the weights have changed, which is
    once a step and once an evaluation, however often a model looks items up.

    Args:
        embedding: The embedding to stand in for, ``(R, H)``. Its rows beyond the items stay.
        text: Text vectors, ``(N, D)``; the row of an item without text is zero.
        use_id: Whether each item keeps its learned vector, to which its text is added.
    """

    shares_graph = True

    def __init__(self, *, embedding: nn.Embedding, text: Tensor, use_id: bool) -> None:
        super().__init__()
        num_items, text_size = text.shape
        self.num_embeddings, self.embedding_dim = embedding.weight.shape
        self.padding_idx = embedding.padding_idx
        self.register_buffer("text", text, persistent=False)
        self.projection = nn.Linear(text_size, self.embedding_dim, bias=False)
        learned = embedding.weight.detach().clone()
        norm = text.square().sum(1)[1:].mean().sqrt().clamp(min=1e-6)
        nn.init.normal_(self.projection.weight, std=float(learned[1:].std() / norm))
        self.learned = nn.Parameter(learned if use_id else learned[num_items:])

    @property
    def weight(self) -> Tensor:
        """All rows, ``(R, H)``, of which gradients flow back to projection and ids."""
        return self.table()

    def compute(self) -> Tensor:
        """Return all rows, ``(R, H)``, made anew."""
        projected = self.projection(self.text)  # (N, H)
        if len(self.learned) == self.num_embeddings:
            extra = self.num_embeddings - len(projected)
            return functional.pad(projected, (0, 0, 0, extra)) + self.learned
        return torch.cat([projected, self.learned])

    def forward(self, ids: Tensor) -> Tensor:
        """Return the rows of ``ids`` ``(...)``, ``(..., H)``."""
        return functional.embedding(ids, self.weight, padding_idx=self.padding_idx)
