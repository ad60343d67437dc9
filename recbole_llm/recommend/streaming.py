"""The interest of one user, moved event by event in constant time and memory.

Letters: L events read at once, H item-vector size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.model.evolution import Past
from recbole_llm.recommend.requests import Request

if TYPE_CHECKING:
    from recbole_llm.recommend.lists import Recommendation
    from recbole_llm.recommend.recommender import Recommender


class InterestState:
    """What a recommender knows of a user; an event is read in O(1), whatever came before it.

    It is the interest after all events that it has read, as one history however long. A recommender
    reads the last ``MAX_ITEM_LIST_LENGTH`` events only, so that the two are one until then. One
    thread at a time may use a state.

    Args:
        recommender: Whose model and items are used; :meth:`Recommender.start` is the usual way.
        begin: What it reads first; a request without any of the three is a new user.

    Raises:
        RequestError: If the model's past is not of fixed size, or the request is wrong.
    """

    def __init__(self, recommender: Recommender, begin: Request) -> None:
        model = recommender.model
        if not model.evolution.can_resume:
            raise RequestError(
                f"{recommender.place}: {type(model).__name__} reads a history as a whole at each "
                "event. Use for_history, or a run of a linear model, an RNN, a GRU or an LSTM."
            )
        self.recommender = recommender
        self._past: Past | None = None
        self._interest: Tensor | None = None
        self._seen: dict[int, None] = {}
        given = [one for one in (begin.user, begin.history, begin.texts) if one]
        if len(given) > 1:
            raise RequestError("start: give a user, a history or texts; received more than one.")
        if given:
            self.read(begin)

    @property
    def count(self) -> int:
        """Number of events that the interest has in it."""
        return 0 if self._past is None else self._past.count

    @property
    def interest(self) -> Tensor:
        """The predicted next interest, ``(H,)``.

        Raises:
            RequestError: If no event has been read.
        """
        if self._interest is None:
            raise RequestError("an interest begins with an event. Call see(item) first.")
        return self._interest

    def see(self, item: str) -> None:
        """Move the interest by an event.

        Args:
            item: Raw item id.

        Raises:
            RequestError: If the item is unknown.
        """
        self.read(Request(history=(item,)))

    def see_text(self, text: str) -> None:
        """Move the interest by a text in place of an item, which does not count as seen."""
        self.read(Request(texts=(text,)))

    def read(self, request: Request) -> None:
        """Move the interest by the last ``MAX_ITEM_LIST_LENGTH`` events of a request, at once.

        Raises:
            RequestError: If a user or an item is unknown, or there is no event.
        """
        problems: list[str] = []
        (rows,), texts = self.recommender.requests.rows_of([request], problems=problems)
        if problems:
            raise RequestError(all_problems("interest", problems))
        table = self.recommender.table
        if texts:
            table = torch.cat([table, self.recommender.vectors(texts)])
        self._move(table[rows[-self.recommender.model.max_seq_length :].to(table.device)])
        self._seen |= dict.fromkeys(rows.tolist())

    @torch.no_grad()
    def _move(self, items: Tensor) -> None:
        """Read item vectors, ``(L, H)``."""
        states, self._past = self.recommender.model.resume(items[None], self._past)  # (1, L, H)
        self._interest = states[0, -1]

    def top(self, k: int = 10, *, filter_seen: bool = True) -> list[Recommendation]:
        """Return the best items now, as the recommender's lists.

        Args:
            k: Length of the list; shorter where fewer items are left.
            filter_seen: Whether items of all events that were read are left out.

        Raises:
            RequestError: If no event has been read, or ``k`` is larger than the catalogue.
        """
        self.recommender.require_length(k)
        read = [torch.tensor(list(self._seen))]
        seen = read if filter_seen else None
        return next(self.recommender.ranked(self.interest[None], seen, read=read, k=k))
