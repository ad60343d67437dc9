"""All-position training for RecBole's causal sequence models."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_llm.data.batches import WindowBatch
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.model.building import build_repeats
from recbole_llm.model.known import KnownItems
from recbole_llm.model.losses import FullSoftmax
from recbole_llm.model.repeats import with_repeats
from recbole_llm.settings import Settings

ModelLike: Any = object  # what a mixin of a RecBole model may ask of itself


class AllPositions(ModelLike):
    """Mixin for a causal model of RecBole's whose ``forward`` ends in ``gather_indexes``.

    Given windows, the gathering is left out, so that every position's state is compared with its
    own target; given RecBole's cases, nothing is different.
    """

    _keeps_positions = False

    def __init__(self, config: Any, dataset: InterestDataset) -> None:
        super().__init__(config, dataset)
        self.known = KnownItems.of(dataset.known_items, num_items=self.n_items)
        self.repeats = build_repeats(Settings.from_config(config), dataset)

    def gather_indexes(self, output: Tensor, index: Tensor) -> Tensor:
        """Return the states at ``index``, ``(B, H)``; of windows all of them, ``(B, L, H)``."""
        return output if self._keeps_positions else super().gather_indexes(output, index)

    def calculate_loss(self, interaction: Interaction | WindowBatch) -> Tensor:
        """Return the loss of windows, a softmax over all items, or of RecBole's cases."""
        if not isinstance(interaction, WindowBatch):
            return super().calculate_loss(interaction)
        self._keeps_positions = True
        try:
            states = self.forward(interaction.history, interaction.lengths)  # (B, L, H)
        finally:
            self._keeps_positions = False
        has_target = interaction.targets > 0
        candidates, wanted = self.item_embedding.weight, interaction.targets[has_target]
        history = interaction.history
        history = history if self.known is None else self.known.places(history)
        read = None if self.repeats is None else self.repeats.before(history, interaction.targets)
        if self.known is not None:
            candidates, wanted = self.known(candidates, wanted)
        return FullSoftmax(temperature=1.0)(states[has_target], candidates, wanted, None, read)

    def predict(self, interaction: Interaction) -> Tensor:
        """Return the score of one item a row, ``(B,)``."""
        scores, items = super().predict(interaction), interaction[self.ITEM_ID]
        return with_repeats(self.repeats, scores, interaction[self.ITEM_SEQ], items)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of all items, ``(B, N)``."""
        scores = super().full_sort_predict(interaction)
        return with_repeats(self.repeats, scores, interaction[self.ITEM_SEQ])


@lru_cache(maxsize=8)
def with_all_positions(model_class: type) -> type:
    """Return a model class that learns from windows too and is otherwise the one given."""
    return type(model_class.__name__, (AllPositions, model_class), {})
