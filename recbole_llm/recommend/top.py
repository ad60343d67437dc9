"""The best items of a catalogue of any size, exactly, in bounded memory.

Letters: R interests scored at once, N items (row 0 is padding), H item-vector size, K length of a
list.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_llm.model.repeats import ReadCells
from recbole_llm.train.blocks import SPAN, Candidates, ScoreBlocks
from recbole_llm.train.ranking import Pairs, in_block, merged_best, no_items


@torch.no_grad()
def top_items(
    interests: Tensor,
    candidates: Candidates,
    *,
    seen: Pairs | None,
    length: int,
    read: ReadCells | None = None,
    span: int = SPAN,
) -> tuple[Tensor, Tensor]:
    """Return scores and ids of the best items, best first, of equal ones the lower id first.

    Args:
        interests: ``(R, H)``, at most as many as a tile of the evaluation has.
        candidates: The items.
        seen: Cells, rows and items, of those that are left out: their score is -inf.
        length: K, below N.
        read: Cells of what was read, if their scores have a bias.
        span: Items scored at once, at least 2; as evaluated by default.

    Returns:
        ``(R, K)`` each.
    """
    best = no_items(interests)
    for begin, scores in ScoreBlocks(interests, candidates, span, read):
        if seen is not None:
            scores[in_block(seen, begin, scores)] = -torch.inf
        best = merged_best(best, scores, begin, length=length)
    return best
