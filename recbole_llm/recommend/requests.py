"""Who is recommended to: users, histories and texts, as rows of item vectors.

Letters: N items of the run, new ones among them, L history length.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_llm.errors import RequestError, unknown_name
from recbole_llm.recommend.catalogue import Catalogue

NO_EVENTS = "the run keeps no events to say what is popular. Give a history."
MOST = 10  # problems told of; each looks for names like the unknown one


@dataclass(frozen=True, kw_only=True)
class Request:
    """Whom to recommend to; one of the three is given.

    Attributes:
        user: Raw id of a user of the run's data.
        history: Raw item ids, oldest first; none of a new user.
        texts: Texts in place of items, oldest first.
    """

    user: str | None = None
    history: Sequence[str] | None = None
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no text or no list of texts, and keep lists as tuples.

        Raises:
            RequestError: If a text stands for a list, which would be its letters, or another type
                for a text.
        """
        for name in ("history", "texts"):
            words = getattr(self, name)
            if words is not None:
                object.__setattr__(self, name, listed(name, words))
        if self.user is not None:
            listed("user", [self.user])


def listed(name: str, words: Sequence[str]) -> tuple[str, ...]:
    """Return texts as a tuple.

    Args:
        name: What they are.
        words: The texts.

    Raises:
        RequestError: If they are one text, or not all are texts.
    """
    if isinstance(words, str):
        raise RequestError(f"{name}: must be a list, as [{words!r}]; received {words!r}.")
    for word in words:
        if not isinstance(word, str):
            kind = type(word).__name__
            raise RequestError(f"{name}: must be text, as '{word}'; received {word!r} ({kind}).")
    return tuple(words)


class Requests:
    """Turns requests into rows of item vectors.

    Args:
        catalogue: What the run kept.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.rows = {item: row for row, item in enumerate(catalogue.items) if row}
        self.users = {user: at for at, user in enumerate(catalogue.users)}
        self.events, self.ends = catalogue.events, [0, *catalogue.ends.tolist()]

    def add_items(self, ids: Sequence[str]) -> None:
        """Know items whose rows are behind those of the items known so far."""
        first = len(self.rows) + 1
        self.rows |= {item: row for row, item in enumerate(ids, start=first)}

    def rows_of(
        self, requests: Sequence[Request], *, problems: list[str], may_be_empty: bool = False
    ) -> tuple[list[Tensor], list[str]]:
        """Return the rows of each request's history, ``(L,)``, and the texts that need vectors.

        Args:
            requests: The requests.
            problems: Gets what is wrong with them.
            may_be_empty: Whether a history may be empty, where the run keeps events.

        Returns:
            Rows from N on are those of the texts, in their order.
        """
        texts: dict[str, int] = {}
        unread = _Problems()
        found = []
        for number, request in enumerate(requests, start=1):
            unread.where = f"request {number} of {len(requests)}: " if len(requests) > 1 else ""
            known = len(unread.found)
            rows = self._rows(request, texts, unread)
            if not rows and len(unread.found) == known:
                self._check_empty(request, unread, may_be_empty=may_be_empty)
            found.append(torch.tensor(rows, dtype=torch.int64))
        problems += unread.told()
        return found, list(texts)

    def _rows(self, request: Request, texts: dict[str, int], problems: _Problems) -> list[int]:
        if request.user is not None:
            return self._events_of(request.user, problems)
        if request.texts is not None:
            words = [" ".join(text.split()) for text in request.texts]
            if not all(words):
                problems.add("texts: a history must be one text or more, none of them empty.")
            new = len(self.rows) + 1
            return [new + texts.setdefault(text, len(texts)) for text in words]
        if request.history is None:
            problems.add("request: names no user, history or texts. Give one of them.")
        items = request.history or ()
        for item in dict.fromkeys(items):
            if item not in self.rows:
                problems.add_unknown("item", item, self.rows)
        return [self.rows[item] for item in items if item in self.rows]

    def _events_of(self, user: str, problems: _Problems) -> list[int]:
        if not self.users:
            problems.add(
                "user: the run keeps no users, for it read benchmark files. Give a history."
            )
        elif user not in self.users:
            problems.add_unknown("user", user, self.users)
        else:
            at = self.users[user]
            return list(map(int, self.events[self.ends[at] : self.ends[at + 1]]))
        return []

    def _check_empty(self, request: Request, problems: _Problems, *, may_be_empty: bool) -> None:
        if may_be_empty and len(self.events):
            return
        if request.user is not None:
            problems.add(f"user: {request.user!r} has no events in the run's data. Give a history.")
        elif may_be_empty:
            problems.add(f"history: is empty, and {NO_EVENTS}")
        else:
            problems.add("history: must have at least one item or text; received none.")


class _Problems:
    """Collects problems, and words the first of them only."""

    def __init__(self) -> None:
        self.where = ""
        self.found: list[str] = []
        self.more = 0

    def add(self, message: str) -> None:
        """Note a problem of the request at hand."""
        if len(self.found) < MOST:
            self.found.append(self.where + message)
        else:
            self.more += 1

    def add_unknown(self, what: str, name: str, known: Collection[str]) -> None:
        """Note a name that is not in a table, with names that are like it."""
        is_told = len(self.found) < MOST
        self.add(unknown_name(what, name, known, list_known=False) if is_told else "")

    def told(self) -> list[str]:
        """Return the problems, and how many more there are."""
        return [*self.found, f"{self.more} more."] if self.more else self.found
