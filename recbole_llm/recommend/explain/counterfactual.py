"""What would have been: a recommended item's standing after other histories than the user's.

Letters: T events of a history, B histories, R of them ranked at once, N items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_llm.errors import RequestError, all_problems, unknown_name
from recbole_llm.recommend.lists import Recommendation
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request
from recbole_llm.train.blocks import TILE, tile_scores
from recbole_llm.train.scorers import standardised


@dataclass(frozen=True)
class Standing:
    """Where an item stands after a history, among the items that the user had not met.

    Attributes:
        score: Its score, in standard deviations above the mean score of those items. Unlike plain
            scores, two of one user can be compared.
        rank: 1 and the number of those items with a higher score.
    """

    score: float
    rank: int


@dataclass(frozen=True)
class Influence:
    """What an event does for an item.

    Attributes:
        event: Its number, from 1.
        item: Raw id of what the event was of.
        title: Its title, None where it has none.
        removed: Where the explained item stands without the event.
        replaced: Where it stands with an average item in the event's place.
        influence: How much lower its score is without the event.
    """

    event: int
    item: str
    title: str | None
    removed: Standing
    replaced: Standing
    influence: float


class Case:
    """An item and a history that it is explained by; every answer is the model's own, read anew.

    Args:
        recommender: The run.
        request: A user or a history of item ids.
        item: Raw id of the explained item; the first recommended one by default.

    Raises:
        RequestError: If the user or an item is unknown, or the history is one of texts.
    """

    def __init__(self, recommender: Recommender, request: Request, item: str | None = None) -> None:
        self.recommender = recommender
        problems: list[str] = []
        (self.rows,), texts = recommender.requests.rows_of([request], problems=problems)
        if texts:
            problems.append("a history of texts has no events to explain by. Give item ids.")
        if item is not None and item not in recommender.requests.rows:
            problems.append(unknown_name("item", item, recommender.items[1:], list_known=False))
        if problems:
            raise RequestError(all_problems("explain", problems))
        if item is None:
            first = self.relist(self.rows, k=1)
            if not first:
                raise RequestError("explain: all items are in the history. Name one by --item.")
            item = first[0].item
        self.item = recommender.requests.rows[item]
        average = recommender.table[1:].mean(0, keepdim=True)
        self._table = torch.cat([recommender.table, average])  # row N is an average item
        self._is_candidate = self._candidates()

    def _candidates(self) -> Tensor:
        """Return which items are ranked: those not met, and the explained one, ``(N,)``."""
        is_candidate = torch.ones(len(self.recommender.items), dtype=torch.bool)
        is_candidate[self.rows] = False
        is_candidate[0] = False
        is_candidate[self.item] = True
        return is_candidate.to(self.recommender.device)

    def standing(self) -> Standing:
        """Return where the item stands after the history as it was."""
        return self.standings([self.rows])[0]

    def influences(self) -> list[Influence]:
        """Return what each event does for the item, in the order of the events.

        It is exact: an event is taken out, or an average item put in its place, and the model reads
        the last ``MAX_ITEM_LIST_LENGTH`` events of what is left, an older one among them.
        """
        events, average = range(len(self.rows)), len(self.recommender.items)
        histories = [self.rows, *(self.without([at]) for at in events)]
        histories += [self.with_instead(at, average) for at in events]
        base, *found = self.standings(histories)
        known = self.recommender
        return [
            Influence(
                event=at + 1,
                item=known.items[row],
                title=known.titles[row],
                removed=found[at],
                replaced=found[len(self.rows) + at],
                influence=base.score - found[at].score,
            )
            for at, row in enumerate(self.rows.tolist())
        ]

    def without(self, events: Sequence[int]) -> Tensor:
        """Return the history without events, counted from 0; of none, one of padding."""
        stays = torch.ones(len(self.rows), dtype=torch.bool)
        stays[list(events)] = False
        left = self.rows[stays]
        return left if len(left) else torch.zeros(1, dtype=torch.int64)

    def with_instead(self, event: int, row: int) -> Tensor:
        """Return the history with another row of the item table in an event's place."""
        changed = self.rows.clone()
        changed[event] = row
        return changed

    def standings(self, histories: Sequence[Tensor]) -> list[Standing]:
        """Return where the item stands after each history; they are read and ranked in batches.

        What is read of two may be the same. It is then read once: in another place of a batch, a
        processor may round another way.
        """
        ends = [tuple(self.recommender.end_of(history).tolist()) for history in histories]
        distinct = list(dict.fromkeys(ends))
        read = [torch.tensor(end) for end in distinct]
        tiles = torch.split(self.recommender.interests(read, self._table), TILE)
        found = [
            one
            for at, tile in enumerate(tiles)
            for one in self._stand(tile, read[at * TILE : (at + 1) * TILE])
        ]
        standing = dict(zip(distinct, found, strict=True))
        return [standing[end] for end in ends]

    @torch.no_grad()
    def _stand(self, interests: Tensor, read: Sequence[Tensor]) -> list[Standing]:
        """Return where the item stands by interests ``(R, H)``, at most a tile of them."""
        known = self.recommender.candidates
        scores = tile_scores(
            interests, known.vectors, temperature=known.temperature, offset=known.offset
        )  # (R, N)
        scores[:, known.twins] = scores[:, known.firsts]
        if (cells := self.recommender.read_cells(read)) is not None:
            cells.add_to(scores)
        own = scores[:, self.item]
        above = ((scores > own[:, None]) & self._is_candidate).sum(1)
        others = scores[:, self._is_candidate]
        whole = standardised(torch.cat([own[:, None], others], 1))  # column 0 does not count
        return [
            Standing(score, 1 + rank)
            for score, rank in zip(whole[:, 0].tolist(), above.tolist(), strict=True)
        ]

    def relist(self, rows: Tensor, *, k: int) -> list[Recommendation]:
        """Return the list after another history, without the items that the user had met."""
        self.recommender.require_length(k)
        interests = self.recommender.interests([rows], self.recommender.table)
        read = [self.recommender.end_of(rows)]
        return next(self.recommender.ranked(interests, [self.rows], read=read, k=k))
