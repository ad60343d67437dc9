"""What a list of recommendations is made of, and the list of those of whom nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recommendation:
    """A recommended item.

    Attributes:
        item: Raw item id.
        title: Its title, None where it has none.
        score: The model's score, by which a list is ordered; of :func:`popular_list` a number of
            events.
    """

    item: str
    title: str | None
    score: float


def popular_list(
    events: Tensor, *, items: Sequence[str], titles: Sequence[str | None], k: int
) -> list[Recommendation]:
    """Return the items that most events are of, of equal ones the lower internal id first.

    Args:
        events: Internal ids of items, ``(E,)``.
        items: Raw ids, the first of them padding, ``(N,)``.
        titles: ``(N,)``.
        k: Length of the list.
    """
    counts = torch.bincount(events, minlength=len(items))
    best = counts[1:].argsort(descending=True, stable=True)[:k] + 1
    return [
        Recommendation(items[item], titles[item], float(counts[item])) for item in best.tolist()
    ]
