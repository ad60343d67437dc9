"""LLMInterestGRU."""

from __future__ import annotations

from torch import nn

from recbole_llm.model.base import InterestModel
from recbole_llm.model.evolution import RecurrentEvolution
from recbole_llm.settings import Settings


class LLMInterestGRU(InterestModel):
    """A GRU reads the text of a user's items and the interest so far; its state is the interest.

    Differs from GRU4Rec (Tan et al., 2016) only in that items enter as projected text vectors,
    joined by the running interest, and in that each position of a history is trained at once.
    """

    def build_evolution(self, settings: Settings) -> RecurrentEvolution:
        """Return GRU([E_u, X_u])."""
        return RecurrentEvolution(
            cell=nn.GRU,
            size=settings.embedding_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
            dropout=settings.dropout_prob,
            pooling=settings.interest_pooling,
        )
