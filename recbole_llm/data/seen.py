"""What a user has seen before a case: the whole history, however much of it a model reads.

Letters: E events of all users, C cases, B cases of a batch, M items seen in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_llm.data.events import EVENT, interactions_of
from recbole_llm.data.splits import DatasetLike


@dataclass(frozen=True)
class SeenItems:
    """The items that stand before each case's target.

    Attributes:
        items: Items of all events, user after user, in time order, ``(E,)``.
        start: Where a case's history begins, ``(C,)``.
        stop: Where it ends, ``(C,)``.
    """

    items: Tensor
    start: Tensor
    stop: Tensor

    def cells(self, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Return rows ``(M,)``, from 0, and items ``(M,)`` of what cases of a range have seen."""
        start, length = self.start[begin:end], (self.stop - self.start)[begin:end]
        rows = torch.repeat_interleave(torch.arange(len(length)), length)  # (M,)
        before = length.cumsum(0) - length
        at = start[rows] + torch.arange(len(rows)) - before[rows]
        return rows, self.items[at]


def seen_items(dataset: Any) -> SeenItems:
    """Return what was seen before the cases of a part of a sequential dataset.

    Histories are whole where events are known: in our dataset, and in RecBole's as
    :func:`with_events` makes it. Benchmark files bring a history with each row, which is all there
    is.
    """
    cases = dataset.inter_feat
    if EVENT in cases.interaction:
        users = dataset.events[dataset.uid_field]
        start = torch.searchsorted(users, cases[dataset.uid_field])
        return SeenItems(dataset.events[dataset.iid_field], start, cases[EVENT])
    lists = cases[dataset.iid_field + dataset.config["LIST_SUFFIX"]]  # (C, L)
    length = cases[dataset.item_list_length_field]
    start = torch.arange(len(lists)) * lists.shape[1]
    return SeenItems(lists.flatten(), start, start + length)


def training_counts(dataset: Any) -> np.ndarray:
    """Return how many interactions of a training part each item has, ``(N,)``.

    Those that are no target, because nothing precedes them, count too.
    """
    counts = np.asarray(dataset.inter_matrix().sum(axis=0)).ravel()
    return counts.astype(np.int64)


def training_repeats(dataset: Any) -> tuple[int, int]:
    """Return how many interactions of a training part are with an item met before, and of all.

    Of benchmark files these are the targets: each row says what was met before its own.
    """
    if getattr(dataset, "benchmark_filename_list", None):
        cases = dataset.inter_feat
        lists = cases[dataset.iid_field + dataset.config["LIST_SUFFIX"]]  # (C, L)
        met = (lists == cases[dataset.iid_field][:, None]).any(1)
        return int(met.sum()), len(met)
    matrix = dataset.inter_matrix().tocsr()  # equal cells are summed
    return int(matrix.sum()) - matrix.nnz, int(matrix.sum())


class KeepsEvents(DatasetLike):
    """Mixin for RecBole's sequential datasets, whose cases keep only the end of a long history.

    Attributes:
        events: Users and items of all events, user after user, in time order.
    """

    def data_augmentation(self) -> None:
        """Make the cases, and note all events and where among them each case's target stands."""
        super().data_augmentation()
        cases = self.inter_feat  # user after user, one for each event but a user's first
        users, items = cases[self.uid_field], cases[self.iid_field]
        is_first = torch.ones(len(users), dtype=torch.bool)
        is_first[1:] = users[1:] != users[:-1]
        event = torch.arange(len(users)) + is_first.cumsum(0)
        events = torch.empty(2, len(users) + int(is_first.sum()), dtype=users.dtype)
        events[:, event] = torch.stack([users, items])
        oldest = cases[self.iid_field + self.config["LIST_SUFFIX"]][is_first, 0]
        events[:, event[is_first] - 1] = torch.stack([users[is_first], oldest])
        self.events = Interaction({self.uid_field: events[0], self.iid_field: events[1]})
        cases.update(Interaction({EVENT: event}))

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """Return the sparse users × items matrix of this part, first events included."""
        if EVENT not in self.inter_feat.interaction or value_field is not None:
            return super().inter_matrix(form, value_field)
        return self._create_sparse_matrix(
            interactions_of(self), self.uid_field, self.iid_field, form
        )


@lru_cache(maxsize=32)
def with_events(dataset_class: type) -> type:
    """Return a sequential dataset class that keeps all events and is otherwise the one given."""
    return type(dataset_class.__name__, (KeepsEvents, dataset_class), {})
