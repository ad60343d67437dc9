"""A user's interest after each of their events, current and long-term apart.

Letters: T events of a history, L events that the model reads, B windows, H item-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm.model.base import InterestModel
from recbole_llm.model.evolution import running_interest
from recbole_llm.recommend.recommender import Recommender

BATCH = 256  # windows read together
CURRENT, LONG_TERM, COMBINED = "current", "long_term", "combined"


@torch.no_grad()
def follow(recommender: Recommender, rows: Tensor) -> dict[str, Tensor]:
    """Return interests after each event, each made of the last L events as a list's is.

    Args:
        recommender: Whose model reads.
        rows: The history as rows of its item table, ``(T,)``.

    Returns:
        ``(T, H)`` each, as they are compared with items: ``current``, what the evolution predicts;
        ``long_term``, the mean of the item vectors; and where ``interest_combination`` makes of
        both what is ranked by, ``combined``.
    """
    length, rows = recommender.model.max_seq_length, rows.to(recommender.device)
    found = _read(recommender, rows[None, :length])  # (1, L, H): a layer reads no later event
    parts = [{name: states[0] for name, states in found.items()}]
    if len(rows) > length:
        for windows in torch.split(rows.unfold(0, length, 1)[1:], BATCH):  # (B, L)
            read = _read(recommender, windows)
            parts.append({name: states[:, -1] for name, states in read.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in found}


def _read(recommender: Recommender, history: Tensor) -> dict[str, Tensor]:
    """Return the interests of each kind after each event of windows ``(B, L)``, ``(B, L, H)``."""
    model: InterestModel = recommender.model
    items = functional.embedding(history, recommender.table)
    own = model.items.own(items)
    states = {CURRENT: model.evolution(own), LONG_TERM: running_interest(own, pooling="mean")}
    found = {name: model.items.joined(model.compared(one), items) for name, one in states.items()}
    if model.combination.kind != "current":
        found[COMBINED] = model.interest(history, recommender.table)
    return found


def ranked_by(interests: dict[str, Tensor]) -> Tensor:
    """Return those of the kinds that lists are made by, ``(T, H)``."""
    return interests.get(COMBINED, interests[CURRENT])


def drift(interests: Tensor) -> Tensor:
    """Return how far each step went, 1 - cos of the interests before and after it, ``(T - 1,)``."""
    return 1 - functional.cosine_similarity(interests[1:], interests[:-1], dim=-1)
