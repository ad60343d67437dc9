"""LLMInterestRNN."""

from __future__ import annotations

from torch import nn

from recbole_llm.model.base import InterestModel
from recbole_llm.model.evolution import RecurrentEvolution
from recbole_llm.settings import Settings


class LLMInterestRNN(InterestModel):
    """A plain recurrent network (Elman, 1990) reads the items' text and the interest so far.

    The least that remembers: what an LSTM adds shows beside it.
    """

    def build_evolution(self, settings: Settings) -> RecurrentEvolution:
        """Return RNN([E_u, X_u])."""
        return RecurrentEvolution(
            cell=nn.RNN,
            size=settings.embedding_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
            dropout=settings.dropout_prob,
            pooling=settings.interest_pooling,
        )
