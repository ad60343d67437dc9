"""Recommendation losses, each a mean over positions.

Letters: P positions with a target, N items (row 0 is padding), K negatives, H item-vector size.
Weights ``(N,)`` say what each item counts for as a target: a position's loss is multiplied by its
own before the mean is taken. Without them all count alike.
Negatives are drawn once a batch and shared by its positions; one that is a position's own target
does not count against it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_llm.model.repeats import Read
from recbole_llm.model.softmax import cross_entropy


def item_scores(
    interest: Tensor, table: Tensor, *, temperature: float, offset: Tensor | None = None
) -> Tensor:
    """Return inner products of interests ``(P, H)`` with all items ``(N, H)``, ``(P, N)``.

    Args:
        interest: The interests.
        table: The item vectors.
        temperature: Divides the products.
        offset: Is added to the scores of each item, ``(N,)``.
    """
    scores = (interest / temperature) @ table.T
    return scores if offset is None else scores + offset


def weighted_mean(losses: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of losses of targets, ``(P,)`` each, with weights ``(N,)`` if there are."""
    return losses.mean() if weights is None else (weights[targets] * losses).mean()


class Drawn(NamedTuple):
    """Items that targets are compared with.

    Attributes:
        ids: ``(K,)``.
        places: The positions of the batch whose targets they are, ``(K,)``, if they are its own.
    """

    ids: Tensor
    places: Tensor | None = None

    def are_of(self, targets: Tensor) -> Tensor:
        """Tell which of them are a position's target, for targets ``(P,)``: ``(P, K)``."""
        return self.ids == targets[:, None]

    def are_from(self, targets: Tensor) -> Tensor:
        """Tell which of them were taken from a position itself, ``(P, K)``."""
        if self.places is None:
            return torch.zeros_like(self.are_of(targets))
        return self.places == torch.arange(len(targets), device=targets.device)[:, None]


class Negatives(nn.Module):
    """Draws the items that a target is compared with.

    Args:
        how: ``uniform``, ``popularity`` (as often as in training) or ``in_batch`` (the targets of
            the batch, which come as often as in training; each position's at most once).
        number: K; ``in_batch`` has fewer where there are fewer positions.
        counts: How often each item is a target in training, ``(N,)``.
    """

    probability: Tensor

    def __init__(self, *, how: str, number: int, counts: Tensor) -> None:
        super().__init__()
        self.how, self.number = how, number
        weight = torch.ones(len(counts)) if how == "uniform" else counts.float()
        weight[0] = 0.0  # padding
        self.register_buffer("probability", weight / weight.sum(), persistent=False)

    def draw(self, targets: Tensor) -> Drawn:
        """Return K negatives for a batch with these targets ``(P,)``."""
        if self.how == "in_batch":
            places = torch.arange(len(targets), device=targets.device)
            if len(targets) > self.number:
                places = torch.randperm(len(targets), device=targets.device)[: self.number]
            return Drawn(targets[places], places)
        return Drawn(torch.multinomial(self.probability, self.number, replacement=True))

    def log_expected(self, ids: Tensor, *, number: int) -> Tensor:
        """Return the log of how often each id is expected among ``number`` negatives."""
        return (number * self.probability[ids]).clamp(min=1e-12).log()


