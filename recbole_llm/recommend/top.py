"""The best items of a catalogue of any size, exactly, in bounded memory.

Letters: R interests scored at once, N items (row 0 is padding), H item-vector size, M twins, K
length of a list.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_llm.train.ranking import Pairs, best_items
from recbole_llm.train.scorers import tile_scores

CHUNK = 2**17  # items scored at once: 16 MiB of scores; fewer items are one product, as evaluated


@dataclass(frozen=True)
class Candidates:
    """What interests are compared with.

    Attributes:
        vectors: ``(N, H)``.
        twins: Items with the scores of an earlier item, ``(M,)``.
        firsts: That item of each, ``(M,)``.
        temperature: Scores are divided by it.
        offset: Is added to the scores of each, ``(N,)``; None of most runs.
    """

    vectors: Tensor
    twins: Tensor
    firsts: Tensor
    temperature: float
    offset: Tensor | None = None


@torch.no_grad()
def top_items(
    interests: Tensor,
    candidates: Candidates,
    *,
    seen: Pairs | None,
    length: int,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:
    """Return scores and ids of the best items, best first, of equal ones the lower id first.

    Args:
        interests: ``(R, H)``, at most as many as a tile of the evaluation has.
        candidates: The items.
        seen: Cells, rows and items, of those that are left out: their score is -inf.
        length: K, below N.
        chunk: Items scored at once, at least 2.

    Returns:
        ``(R, K)`` each.
    """
    num_items = len(candidates.vectors)
    sources, source = torch.unique(candidates.firsts, return_inverse=True)
    kept = interests.new_empty(len(interests), len(sources))  # scores of the first of twins
    scores = interests.new_empty(len(interests), 0)
    ids = sources.new_empty(len(interests), 0)
    for begin in range(0, num_items - 1, chunk - 1):  # column 0 was the last of the chunk before
        stop = min(begin + chunk, num_items)
        part = tile_scores(
            interests,
            candidates.vectors[begin:stop],
            temperature=candidates.temperature,
            offset=None if candidates.offset is None else candidates.offset[begin:stop],
        )
        here = (sources >= begin) & (sources < stop)
        kept[:, here] = part[:, sources[here] - begin]
        here = (candidates.twins >= begin) & (candidates.twins < stop)
        part[:, candidates.twins[here] - begin] = kept[:, source[here]]
        if seen is not None:
            here = (seen[1] >= begin) & (seen[1] < stop)
            part[seen[0][here], seen[1][here] - begin] = -torch.inf
        best = best_items(part, min(length, stop - begin - 1))
        scores = torch.cat([scores, part.gather(1, best)], 1)
        ids = torch.cat([ids, best + begin], 1)  # ids rise among equals, and stay so
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :length]
        scores, ids = scores.gather(1, order), ids.gather(1, order)
    return scores, ids
