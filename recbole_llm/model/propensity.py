"""Popularity as a confounder: what a target counts for, and by how much popular items are lowered.

Popular items are met more, whoever likes them: what was met is no fair sample of what is liked
(docs/causality.md). Letters: P positions with a target, N items (row 0 is padding).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_llm.errors import RequestError


class TargetWeights(nn.Module):
    """Inverse propensities of targets: how much rarer than the most popular item they are met.

    The propensity of an item is (its count / the largest count) to a power, as in Saito et al.
    (2020, arXiv 1909.03601), and at least ``clip`` (clipped IPS). Weights that are self-normalised
    (SNIPS: Swaminathan and Joachims, 2015) have mean 1 over a batch.

    Args:
        counts: How often each item is a target in training, ``(N,)``.
        power: 0 weighs all alike.
        clip: The lower bound of a propensity; 0 is none.
        is_self_normalised: Whether a batch's weights are divided by their mean.

    Raises:
        RequestError: If the weight of a rare item is not finite.
    """

    of_item: Tensor

    def __init__(
        self, counts: Tensor, *, power: float, clip: float, is_self_normalised: bool
    ) -> None:
        super().__init__()
        share = counts.clamp(min=1).float() / counts.max().clamp(min=1)
        weights = share.pow(power).clamp(min=clip).reciprocal()
        if not weights.isfinite().all():
            raise RequestError(
                f"propensity_power: by {power:g} rare items would count without end. Lower it, or "
                f"set propensity_clip above {clip:g}."
            )
        self.register_buffer("of_item", weights, persistent=False)
        self.is_self_normalised = is_self_normalised

    def forward(self, targets: Tensor) -> Tensor:
        """Return what each item counts for among a batch's targets ``(P,)``, ``(N,)``."""
        mean = self.of_item[targets].mean() if self.is_self_normalised else 1.0
        return self.of_item / mean


def popularity_offset(counts: Tensor, *, adjustment: float) -> Tensor:
    """Return what is added to the scores of items, ``(N,)``: −adjustment · log(1 + count).

    Logit adjustment (Menon et al., 2021, arXiv 2007.07314) with smoothed counts: an item without
    any keeps its score. A negative adjustment raises what is popular, as the inference of PDA does
    (Zhang et al., 2021, arXiv 2105.06067).

    Args:
        counts: How often each item is a target in training, ``(N,)``.
        adjustment: 0 changes nothing; scores of a softmax lose all of the log of popularity by 1.
    """
    return -adjustment * torch.log1p(counts.float())