class FullSoftmax(nn.Module):
    """Cross-entropy under a softmax over all items.

    PyTorch's ``linear_cross_entropy`` makes the scores in chunks of positions and their gradients
    with them: memory does not grow with P times N, and chunks that stay in the processor's cache
    are several times faster. It computes in float32, whatever the precision around it.

    Args:
        temperature: Divides the scores.
        label_smoothing: Share of the target's probability spread over all items.
    """

    def __init__(self, *, temperature: float, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.temperature, self.label_smoothing = temperature, label_smoothing

    def forward(
        self,
        interest: Tensor,
        table: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """Return the loss of interests ``(P, H)`` and targets ``(P,)`` in a table ``(N, H)``."""
        with torch.autocast(interest.device.type, enabled=False):
            interest, table = interest.float() / self.temperature, table.float()
            loss = cross_entropy(interest, table, targets, weights=weights, read=read)
            if self.label_smoothing:  # (1 - ε) CE + ε mean_j -log p_j = CE + ε (z_y - mean_j z_j)
                above_mean = table[targets] - table[1:].mean(0)  # (P, H)
                margin = (interest * above_mean).sum(1)
                if read is not None:
                    margin = margin + read.bias_above_mean(targets, num_items=len(table))
                smoothing = weighted_mean(margin, targets, weights)
                loss = loss + self.label_smoothing * smoothing
            return loss


class SampledLoss(nn.Module):
    """Base of losses that compare a target with drawn negatives, in float32."""

    def __init__(self, *, temperature: float, negatives: Negatives) -> None:
        super().__init__()
        self.temperature, self.negatives = temperature, negatives

    def forward(
        self,
        interest: Tensor,
        table: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """Return the loss of interests ``(P, H)`` and targets ``(P,)`` in a table ``(N, H)``."""
        drawn = self.negatives.draw(targets)
        with torch.autocast(interest.device.type, enabled=False):  # one precision for both
            scaled, table = interest.float() / self.temperature, table.float()
            positive = (scaled * table[targets]).sum(-1)  # (P,)
            negative = scaled @ table[drawn.ids].T  # (P, K)
            if read is not None:
                positive = positive + read.bias_of_own(targets)
                negative = negative + read.bias_of(drawn.ids, num_items=len(table))
            return self.compare(positive, negative, weights, targets=targets, drawn=drawn)

    def compare(
        self,
        positive: Tensor,
        negative: Tensor,
        weights: Tensor | None,
        *,
        targets: Tensor,
        drawn: Drawn,
    ) -> Tensor:
        """Return the loss of target scores ``(P,)`` against negative scores ``(P, K)``."""
        raise NotImplementedError(f"{type(self).__name__} must say how scores are compared")


class SampledSoftmax(SampledLoss):
    """Cross-entropy under a softmax over target and negatives, corrected by log Q.

    Each score is lowered by the log of how often its item is expected among the negatives (Bengio
    and Senécal, 2008; Yi et al., 2019), so that popular items are not pushed down for being drawn.
    The loss is −log of the probability that the target is of the item that it is of, given what is
    in the set, in any order: a negative that is the target's item counts for it. So it is least
    where the softmax over all items is right, for any number of negatives (Ma and Collins, 2018,
    arXiv 1809.01812). In a batch, a position's own target is in its set once.
    """

    def compare(
        self,
        positive: Tensor,
        negative: Tensor,
        weights: Tensor | None,
        *,
        targets: Tensor,
        drawn: Drawn,
    ) -> Tensor:
        """Return the mean cross-entropy."""
        number, is_itself = len(drawn.ids), drawn.are_from(targets)
        positive = positive - self.negatives.log_expected(targets, number=number)
        negative = negative - self.negatives.log_expected(drawn.ids, number=number)
        negative = negative.masked_fill(is_itself, -torch.inf)
        own = (drawn.are_of(targets) & ~is_itself).sum(1)  # (P,)
        scores = torch.cat([positive[:, None], negative], 1)  # (P, 1 + K)
        losses = scores.logsumexp(1) - positive - own.log1p()
        return losses.mean() if weights is None else weighted_mean(losses, targets, weights)


class BinaryCrossEntropy(SampledLoss):
    """Binary cross-entropy of target and negatives; with ``calibration`` t > 0, gBCE.

    gBCE (Petrov and Macdonald, 2023, arXiv 2308.07192) raises the target's probability to a power
    β = α (t (1 − 1 / α) + 1 / α), where α = K / (N − 1) is the sampling rate: t = 0 is plain BCE,
    t = 1 is as calibrated as a full softmax.
    Differs in a learned bias of all scores, which begins at −log K as in SigLIP (Zhai et al., 2023,
    arXiv 2303.15343) and orders nothing: without it the item vectors must first learn that nearly
    all pairs are negative, and early stopping ends the training before they have.
    """

    def __init__(self, *, temperature: float, negatives: Negatives, calibration: float) -> None:
        super().__init__(temperature=temperature, negatives=negatives)
        self.calibration = calibration
        self.bias = nn.Parameter(-torch.tensor(float(negatives.number)).log())

    def compare(
        self,
        positive: Tensor,
        negative: Tensor,
        weights: Tensor | None,
        *,
        targets: Tensor,
        drawn: Drawn,
    ) -> Tensor:
        """Return the mean over the target and the negatives that count."""
        num_items = len(self.negatives.probability) - 1
        rate = min(1.0, len(drawn.ids) / max(1, num_items - 1))
        power = rate * (self.calibration * (1 - 1 / rate) + 1 / rate)
        counts = ~drawn.are_of(targets)  # (P, K)
        positive, negative = positive + self.bias, negative + self.bias
        losses = functional.softplus(negative) * counts
        total = power * functional.softplus(-positive) + losses.sum(1)
        return weighted_mean(total / (1 + counts.sum(1)), targets, weights)


class BPR(SampledLoss):
    """Bayesian personalised ranking (Rendle et al., 2009, arXiv 1205.2618)."""

    def compare(
        self,
        positive: Tensor,
        negative: Tensor,
        weights: Tensor | None,
        *,
        targets: Tensor,
        drawn: Drawn,
    ) -> Tensor:
        """Return the mean of −log σ(target − negative) over the negatives that count."""
        counts = ~drawn.are_of(targets)  # (P, K)
        losses = functional.softplus(negative - positive[:, None]) * counts
        return weighted_mean(losses.sum(1) / counts.sum(1).clamp(min=1), targets, weights)


class InterestMSE(nn.Module):
    """Mean squared error between the predicted interest and the vector of the next item.

    The item's vector is a constant here: were it learned by this loss, all items would meet in one
    point.
    """

    def forward(
        self,
        interest: Tensor,
        table: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        read: Read | None = None,
    ) -> Tensor:
        """Return the loss of interests ``(P, H)`` and targets ``(P,)`` in a table ``(N, H)``.

        Nothing is compared with other items, so that what was read does not count.
        """
        wanted = table[targets].detach()
        if weights is None:
            return functional.mse_loss(interest, wanted)
        losses = functional.mse_loss(interest, wanted, reduction="none").mean(1)  # (P,)
        return weighted_mean(losses, targets, weights)
