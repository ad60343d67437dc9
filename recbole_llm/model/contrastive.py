"""Contrastive losses of interests: alike where they should be, apart from those of other users.

Letters: B windows, Q interests, H item-vector size. Interests are compared by cosine. Never pushed
apart are two of one user or of one target, which would be false negatives (as in DuoRec: Qiu et
al., 2022, arXiv 2110.05730, and ICSRec: Qin et al., 2024, arXiv 2312.08895).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAX_INTERESTS = 1024  # of a batch that are compared by target: the cost is quadratic


def info_nce(states: Tensor, *, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE (van den Oord et al., 2018, arXiv 1807.03748), a mean over interests.

    An interest's loss is the mean over its positives of −log(exp p / (exp p + Σ exp n)), where p
    and n are its cosines with that positive and with its negatives. One without positives does
    not count; if none has any, the loss is 0.

    Args:
        states: Interests, ``(Q, H)``.
        positive: Whether the other is to be near, ``(Q, Q)``.
        negative: Whether the other is to be far, ``(Q, Q)``.
        temperature: Divides the cosines.
    """
    with torch.autocast(states.device.type, enabled=False):
        states = functional.normalize(states.float(), dim=-1)
        scores = states @ states.T / temperature  # (Q, Q)
    others = scores.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)  # (Q, 1)
    losses = functional.softplus(others - scores) * positive
    number = positive.sum(1)
    return (losses.sum(1) / number.clamp(min=1)).sum() / (number > 0).sum().clamp(min=1)


def contrast_views(
    one: Tensor, other: Tensor, *, users: Tensor, targets: Tensor, temperature: float
) -> Tensor:
    """Return the loss of two views of each window, each other's positives.

    Args:
        one: Interests in the first view, ``(B, H)``.
        other: Interests in the second view, ``(B, H)``.
        users: Whose window it is, ``(B,)``.
        targets: The item after each view, those of the first before the others, ``(2B,)``.
        temperature: Divides the cosines.
    """
    window = torch.arange(len(one), device=one.device).repeat(2)
    is_self = torch.eye(len(window), dtype=torch.bool, device=one.device)
    return info_nce(
        torch.cat([one, other]),
        positive=is_same(window) & ~is_self,
        negative=~is_same(users.repeat(2)) & ~is_same(targets),
        temperature=temperature,
    )


def contrast_targets(
    states: Tensor, *, users: Tensor, targets: Tensor, temperature: float
) -> Tensor:
    """Return the loss of interests, of which those of other users with one's target are positives.

    A target stands for an intent, as in ICSRec's coarse intents and DuoRec's semantic positives.
    Differs: all such interests are positives (Khosla et al., 2020, arXiv 2004.11362), where those
    papers draw one; and at most ``MAX_INTERESTS`` are compared, drawn from the batch.

    Args:
        states: Interests, ``(Q, H)``.
        users: Whose interest it is, ``(Q,)``.
        targets: The item after it, ``(Q,)``.
        temperature: Divides the cosines.
    """
    chosen = torch.randperm(len(states), device=states.device)[:MAX_INTERESTS]
    same_user, same_target = is_same(users[chosen]), is_same(targets[chosen])
    return info_nce(
        states[chosen],
        positive=same_target & ~same_user,
        negative=~same_target & ~same_user,
        temperature=temperature,
    )


def is_same(values: Tensor) -> Tensor:
    """Return whether each two of values ``(Q,)`` are equal, ``(Q, Q)``."""
    return values[:, None] == values
