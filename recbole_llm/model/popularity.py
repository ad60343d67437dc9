"""Popularity."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_llm.data.dataset import InterestDataset
from recbole_llm.data.seen import training_counts


class Popularity(SequentialRecommender):
    """A control that learns nothing: every user gets the items with most interactions in training.

    Differs from RecBole's Pop in that it is ranked under the protocol of sequence models.
    """

    input_type = InputType.POINTWISE
    counts: Tensor

    def __init__(self, config: Any, dataset: InterestDataset) -> None:
        super().__init__(config, dataset)
        counts = torch.from_numpy(training_counts(dataset)).float()
        self.register_buffer("counts", counts)
        self.device = config["device"]

    def predict(self, interaction: Interaction) -> Tensor:
        """Return the score of one item a row, ``(B,)``."""
        return self.counts[interaction[self.ITEM_ID]]

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of all items, ``(B, N)``."""
        return self.counts.repeat(len(interaction), 1)
