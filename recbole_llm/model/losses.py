"""Recommendation losses. Letters: P positions with a target, N items (row 0 is padding), H size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def item_scores(interest: Tensor, table: Tensor, *, temperature: float) -> Tensor:
    """Return inner products of interests ``(P, H)`` with all items ``(N, H)``, ``(P, N)``."""
    return (interest / temperature) @ table.T


def full_softmax(interest: Tensor, table: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """Return the mean cross-entropy of targets ``(P,)`` under a softmax over all items.

    Args:
        interest: Predicted interests, ``(P, H)``.
        table: Item vectors, ``(N, H)``. Padding, row 0, is no candidate.
        targets: Item ids, none of them 0.
        temperature: Divides the scores.
    """
    scores = item_scores(interest, table[1:], temperature=temperature)  # (P, N - 1)
    return functional.cross_entropy(scores, targets - 1)
