"""Ranking a catalogue's items after histories of them.

Letters: B histories read at once, L history length, N items (row 0 is padding), H item-vector size,
R lists made at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional

from recbole_llm.model.base import InterestModel
from recbole_llm.model.repeats import ReadCells
from recbole_llm.recommend.catalogue import Catalogue
from recbole_llm.recommend.lists import Recommendation
from recbole_llm.recommend.new_items import NewItems
from recbole_llm.recommend.top import top_items
from recbole_llm.train.blocks import TILE, Candidates
from recbole_llm.train.scorers import last_interests

BATCH = 1024  # histories that are read together


class Ranker:
    """Ranks the items of a catalogue by a model; threads may share it.

    Args:
        catalogue: What a run kept.
        model: Its model, in evaluation mode.
    """

    def __init__(self, catalogue: Catalogue, model: InterestModel) -> None:
        self.model = model
        self.device = next(model.parameters(), catalogue.table).device
        self.table = catalogue.table.to(self.device)
        self.twins = catalogue.twins.to(self.device), catalogue.firsts.to(self.device)
        self.items, self.titles = list(catalogue.items), list(catalogue.titles)
        self.item_texts = list(catalogue.text.texts) if catalogue.text else []
        self.genres = catalogue.genres or [[] for _ in self.items]
        self.candidates = self._candidates()
        self.search: Callable[..., tuple[Tensor, Tensor]] = top_items

    def add(self, new: NewItems, vectors: Tensor) -> None:
        """Put new items, of vectors ``(n, H)``, behind those of the catalogue."""
        self.table = torch.cat([self.table, vectors])
        self.items += new.ids
        self.titles += new.titles
        self.item_texts += new.texts
        self.genres = self.genres + [[] for _ in new.ids]
        self.candidates = self._candidates()

    @torch.no_grad()
    def _candidates(self) -> Candidates:
        vectors, offset = self.model.candidates(self.table), self.model.offset
        if offset is not None:  # of new items it is that of items that training has not met
            offset = functional.pad(offset, (0, len(vectors) - len(offset)))
        return Candidates(vectors, *self.twins, self.model.temperature, offset)

    def lists_after(
        self, histories: Sequence[Tensor], *, table: Tensor, k: int, filter_seen: bool
    ) -> Iterator[list[Recommendation]]:
        """Yield the best ``k`` items after each history of rows of a table, none of them empty."""
        for begin in range(0, len(histories), BATCH):
            part = histories[begin : begin + BATCH]
            interests = self.interests(part, table)
            for at in range(0, len(part), TILE):
                tile = part[at : at + TILE]
                yield from self.ranked(
                    interests[at : at + TILE],
                    tile if filter_seen else None,
                    read=[self.end_of(history) for history in tile],
                    k=k,
                )

    @torch.no_grad()
    def interests(self, histories: Sequence[Tensor], table: Tensor) -> Tensor:
        """Return the interest after each history of rows of a table, ``(B, H)``."""
        ends = [self.end_of(history) for history in histories]
        cases = {
            self.model.ITEM_SEQ: torch.nn.utils.rnn.pad_sequence(ends, batch_first=True),  # (B, L)
            self.model.ITEM_SEQ_LEN: torch.tensor([len(end) for end in ends]),
        }
        return last_interests(self.model, Interaction(cases).to(self.device), table=table)

    def end_of(self, history: Tensor) -> Tensor:
        """Return what the model reads of a history, its last rows."""
        return history[-self.model.max_seq_length :]

    def read_cells(self, read: Sequence[Tensor]) -> ReadCells | None:
        """Return the cells whose scores have a bias after rows that were read, if there is one."""
        if self.model.repeats is None:
            return None
        histories = torch.nn.utils.rnn.pad_sequence(list(read), batch_first=True)
        return self.model.repeats.cells(histories.to(self.device))

    def ranked(
        self,
        interests: Tensor,
        seen: Sequence[Tensor] | None,
        *,
        read: Sequence[Tensor],
        k: int,
    ) -> Iterator[list[Recommendation]]:
        """Yield the lists after at most a tile of interests ``(R, H)``.

        Args:
            interests: The interests.
            seen: Rows of the items that are left out, for each, or None.
            read: Rows that each interest was read from.
            k: Length of a list.
        """
        cells = None
        if seen is not None:
            lengths = torch.tensor([len(history) for history in seen])
            rows = torch.repeat_interleave(torch.arange(len(seen)), lengths)
            cells = rows.to(self.device), torch.cat(list(seen)).to(self.device)
        scores, ids = self.search(
            interests, self.candidates, seen=cells, length=k, read=self.read_cells(read)
        )
        for row in zip(scores.tolist(), ids.tolist(), strict=True):
            yield [
                Recommendation(self.items[item], self.titles[item], score)
                for score, item in zip(*row, strict=True)
                if score > -torch.inf  # an item that was left out
            ]
