"""What scores all items for a case: one of our models, one of RecBole's, or several runs.

Letters: B cases of a batch, R cases scored at once, N items, H item-vector size.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_llm.model.base import InterestModel
from recbole_llm.train.blocks import SPAN, TILE, Blocks, Candidates, ScoreBlocks

EVERY_ITEM = sys.maxsize  # the span of what scores whole rows
LIKE = 256  # cases of like length that are read together


class Scorer(Protocol):
    """Scores items for the cases of a loader, in two steps: a batch is read once, scored in parts.

    Attributes:
        least: ``scores`` is asked for a multiple of so many cases.
        span: The most items of a block.
    """

    least: int
    span: int

    @property
    def device(self) -> torch.device:
        """Where the scores are."""

    def read(self, begin: int, end: int) -> Any:
        """Return whatever the scores of cases ``begin`` to ``end`` need."""

    def blocks(self, batch: Any, part: slice) -> Blocks:
        """Return the scores of part of a batch in blocks, which can be gone through twice."""

    def scores(self, batch: Any, part: slice) -> Tensor:
        """Return a new tensor of the scores of part of a batch, ``(R, N)``."""


def scorer_of(model: Any, loader: Any) -> Scorer:
    """Return what scores the cases of a full-ranking loader by a model in evaluation mode."""
    kind = InterestScorer if isinstance(model, InterestModel) else FullSortScorer
    return kind(model, loader)


def read_cases(loader: Any, begin: int, end: int, *, device: torch.device) -> Any:
    """Return cases of a full-ranking loader as an interaction on a device."""
    return loader.collate_fn(np.arange(begin, end))[0].to(device)


class InterestScorer:
    """One of our models: interests once a batch, the item table once an evaluation.

    A score does not depend on how many cases or items are scored at once, and identical items share
    the score of the first, which a matrix product gives only up to rounding.
    """

    least, span = TILE, SPAN

    @torch.no_grad()
    def __init__(self, model: InterestModel, loader: Any) -> None:
        self.model, self.loader = model, loader
        self.table = model.items.table()
        self.candidates = Candidates(
            model.candidates(self.table), *identical_items(model), model.temperature, model.offset
        )

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.table.device

    def read(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Return the interests of a batch, ``(B, H)``, and what was read, ``(B, L)``."""
        cases = read_cases(self.loader, begin, end, device=self.table.device)
        history = cases[self.model.ITEM_SEQ]
        return last_interests(self.model, cases, table=self.table), history

    def blocks(self, batch: tuple[Tensor, Tensor], part: slice) -> Blocks:
        """Return the scores of part of a batch in blocks, made anew each time if there are two."""
        interests, history = batch
        repeats = self.model.repeats
        read = None if repeats is None else repeats.cells(history[part])
        blocks = ScoreBlocks(interests[part], self.candidates, self.span, read)
        return blocks if self.span < len(self.table) else list(blocks)

    def scores(self, batch: tuple[Tensor, Tensor], part: slice) -> Tensor:
        """Return the scores of part of a batch, ``(R, N)``."""
        (_, first), *others = self.blocks(batch, part)
        return torch.cat([first, *(scores[:, 1:] for _, scores in others)], 1) if others else first


def last_interests(model: InterestModel, cases: Any, *, table: Tensor) -> Tensor:
    """Return the interests after histories, ``(B, H)``; those of like length are read together.

    Most histories of sparse data are far shorter than the longest.
    """
    interests = table.new_empty(len(cases), table.shape[1])
    for alike in cases[model.ITEM_SEQ_LEN].argsort(stable=True).split(LIKE):
        part = cases[alike]
        longest = max(int(part[model.ITEM_SEQ_LEN].max()), 1)
        part.update(Interaction({model.ITEM_SEQ: part[model.ITEM_SEQ][:, :longest]}))
        interests[alike] = model.last_interest(part, table)
    return interests


