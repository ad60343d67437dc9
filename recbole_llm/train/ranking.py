"""Ranks from scores; pure torch.

Letters: C cases, B cases scored at once, N items (column 0 is padding), n items of a block, K
length of a list.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_llm.errors import NonFiniteError
from recbole_llm.ranking_metrics import Ranking
from recbole_llm.train.blocks import Blocks

Pairs = tuple[Tensor, Tensor]  # rows and columns of cells
Best = tuple[Tensor, Tensor]  # scores and ids of the best items so far, (B, K) each


def rank(
    blocks: Blocks,
    targets: Tensor,
    *,
    seen: Pairs | None,
    list_length: int,
    place: str,
    only: Tensor | None = None,
) -> Ranking:
    """Rank the targets of a few cases by scores in blocks, which are gone through twice.

    Args:
        blocks: The scores of all items; they are overwritten.
        targets: Item ids, ``(B,)``.
        seen: Cells of items that are no candidates, unless they are the target.
        list_length: K.
        place: Words for an error's message.
        only: Which items may be candidates, ``(N,)``, the target apart; all by default.

    Raises:
        NonFiniteError: If a score is NaN or infinite; -inf stands for what a model rules out.
    """
    own = _own_scores(blocks, targets)  # (B, 1)
    above, same, candidates = (torch.zeros_like(targets) for _ in range(3))
    best = no_items(targets)
    for begin, scores in blocks:
        scores[:, 0] = -torch.inf
        _require_finite(scores, place)
        candidates += scores.shape[1] - 1
        if seen is not None or only is not None:
            is_out = _left_out(scores, begin, targets=targets, seen=seen, only=only)
            scores.masked_fill_(is_out, -torch.inf)
            candidates -= is_out.sum(1)
        for counted, compare in ((above, torch.gt), (same, torch.eq)):
            counted += _count(compare, scores, own)
        best = merged_best(best, scores, begin, length=list_length)
    at_least = torch.where(torch.isneginf(own[:, 0]), candidates, above + same)
    return Ranking(
        *(part.cpu().numpy() for part in (above, at_least - above - 1, candidates, best[1]))
    )


def _own_scores(blocks: Blocks, targets: Tensor) -> Tensor:
    """Return the targets' scores, ``(B, 1)``."""
    parts = []
    for begin, scores in blocks:
        at, last = targets[:, None] - begin, scores.shape[1] - 1
        is_here = (at > 0) & (at <= last)
        parts.append(scores.gather(1, at.clamp(0, last)).masked_fill(~is_here, -torch.inf))
    return torch.stack(parts).amax(0)


def _count(compare: Callable[..., Tensor], scores: Tensor, own: Tensor) -> Tensor:
    """Return of how many scores of each case a comparison is true, ``(B,)``.

    A sum of truths would copy them to integers of eight bytes first. In float32 it is exact below
    2**24 items.
    """
    return compare(scores, own, out=torch.empty_like(scores, dtype=torch.float32)).sum(1).long()


def _require_finite(scores: Tensor, place: str) -> None:
    best = scores.max()  # NaN if any score is
    if torch.isnan(best) or best == torch.inf:
        raise NonFiniteError(
            f"{place}: the model gives scores that are NaN or infinite, which cannot be ranked. "
            "Lower learning_rate, or set clip_grad_norm.max_norm."
        )


def _left_out(
    scores: Tensor, begin: int, *, targets: Tensor, seen: Pairs | None, only: Tensor | None
) -> Tensor:
    """Return which cells of a block are no candidates, ``(B, n)``."""
    is_out = torch.zeros_like(scores, dtype=torch.bool)
    rows = torch.arange(len(targets), device=targets.device)
    if only is not None:
        is_out[:, 1:] = ~only[begin + 1 : begin + scores.shape[1]]
    if seen is not None:
        is_out[in_block(seen, begin, scores)] = True
    is_out[in_block((rows, targets), begin, scores)] = False
    return is_out


def in_block(cells: Pairs, begin: int, scores: Tensor) -> Pairs:
    """Return those of some cells that a block has, by its own columns."""
    rows, columns = cells[0], cells[1] - begin
    here = (columns > 0) & (columns < scores.shape[1])
    return rows[here], columns[here]


def no_items(cases: Tensor) -> Best:
    """Return the best items of no block, for cases ``(B, ...)``."""
    empty = torch.empty(len(cases), 0, device=cases.device)
    return empty, empty.long()


def merged_best(best: Best, scores: Tensor, begin: int, *, length: int) -> Best:
    """Return the best items so far, best first, of equal ones the lower id first.

    Args:
        best: Those of the blocks before.
        scores: The block's, ``(B, n)``, not NaN; column 0 is never among the best.
        begin: The id of its first item.
        length: K, below N.
    """
    ids = best_items(scores, min(length, scores.shape[1] - 1))
    values = torch.cat([best[0], scores.gather(1, ids)], 1)
    ids = torch.cat([best[1], ids + begin], 1)  # ids rise among equals, and stay so
    order = values.argsort(dim=1, descending=True, stable=True)[:, :length]
    return values.gather(1, order), ids.gather(1, order)


def best_items(scores: Tensor, length: int) -> Tensor:
    """Return the ids of the best items, best first, of equal ones the lower id first, ``(B, K)``.

    Args:
        scores: ``(B, N)``, not NaN; padding, column 0, is never among the best.
        length: K, below N.
    """
    if length == 0:
        return torch.empty(len(scores), 0, dtype=torch.int64, device=scores.device)
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
