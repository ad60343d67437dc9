"""What an item is to the model: text, id and other vectors, as one vector.

Letters: N items (row 0 is padding), D size of a feature's given vectors, H item-vector size,
F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_llm.model.kept import KeptTable
from recbole_llm.model.similarity import TextSimilarity


class ByteDropout(nn.Dropout):
    """Dropout whose mask comes from random bytes, an eighth of the random numbers; for tables.

    The share zeroed is a multiple of 1/256, and the rest is scaled by what that share is.
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """Zero entries of a tensor of any shape and scale the rest, in training."""
        zeroed = round(256 * self.p)
        if not self.training or zeroed == 0:
            return vectors
        if zeroed == 256:
            return torch.zeros_like(vectors)
        words = torch.empty(vectors.numel() // 8 + 1, dtype=torch.int64, device=vectors.device)
        words.random_(torch.iinfo(torch.int64).min, None)  # every bit is random
        mask = words.view(torch.uint8)[: vectors.numel()].view(vectors.shape) >= zeroed
        return (vectors * mask).mul_(256 / (256 - zeroed))


class VectorFeature(nn.Module):
    """Vectors that are given for all items, brought to the model's size by an adaptor.

    The vectors are a non-persistent buffer: they are not trained, not saved in a checkpoint, and
    move with the module.

    Args:
        vectors: ``(N, D)``.
        adaptor: Maps ``(N, D)`` to ``(N, H)``.
        dropout: Share of the vectors' entries zeroed in training.
    """

    def __init__(self, *, vectors: Tensor, adaptor: nn.Module, dropout: float) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors, persistent=False)
        self.adaptor = adaptor
        self.dropout = ByteDropout(dropout)

    def forward(self) -> Tensor:
        """Return the vectors of all items, ``(N, H)``."""
        return self.adaptor(self.dropout(self.vectors))

    def of_step(self, ids: Tensor) -> Tensor:
        """Return the vectors of all items in a step on ``ids``, ``(N, H)``; here all are given."""
        return self()


class Fusion(nn.Module):
    """How the features of an item become one vector.

    ``sum`` adds them, ``concat`` is W [p_1, ..., p_F], ``gate`` is Σ g_f ⊙ p_f with a softmax over
    the features, one for each item and each entry, g = softmax_f(W [p_1, ..., p_F]).

    Args:
        kind: ``sum``, ``concat`` or ``gate``.
        size: H.
        num_features: F.
    """

    def __init__(self, *, kind: str, size: int, num_features: int) -> None:
        super().__init__()
        self.kind = kind
        joined = num_features * size
        self.map = (
            None if kind == "sum" else nn.Linear(joined, size if kind == "concat" else joined)
        )

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Fuse F tensors ``(N, H)`` into one."""
        if self.map is None:
            return torch.stack(parts).sum(0)
        mapped = self.map(torch.cat(parts, -1))
        if self.kind == "concat":
            return mapped
        shares = mapped.unflatten(-1, (len(parts), -1)).softmax(1)  # (N, F, H)
        return (shares * torch.stack(parts, 1)).sum(1)


class ItemRepresentation(KeptTable):
    """Item vectors as the fusion of given vectors and a learned id embedding.

    ``table()``, ``(N, H)``, is computed once a step and once an evaluation; padding is zero. With a
    similarity of texts H is more than the fusion's size, by the size of text vectors.

    Args:
        num_items: N, padding included.
        size: H, without the entries of similarity.
        features: The vectors given, each with its adaptor.
        use_id: Whether each item also has a learned vector of its own, the last feature.
        fusion: ``sum``, ``concat`` or ``gate``.
        similarity: What compares texts, if something does.
    """

    def __init__(
        self,
        *,
        num_items: int,
        size: int,
        features: Iterable[VectorFeature],
        use_id: bool,
        fusion: str = "sum",
        similarity: TextSimilarity | None = None,
    ) -> None:
        super().__init__()
        self.size, self.similarity = size, similarity
        self.features = nn.ModuleList(features)
        self.embedding = nn.Embedding(num_items, size, padding_idx=0) if use_id else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=size**-0.5)
            with torch.no_grad():
                self.embedding.weight[0] = 0.0
        self.fusion = Fusion(kind=fusion, size=size, num_features=len(self.features) + use_id)

    def compute(self) -> Tensor:
        """Return the vectors of all items, ``(N, H)``, made anew."""
        return self._fused([feature() for feature in self.features])

    def of_step(self, ids: Tensor) -> Tensor:
        """Return the table of a training step, ``(N, H)``, made anew.

        Args:
            ids: The batch's items, of any shape, whose vectors a tuned encoder learns by.
        """
        self._forget()
        features: Iterable[Any] = self.features
        return self._fused([feature.of_step(ids) for feature in features])

    def _fused(self, parts: list[Tensor]) -> Tensor:
        if self.embedding is not None:
            parts.append(self.embedding.weight)
        own = functional.pad(self.fusion(parts)[1:], (0, 0, 1, 0))  # row 0 stays zero
        return own if self.similarity is None else torch.cat([own, self.similarity.units], 1)

    def own(self, vectors: Tensor) -> Tensor:
        """Return item vectors ``(..., H)`` without the entries of similarity."""
        return vectors[..., : self.size]

    def joined(self, states: Tensor, items: Tensor) -> Tensor:
        """Return interests with the entries of similarity, ``(..., H)``.

        Args:
            states: Without them.
            items: The vectors of the items that were read last, ``(..., H)``.
        """
        if self.similarity is None:
            return states
        return torch.cat([states, self.similarity.weight * items[..., self.size :]], -1)

    def zero_ids_but(self, known: Tensor) -> None:
        """Set the learned vectors of all items but these to zero, as :meth:`unseen` has them.

        Args:
            known: The items that training knows, ``(K,)``; others' vectors have no gradient in it.
        """
        if self.embedding is not None:
            is_unknown = torch.ones(self.embedding.num_embeddings, dtype=torch.bool)
            is_unknown[known] = False
            with torch.no_grad():
                self.embedding.weight[is_unknown] = 0.0

    def unseen(self, given: Sequence[Tensor]) -> Tensor:
        """Return the vectors of items that training did not know, ``(M, H)``.

        Args:
            given: Their vectors by feature, ``(M, D)`` each; the part of the id is zero.
        """
        return self.retold(given, torch.zeros_like(given[0][:, 0], dtype=torch.int64))

    def retold(self, given: Sequence[Tensor], ids: Tensor) -> Tensor:
        """Return the vectors of items as if those given were theirs, ``(M, H)``.

        Args:
            given: Vectors by feature, ``(M, D)`` each.
            ids: The items, whose learned vectors stay, ``(M,)``; that of padding is zero.
        """
        features: Iterable[Any] = self.features
        parts = [feature.adaptor(vectors) for feature, vectors in zip(features, given, strict=True)]
        if self.embedding is not None:
            parts.append(self.embedding(ids))
        own = self.fusion(parts)
        if self.similarity is None:
            return own
        units = functional.normalize(given[self.similarity.place], dim=1)
        return torch.cat([own, units], 1)

    @staticmethod
    def lookup(table: Tensor, ids: Tensor) -> Tensor:
        """Return the vectors of ``ids`` ``(...)`` from ``table()``, ``(..., H)``."""
        return functional.embedding(ids, table)
