"""LLMInterestLinear."""

from __future__ import annotations

from recbole_llm.model.base import InterestModel
from recbole_llm.model.evolution import LinearEvolution
from recbole_llm.settings import Settings


class LLMInterestLinear(InterestModel):
    """The seed equation: the next interest is θᵀ[E_u, X_u] of projected text vectors.

    A linear map of a good encoder's vectors is a strong recommender by itself (AlphaRec: Sheng et
    al., 2024, arXiv 2407.05441, there without order).
    """

    def build_evolution(self, settings: Settings) -> LinearEvolution:
        """Return θᵀ[E_u, X_u]."""
        return LinearEvolution(size=settings.embedding_size, pooling=settings.interest_pooling)
