"""LastItemTextKNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from recbole_llm.model.base import InterestModel
from recbole_llm.model.evolution import Evolution
from recbole_llm.model.items import ItemRepresentation, VectorFeature
from recbole_llm.settings import Settings


class LastItem(Evolution):
    """The interest is the last item."""

    can_resume = True

    def __init__(self) -> None:
        super().__init__(pooling="mean")

    def forward(self, items: Tensor) -> Tensor:
        """Return the item vectors ``(B, L, H)`` as they are."""
        return items

    def evolve_from(self, joined: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Return the item of each step; nothing is kept of it."""
        return joined.chunk(2, -1)[1], None


class LastItemTextKNN(InterestModel):
    """A control that learns nothing: the items whose texts are most like the last item's.

    A score is the cosine of two text vectors, whitened as the settings say. The last item is the
    nearest to itself, and takes the first place unless seen items are left out.
    """

    def build_items(self, settings: Settings, tables: Mapping[str, Tensor]) -> ItemRepresentation:
        """Return the text vectors as they are."""
        text = VectorFeature(vectors=tables["text"], adaptor=nn.Identity(), dropout=0.0)
        size = tables["text"].shape[1]
        return ItemRepresentation(num_items=self.n_items, size=size, features=[text], use_id=False)

    def build_evolution(self, settings: Settings) -> LastItem:
        """Return what keeps the last item."""
        return LastItem()
