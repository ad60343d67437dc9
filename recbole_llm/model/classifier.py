"""LLMInterestClassifier."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_llm.data.purchases import PurchaseDataset
from recbole_llm.settings import Settings


class LLMInterestClassifier(AbstractRecommender):
    """A language model reads a user's history and a candidate, and tells whether the user buys it.

    Sequence classification of a pair of texts as in BERT (Devlin et al., 2019, arXiv 1810.04805),
    whose head it has; the vector of a pair is pooled as the encoder's own is. Differs from
    RecBole's context-aware models in that no field has an embedding: users and items are texts.

    Args:
        config: RecBole's configuration.
        dataset: Training part of the dataset.
    """

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: PurchaseDataset) -> None:
        super().__init__()
        settings = Settings.from_config(config)
        self.tokens, self.encoder, self.item_text = dataset.item_pairs()
        self.item_field = dataset.iid_field
        self.history_field = dataset.iid_field + config["LIST_SUFFIX"]
        self.length_field, self.label_field = (
            config["ITEM_LIST_LENGTH_FIELD"],
            config["LABEL_FIELD"],
        )
        size = self.encoder.size
        self.head = nn.Sequential(
            nn.Linear(size, size), nn.Tanh(), nn.Dropout(settings.dropout_prob), nn.Linear(size, 1)
        )

    def forward(self, interaction: Any) -> Tensor:
        """Return the logit of buying in each case, ``(B,)``."""
        histories, lengths = (
            interaction[self.history_field].tolist(),
            interaction[self.length_field],
        )
        pairs = [
            self.tokens.join(history[:length], candidate)
            for history, length, candidate in zip(
                histories, lengths.tolist(), interaction[self.item_field].tolist(), strict=True
            )
        ]
        logits: Tensor = self.head(self.encoder.vectors(pairs))[:, 0].float()
        return logits

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Return the mean binary cross-entropy of the labels."""
        return binary_cross_entropy_with_logits(
            self.forward(interaction), interaction[self.label_field].float()
        )

    def predict(self, interaction: Any) -> Tensor:
        """Return the probability of buying in each case, ``(B,)``."""
        return torch.sigmoid(self.forward(interaction))
