"""Scores of a catalogue of any size, a block of items at a time; pure torch.

Letters: R interests scored at once, N items (row 0 is padding), H item-vector size, M twins, n
items of a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm.model.losses import item_scores
from recbole_llm.model.repeats import ReadCells

TILE = 32  # cases of one matrix product
SPAN = 2**17  # items of one matrix product: 16 MiB of scores a tile; most catalogues have fewer
Blocks = Iterable[tuple[int, Tensor]]
"""Blocks of scores: the id of a block's first item, and scores ``(R, n)`` that may be overwritten.

Column 0 does not count: it is padding, and in a later block the last item of the one before.
"""


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

    @cached_property
    def sources(self) -> tuple[Tensor, Tensor]:
        """The items that have twins, each once, and which of these each twin's is, ``(M,)``."""
        return torch.unique(self.firsts, return_inverse=True)


@dataclass(frozen=True)
class ScoreBlocks:
    """Blocks of the scores of interests, made anew each time they are gone through.

    A score does not depend on how many interests there are: each matrix product has ``TILE`` rows
    and, but for the last, ``span`` columns. An item's score is that of the first block it is in.

    Attributes:
        interests: ``(R, H)``.
        candidates: The items.
        span: Items of a block, at least 2.
        read: Cells of what was read, if their scores have a bias.
    """

    interests: Tensor
    candidates: Candidates
    span: int
    read: ReadCells | None = None

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        twins, (sources, source) = self.candidates.twins, self.candidates.sources
        kept = self.interests.new_empty(len(self.interests), len(sources))
        num_items = len(self.candidates.vectors)
        for begin in range(0, num_items - 1, self.span - 1):
            stop = min(begin + self.span, num_items)
            scores = self._products(begin, stop)
            here = (sources > begin) & (sources < stop)  # column 0 has had its score
            kept[:, here] = scores[:, sources[here] - begin]
            here = (twins > begin) & (twins < stop)
            scores[:, twins[here] - begin] = kept[:, source[here]]
            if self.read is not None:
                self.read.add_to(scores, begin)
            yield begin, scores

    def _products(self, begin: int, stop: int) -> Tensor:
        """Return the scores of a range of items, ``(R, n)``."""
        vectors, offset = self.candidates.vectors[begin:stop], self.candidates.offset
        offset = None if offset is None else offset[begin:stop]
        scores = self.interests.new_empty(len(self.interests), len(vectors))
        for at in range(0, len(scores), TILE):
            scores[at : at + TILE] = tile_scores(
                self.interests[at : at + TILE],
                vectors,
                temperature=self.candidates.temperature,
                offset=offset,
            )
        return scores


def tile_scores(
    interests: Tensor, vectors: Tensor, *, temperature: float, offset: Tensor | None
) -> Tensor:
    """Return the scores ``(R, N)`` of ``TILE`` interests or fewer, by a product of ``TILE``."""
    whole = functional.pad(interests, (0, 0, 0, TILE - len(interests)))
    return item_scores(whole, vectors, temperature=temperature, offset=offset)[: len(interests)]
