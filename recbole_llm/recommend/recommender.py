"""Recommendations of a finished run: for its users, for histories, for texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.model.base import InterestModel
from recbole_llm.recommend.catalogue import Catalogue, read_catalogue
from recbole_llm.recommend.lists import Recommendation, popular_list
from recbole_llm.recommend.nearest import NearestItems
from recbole_llm.recommend.new_items import read_new_items
from recbole_llm.recommend.ranker import Ranker
from recbole_llm.recommend.requests import NO_EVENTS, Request, Requests
from recbole_llm.recommend.stored import require_device, require_ours, stored_model
from recbole_llm.recommend.streaming import InterestState
from recbole_llm.recommend.texts import NewTexts, new_texts
from recbole_llm.resume import StoredRun, stored_run
from recbole_llm.settings import Settings


class Recommender(Ranker):
    """Recommends items of a run's catalogue; :meth:`load` makes one. Threads may share it.

    Args:
        catalogue: What the run kept.
        model: Its model, in evaluation mode.
        texts: What gives vectors to new texts, None where the run has no such vectors.
        place: The run, for an error's message.
    """

    def __init__(
        self, catalogue: Catalogue, model: InterestModel, *, texts: NewTexts | None, place: str
    ) -> None:
        super().__init__(catalogue, model)
        self.texts, self.place = texts, place
        self.requests = Requests(catalogue)

    @classmethod
    def load(
        cls,
        run_dir: str | Path,
        *,
        new_items: str | Path | None = None,
        device: str = "cpu",
        trust_remote_code: bool = False,
        approximate: bool = False,
    ) -> Recommender:
        """Load a finished run from its directory; the data that it was trained on is not read.

        Args:
            run_dir: Directory of a run of one of our models.
            new_items: An ``.item`` file of more items, which are recommended by their text.
            device: ``cpu`` or ``cuda``.
            trust_remote_code: Whether a text encoder that runs code of its own may do so again.
            approximate: Whether lists are made by an index of faiss, nearly the best.

        Raises:
            RequestError: If the directory, the file or the device will not do.
        """
        require_device(device)
        stored = stored_run(Path(run_dir))
        require_ours(stored)
        catalogue = read_catalogue(stored.run_dir)
        settings = Settings.from_config(stored.facts["settings"])
        trust = trust_remote_code and settings.trust_remote_code
        model = stored_model(
            stored, catalogue, device=torch.device(device), trust_remote_code=trust
        )
        own = settings.model_copy(update={"trust_remote_code": trust})
        texts = new_texts(catalogue, model, settings=own, device=device, place=str(stored.run_dir))
        found = cls(catalogue, model, texts=texts, place=str(stored.run_dir))
        if new_items is not None:
            found._add(Path(new_items), stored=stored, catalogue=catalogue)
        if approximate:
            found.search = NearestItems(found.candidates)
        return found

    def _add(self, path: Path, *, stored: StoredRun, catalogue: Catalogue) -> None:
        """Put the new items of a file behind those of the catalogue."""
        if catalogue.text is None:
            raise RequestError(self._no_text())
        new = read_new_items(
            path,
            known=self.requests.rows,
            config=stored.facts["settings"],
            treatment=catalogue.text,
        )
        self.add(new, self.vectors(new.texts))
        self.requests.add_items(new.ids)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Return the item vectors of new texts, ``(n, H)``.

        Raises:
            RequestError: If the run has none, or its encoder cannot be loaded.
        """
        if self.texts is None:
            raise RequestError(self._no_text())
        return self.texts.vectors(texts, device=self.device)

    def _no_text(self) -> str:
        return (
            f"{self.place}: the run has no text vectors of its own (item_features, text_control), "
            "so that new texts mean nothing to it. Give item ids, or name a run that reads text."
        )

    def for_user(self, user: str, *, k: int = 10, filter_seen: bool = True) -> list[Recommendation]:
        """Recommend to a user of the run's data, after all of their events."""
        return next(self.for_all([Request(user=user)], k=k, filter_seen=filter_seen))

    def for_history(
        self, items: Sequence[str], *, k: int = 10, filter_seen: bool = True
    ) -> list[Recommendation]:
        """Recommend after a history of raw item ids, oldest first; without any, what is popular."""
        request = Request(history=items)
        return next(self.for_all([request], k=k, filter_seen=filter_seen))

    def for_texts(self, texts: Sequence[str], *, k: int = 10) -> list[Recommendation]:
        """Recommend after a history of texts, oldest first; none of them counts as seen."""
        return next(self.for_all([Request(texts=texts)], k=k))

    def start(
        self,
        *,
        user: str | None = None,
        history: Sequence[str] = (),
        texts: Sequence[str] = (),
    ) -> InterestState:
        """Return the interest of a user, to go on event by event; of none of the three, a new one.

        Args:
            user: A user of the run's data, after all of their events.
            history: Raw item ids, oldest first.
            texts: Texts in place of items, oldest first.

        Raises:
            RequestError: If the user or an item is unknown, more than one is given, or the model
                reads a history as a whole.
        """
        request = Request(user=user, history=history or None, texts=texts or None)
        return InterestState(self, request)

    def for_all(
        self,
        requests: Sequence[Request],
        *,
        k: int = 10,
        filter_seen: bool = True,
        show_progress: bool = False,
    ) -> Iterator[list[Recommendation]]:
        """Recommend to many; what is wrong with any request is raised before the first list.

        Where a history is empty the list is :meth:`most_popular`.

        Args:
            requests: Users, histories or texts.
            k: Length of a list; shorter where fewer items are left.
            filter_seen: Whether items of the history are left out.
            show_progress: Whether to show a bar.

        Returns:
            One list a request, in their order.

        Raises:
            RequestError: If a user or an item is unknown, or ``k`` is larger than the catalogue;
                all that is wrong at once.
        """
        problems = self._wrong_length(k)
        histories, texts = self.requests.rows_of(requests, problems=problems, may_be_empty=True)
        if problems:
            raise RequestError(all_problems("recommend", problems))
        table = torch.cat([self.table, self.vectors(texts)]) if texts else self.table
        return self._lists(
            histories, table=table, k=k, filter_seen=filter_seen, show_progress=show_progress
        )

    def _wrong_length(self, k: int) -> list[str]:
        most = len(self.items) - 1
        words = f"k: must be 1 to {most}, the number of items; received {k!r}."
        return [] if isinstance(k, Integral) and 1 <= k <= most else [words]

    def require_length(self, k: int) -> None:
        """Refuse a length that no list can have.

        Raises:
            RequestError: If ``k`` is not 1 to the number of items.
        """
        if problems := self._wrong_length(k):
            raise RequestError(all_problems("recommend", problems))

    def _lists(
        self,
        histories: Sequence[Tensor],
        *,
        table: Tensor,
        k: int,
        filter_seen: bool,
        show_progress: bool,
    ) -> Iterator[list[Recommendation]]:
        read = [history for history in histories if len(history)]
        popular = self.most_popular(k) if len(read) < len(histories) else []
        lists = self.lists_after(read, table=table, k=k, filter_seen=filter_seen)
        for history in tqdm(histories, desc="Recommend", disable=not show_progress):
            yield next(lists) if len(history) else popular

    def most_popular(self, k: int = 10) -> list[Recommendation]:
        """Return the items that most events of the run's users are of, with their numbers.

        Raises:
            RequestError: If the run keeps no events, or ``k`` is larger than the catalogue.
        """
        self.require_length(k)
        if not len(self.requests.events):
            raise RequestError(all_problems("recommend", [NO_EVENTS]))
        return popular_list(self.requests.events, items=self.items, titles=self.titles, k=k)
