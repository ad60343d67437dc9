"""Ranks from scores; pure torch.

Letters: C cases, B cases scored at once, N items (column 0 is padding), K length of a list.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_llm.errors import NonFiniteError
from recbole_llm.ranking_metrics import Ranking

Pairs = tuple[Tensor, Tensor]  # rows and columns of cells


def rank(
    scores: Tensor,
    targets: Tensor,
    *,
    seen: Pairs | None,
    list_length: int,
    place: str,
    only: Tensor | None = None,
) -> Ranking:
    """Rank the targets of a few cases; ``scores`` are overwritten.

    Args:
        scores: ``(B, N)``; those of padding do not count.
        targets: Item ids, ``(B,)``.
        seen: Cells of items that are no candidates, unless they are the target.
        list_length: K.
        place: Words for an error's message.
        only: Which items may be candidates, ``(N,)``, the target apart; all by default.

    Raises:
        NonFiniteError: If a score is NaN or infinite; -inf stands for what a model rules out.
    """
    scores[:, 0] = -torch.inf
    best = scores.max()  # NaN if any score is
    if torch.isnan(best) or best == torch.inf:
        raise NonFiniteError(
            f"{place}: the model gives scores that are NaN or infinite, which cannot be ranked. "
            "Lower learning_rate, or set clip_grad_norm."
        )
    own = scores.gather(1, targets[:, None])  # (B, 1)
    candidates = torch.full_like(targets, scores.shape[1] - 1)
    if seen is not None or only is not None:
        is_out = torch.zeros_like(scores, dtype=torch.bool)
        if only is not None:
            is_out[:, 1:] = ~only[1:]
        if seen is not None:
            is_out[seen] = True
        is_out.scatter_(1, targets[:, None], False)
        scores.masked_fill_(is_out, -torch.inf)
        candidates -= is_out.sum(1)
    above = (scores > own).sum(1)
    same = (scores == own).sum(1)
    at_least = torch.where(torch.isneginf(own[:, 0]), candidates, above + same)
    lists = best_items(scores, list_length)
    return Ranking(
        *(part.cpu().numpy() for part in (above, at_least - above - 1, candidates, lists))
    )


def best_items(scores: Tensor, length: int) -> Tensor:
    """Return the ids of the best items, best first, of equal ones the lower id first, ``(B, K)``.

    Args:
        scores: ``(B, N)``, not NaN; padding, column 0, is never among the best.
        length: K, below N.
    """
    if length == 0:
        return torch.empty(len(scores), 0, dtype=torch.int64)
    items = scores[:, 1:]
    best, ids = torch.topk(items, min(length + 1, items.shape[1]), dim=1)
    last, behind = best[:, length - 1 : length], best[:, length:]
    is_cut = (last == behind).any(1)  # equal scores are on both sides of the cut
    ids = ids[:, :length].sort(dim=1).values
    ids[is_cut] = _lowest_ids(items[is_cut], last[is_cut], length=length)
    order = items.gather(1, ids).argsort(dim=1, descending=True, stable=True)
    return ids.gather(1, order) + 1


def _lowest_ids(items: Tensor, last: Tensor, *, length: int) -> Tensor:
    """Return where scores are above ``last`` ``(B, 1)`` or the first equal ones, ``(B, K)``."""
    above, is_equal = items > last, items == last
    room = length - above.sum(1, keepdim=True)
    is_best = above | (is_equal & (is_equal.cumsum(1) <= room))
    return is_best.nonzero()[:, 1].view(-1, length)
