"""Recommendation losses. Letters: P positions with a target, N items (row 0 is padding), H size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def item_scores(interest: Tensor, table: Tensor, *, temperature: float) -> Tensor:
    """Return inner products of interests ``(P, H)`` with all items ``(N, H)``, ``(P, N)``."""
    return interest @ table.T / temperature


def full_softmax(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of targets ``(P,)`` under a softmax over all items.

    Args:
        scores: Scores of all items, ``(P, N)``. Padding, item 0, is no candidate.
        targets: Item ids, none of them 0.
    """
    padding = torch.zeros(scores.shape[-1], dtype=torch.bool, device=scores.device)
    padding[0] = True
    return functional.cross_entropy(scores.masked_fill(padding, -torch.inf), targets)
