"""The terms that make a model robust: noise, adversarial item vectors, contrasted interests.

Letters: B batch, L or T history length, N items (row 0 is padding), H item-vector size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_llm.data.batches import WindowBatch
from recbole_llm.model.contrastive import contrast_targets, contrast_views

# Keeps a gradient in float16's range; its direction is all that counts.
GRADIENT_SCALE = 2.0**10


class ItemNoise(nn.Module):
    """Adds Gaussian noise to the item vectors that a model reads, in training.

    It enters between the item table and the evolution, drawn for each position of each history;
    the vectors that interests are compared with have none. Its standard deviation is a share of
    the vector's own root mean square, so that padding and masked items, zero vectors, stay zero.

    Args:
        share: Standard deviation of an entry, relative to the vector's root mean square.
    """

    def __init__(self, *, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, items: Tensor) -> Tensor:
        """Return item vectors ``(B, L, H)`` with noise."""
        if not self.training or self.share == 0:
            return items
        size = items.detach().square().mean(-1, keepdim=True).sqrt()  # (B, L, 1)
        return items + self.share * size * torch.randn_like(items)


def adversarial_table(
    table: Tensor, *, loss: Tensor, epsilon: float, size: int | None = None
) -> Tensor:
    """Return the item vectors moved to where the loss grows fastest (FGM).

    Each moves by the same length along its own gradient, as in APR (He et al., 2018, arXiv
    1808.03908); Miyato et al. (2017, arXiv 1605.07725) normalise the gradient of a whole text.
    Padding stays, and so does an item that the loss does not depend on. The move is a constant:
    what is learned on the moved table reaches the weights through the table itself.

    Args:
        table: The item vectors, ``(N, H)``, of which ``loss`` is a function.
        loss: A scalar; its graph is kept.
        epsilon: Length of a move, relative to the root mean square of the vectors' norms.
        size: The first entries that move, and whose norms count; all by default.
    """
    with torch.autocast(table.device.type, enabled=False):  # the loss's graph has its precisions
        (slope,) = torch.autograd.grad(loss * GRADIENT_SCALE, table, retain_graph=True)
    direction = functional.normalize(slope[1:, :size].float(), dim=-1)  # (N - 1, size)
    length = table[1:, :size].detach().float().square().sum(-1).mean().sqrt()
    rest = table.shape[1] - direction.shape[1]
    return table + functional.pad(epsilon * length * direction, (0, rest, 1, 0))


class Contrast(nn.Module):
    """The contrastive loss of a batch's interests (model/contrastive.py).

    A window's interest is the one after its last input. ``augmented`` compares the batch's two
    views of each (CL4SRec: Xie et al., 2022, arXiv 2010.14395); ``dropout`` compares what was read
    once already with a second reading, under other masks (DuoRec: Qiu et al., 2022, arXiv
    2110.05730); ``same_target`` compares positions that have a target.

    Args:
        views: ``augmented``, ``dropout`` or ``same_target``.
        temperature: Divides the cosines.
    """

    def __init__(self, *, views: str, temperature: float) -> None:
        super().__init__()
        self.views, self.temperature = views, temperature

    def forward(
        self, states: Tensor, batch: WindowBatch, *, read: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the loss.

        Args:
            states: The interests of the batch, ``(B, T, H)``.
            batch: The windows.
            read: Maps histories ``(B, T)`` to interests ``(B, T, H)``.
        """
        if self.views == "same_target":
            has_target = batch.targets > 0  # (B, T)
            return contrast_targets(
                states[has_target],
                users=batch.users[:, None].expand_as(has_target)[has_target],
                targets=batch.targets[has_target],
                temperature=self.temperature,
            )
        views = (batch, batch) if self.views == "dropout" else batch.views
        first = states if self.views == "dropout" else read(views[0].history)
        one, other = last(first, views[0]), last(read(views[1].history), views[1])
        targets = torch.cat([view.last_target for view in views])  # a view may end elsewhere
        return contrast_views(
            one, other, users=batch.users, targets=targets, temperature=self.temperature
        )


def last(states: Tensor, batch: WindowBatch) -> Tensor:
    """Return the interests ``(B, H)`` after the last inputs, of ``(B, T, H)``."""
    return states[torch.arange(len(states), device=states.device), batch.lengths - 1]
