"""Recommendations of a finished run: for its users, for histories, for texts.

Letters: B requests read at once, L history length, N items (row 0 is padding), H item-vector size,
R requests ranked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from recbole_llm.data.encoders import text_encoder
from recbole_llm.errors import RequestError, all_problems
from recbole_llm.model.base import InterestModel
from recbole_llm.recommend.catalogue import Catalogue, read_catalogue
from recbole_llm.recommend.lists import Recommendation, popular_list
from recbole_llm.recommend.nearest import NearestItems
from recbole_llm.recommend.new_items import read_new_items
from recbole_llm.recommend.requests import NO_EVENTS, Request, Requests
from recbole_llm.recommend.stored import require_device, require_ours, stored_model
from recbole_llm.recommend.streaming import InterestState
from recbole_llm.recommend.texts import NewTexts
from recbole_llm.recommend.top import Candidates, top_items
from recbole_llm.resume import StoredRun, stored_run
from recbole_llm.settings import Settings
from recbole_llm.train.scorers import TILE, last_interests

BATCH = 1024  # requests whose histories are read together


class Recommender:
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
        self.model, self.texts, self.place = model, texts, place
        self.device = next(model.parameters(), catalogue.table).device
        self.table = catalogue.table.to(self.device)
        self.twins = catalogue.twins.to(self.device), catalogue.firsts.to(self.device)
        self.items, self.titles = list(catalogue.items), list(catalogue.titles)
        self.item_texts = list(catalogue.text.texts) if catalogue.text else []
        self.genres = catalogue.genres or [[] for _ in self.items]
        self.requests = Requests(catalogue)
        self.candidates = self._candidates()
        self.search: Callable[..., tuple[Tensor, Tensor]] = top_items

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
        texts, tuned = None, model.tuned_encoder
        if catalogue.text is not None:
            own = settings.model_copy(update={"trust_remote_code": trust})
            known = [text for text in catalogue.text.texts if text is not None]
            texts = NewTexts(
                text_encoder(own, known, device=device) if tuned is None else tuned.reader,
                treatment=catalogue.text,
                items=model.items,
                sizes=catalogue.sizes,
                place=str(stored.run_dir),
            )
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
        self.table = torch.cat([self.table, self.vectors(new.texts)])
        self.requests.add_items(new.ids)
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
        request = Request(history=tuple(items))
        return next(self.for_all([request], k=k, filter_seen=filter_seen))

    def for_texts(self, texts: Sequence[str], *, k: int = 10) -> list[Recommendation]:
        """Recommend after a history of texts, oldest first; none of them counts as seen."""
        return next(self.for_all([Request(texts=tuple(texts))], k=k))

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
        request = Request(user=user, history=tuple(history) or None, texts=tuple(texts) or None)
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
        words = f"k: must be 1 to {most}, the number of items; received {k}."
        return [] if 1 <= k <= most else [words]

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
        lists = self._lists_read(read, table=table, k=k, filter_seen=filter_seen)
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

    def _lists_read(
        self, histories: Sequence[Tensor], *, table: Tensor, k: int, filter_seen: bool
    ) -> Iterator[list[Recommendation]]:
        for begin in range(0, len(histories), BATCH):
            part = histories[begin : begin + BATCH]
            interests = self.interests(part, table)
            for at in range(0, len(part), TILE):
                tile = part[at : at + TILE]
                yield from self.ranked(
                    interests[at : at + TILE], tile if filter_seen else None, k=k
                )

    @torch.no_grad()
    def interests(self, histories: Sequence[Tensor], table: Tensor) -> Tensor:
        """Return the interest after each history of rows of a table, ``(B, H)``."""
        ends = [history[-self.model.max_seq_length :] for history in histories]
        cases = {
            self.model.ITEM_SEQ: torch.nn.utils.rnn.pad_sequence(ends, batch_first=True),  # (B, L)
            self.model.ITEM_SEQ_LEN: torch.tensor([len(end) for end in ends]),
        }
        return last_interests(self.model, Interaction(cases).to(self.device), table=table)

    def ranked(
        self, interests: Tensor, seen: Sequence[Tensor] | None, *, k: int
    ) -> Iterator[list[Recommendation]]:
        """Yield the lists after at most a tile of interests ``(R, H)``; see :meth:`for_all`."""
        cells = None
        if seen is not None:
            lengths = torch.tensor([len(history) for history in seen])
            rows = torch.repeat_interleave(torch.arange(len(seen)), lengths)
            cells = rows.to(self.device), torch.cat(list(seen)).to(self.device)
        scores, ids = self.search(interests, self.candidates, seen=cells, length=k)
        for row in zip(scores.tolist(), ids.tolist(), strict=True):
            yield [
                Recommendation(self.items[item], self.titles[item], score)
                for score, item in zip(*row, strict=True)
                if score > -torch.inf  # an item that was left out
            ]
