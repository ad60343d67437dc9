"""Text vectors that are learned with the recommender.

Letters: N items (row 0 is padding), n items of a step, T texts, D size of a vector, H item-vector
size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_llm.model.items import VectorFeature


class TunedFeature(VectorFeature):
    """Text vectors that follow their encoder.

    In a step the vectors of the batch's items are made anew, with gradients; all others, which the
    softmax needs as candidates, are those computed last, as in XBM's memory (Wang et al., 2020,
    arXiv 1912.06798). All are made anew at the first step and the first table after the mode was
    set, if weights have changed: before each epoch, in each evaluation, whatever came before, so
    that a training that is resumed goes on from the same vectors. Recformer (Li et al., 2023,
    arXiv 2305.13731) does so once an epoch, without gradients.

    Args:
        vectors: ``(N, D)`` before any training.
        adaptor: Maps ``(N, D)`` to ``(N, H)``.
        dropout: Share of the vectors' entries zeroed in training.
        encoder: Maps places of texts ``(n,)`` to their vectors ``(n, D)``.
        places: The text of each item, ``(N,)``, -1 where it has none.
        most: Items made anew in a step, drawn from the batch's; all if None.
    """

    vectors: Tensor
    places: Tensor
    encoder: nn.Module

    def __init__(
        self,
        *,
        vectors: Tensor,
        adaptor: nn.Module,
        dropout: float,
        encoder: nn.Module,
        places: Sequence[int],
        most: int | None,
    ) -> None:
        super().__init__(vectors=vectors, adaptor=adaptor, dropout=dropout)
        self.encoder, self.most = encoder, most
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self._made_by: list[Tensor] | None = None  # the weights that all vectors are of
        self._is_new_mode = True

    def forward(self) -> Tensor:
        """Return the vectors of all items, ``(N, H)``, none of them with the encoder's gradient."""
        self._make_all()
        return super().forward()

    def of_step(self, ids: Tensor) -> Tensor:
        """Return the vectors of all items, ``(N, H)``, those of ``ids`` made anew with gradients.

        Args:
            ids: The batch's items, of any shape; padding and repetition do not count.
        """
        if self._is_new_mode:
            self._make_all()
            self._is_new_mode = False
        rows = self._drawn(ids)
        vectors = self.vectors.index_copy(0, rows, self.encoder(self.places[rows]))
        self.vectors, self._made_by = vectors.detach(), None  # a step follows
        return self.adaptor(self.dropout(vectors))

    def _drawn(self, ids: Tensor) -> Tensor:
        """Return the items to make anew, at least one: each step has a gradient for each weight."""
        rows = ids.unique()
        rows = rows[self.places[rows] >= 0]
        if len(rows) == 0:
            return (self.places >= 0).nonzero()[:1, 0]
        if self.most is None:
            return rows
        return rows[torch.randperm(len(rows))[: self.most].to(rows.device)]

    @torch.no_grad()
    def _make_all(self) -> None:
        """Make all vectors anew, unless they are of these weights."""
        weights = list(self.encoder.parameters())
        made_by = self._made_by
        if made_by is not None and all(map(torch.equal, weights, made_by)):
            return
        rows = (self.places >= 0).nonzero()[:, 0]
        if len(rows):
            texts, which = self.places[rows].unique(return_inverse=True)
            made = self.encoder(texts)[which]  # each text once: items of one text stay identical
            self.vectors = self.vectors.index_copy(0, rows, made)
        self._made_by = [weight.detach().clone() for weight in weights]

    def train(self, mode: bool = True) -> TunedFeature:
        """Set the mode, as any module's."""
        self._is_new_mode = True
        return super().train(mode)
