"""LLMInterestTransformer."""

from __future__ import annotations

from recbole_llm.model.attention import TransformerEvolution
from recbole_llm.model.base import InterestModel
from recbole_llm.settings import Settings


class LLMInterestTransformer(InterestModel):
    """A causal transformer reads the text of a user's items and the interest so far.

    Differs from SASRec (Kang and McAuley, 2018, arXiv 1808.09781) in the block (pre-norm, rotary
    positions, gated MLP), in that items enter as projected text vectors joined by the running
    interest, and in the loss, a softmax over all items at each position.
    """

    def build_evolution(self, settings: Settings) -> TransformerEvolution:
        """Return Transformer([E_u, X_u])."""
        return TransformerEvolution(
            size=settings.embedding_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
            num_heads=settings.n_heads,
            dropout=settings.dropout_prob,
            pooling=settings.interest_pooling,
        )