def identical_items(model: InterestModel) -> tuple[Tensor, Tensor]:
    """Return the items that are to the model what an earlier item is, and the first such item."""
    items = model.items
    known: list[Any] = [feature.vectors for feature in items.features]
    known += [] if items.embedding is None else [items.embedding.weight]
    known += [] if model.offset is None else [model.offset[:, None]]
    _, group, count = torch.unique(known[0][1:, 0], return_inverse=True, return_counts=True)
    alike = torch.nonzero(count[group] > 1)[:, 0] + 1  # in one entry at least: mostly few
    if len(alike) == 0:
        return alike, alike
    vectors = torch.cat([part[alike] for part in known], dim=1)
    _, group = torch.unique(vectors, dim=0, return_inverse=True)
    first = alike.new_full(alike.shape, len(known[0])).scatter_reduce(0, group, alike, "amin")
    is_twin = first[group] != alike
    return alike[is_twin], first[group][is_twin]


class FullSortScorer:
    """Any sequence model of RecBole's, by its ``full_sort_predict`` or else by its ``predict``."""

    least, span = 1, EVERY_ITEM

    def __init__(self, model: Any, loader: Any) -> None:
        self.model, self.loader = model, loader
        self.num_items = loader.dataset.item_num

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return torch.device(self.model.device)

    def read(self, begin: int, end: int) -> Any:
        """Return the histories of a batch."""
        return read_cases(self.loader, begin, end, device=self.model.device)

    def blocks(self, batch: Any, part: slice) -> Blocks:
        """Return the scores of part of a batch, whole: RecBole's models return no less."""
        return [(0, self.scores(batch, part))]

    def scores(self, batch: Any, part: slice) -> Tensor:
        """Return the scores of part of a batch, ``(R, N)``."""
        cases = batch[part]
        try:
            scores = self.model.full_sort_predict(cases)
        except NotImplementedError:  # DIN and DIEN
            scores = torch.cat([self._predict(cases[row : row + 1]) for row in range(len(cases))])
        return scores.view(-1, self.num_items)

    def _predict(self, case: Any) -> Tensor:
        """Return the scores of one case, ``(N,)``, item by item."""
        pairs = case.repeat_interleave(self.num_items)
        pairs.update(self.loader.dataset.get_item_feature().to(self.model.device))
        size = self.loader.config["eval_batch_size"]
        parts = [slice(at, at + size) for at in range(0, self.num_items, size)]
        return torch.cat([self.model.predict(pairs[part]).view(-1) for part in parts])


class MeanScorer:
    """Several scorers of the same cases: the mean of their standardised scores, in float64.

    A case's scores by one scorer are shifted and scaled to mean 0 and variance 1 over the items.
    Probabilities would let the sharpest model decide, and mean nothing where a loss is no softmax;
    standardised, any loss and scale has the same weight, and one scorer keeps its ranking.
    """

    span = EVERY_ITEM

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self.scorers = scorers
        self.least = max(one.least for one in scorers)

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self.scorers[0].device

    def read(self, begin: int, end: int) -> list[Any]:
        """Return what each scorer needs."""
        return [one.read(begin, end) for one in self.scorers]

    def blocks(self, batch: list[Any], part: slice) -> Blocks:
        """Return the mean standardised scores, whole: each is scaled by all items' scores."""
        return [(0, self.scores(batch, part))]

    def scores(self, batch: list[Any], part: slice) -> Tensor:
        """Return the mean standardised scores, ``(R, N)``."""
        total = torch.zeros(())
        for one, own in zip(self.scorers, batch, strict=True):
            total = total + standardised(one.scores(own, part))
        return total / len(self.scorers)


def standardised(scores: Tensor) -> Tensor:
    """Return scores ``(R, N)`` with mean 0 and variance 1 over a row's items, in float64."""
    exact = scores.double()
    variance, mean = torch.var_mean(exact[:, 1:], dim=1, correction=0, keepdim=True)
    return (exact - mean) * torch.where(variance == 0, 0.0, variance.rsqrt())
