"""New events of an ``.inter`` file, put behind what a run's users did before.

Letters: U users, new ones among them, E events, n new events.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_llm.atomic import AtomicTable, read_atomic, refuse_missing_times
from recbole_llm.errors import DataError, all_problems
from recbole_llm.recommend.catalogue import Catalogue

logger = logging.getLogger(__name__)

FILTERS = ("val_interval", "rm_dup_inter")  # settings that leave single events of a file out
MOST = 5  # events out of order that are named


@dataclass(frozen=True)
class NewEvents:
    """The events of a file, user after user, in time order, ties in the file's.

    Attributes:
        users: Raw ids of users that the run does not know, in the file's order.
        owner: Whose each event is, counted on from the run's users, ``(n,)``.
        items: Rows of their items, ``(n,)``.
        times: ``(n,)`` float64.
    """

    users: list[str]
    owner: np.ndarray
    items: np.ndarray
    times: np.ndarray


def read_new_events(path: Path, catalogue: Catalogue, *, config: Mapping[str, Any]) -> NewEvents:
    """Read the events of a file; every row is one, and the run's filters are not applied.

    Args:
        path: An atomic ``.inter`` file with the run's columns of users, items and times.
        catalogue: What the run knows, new items among it.
        config: The run's settings.

    Raises:
        DataError: If the file has no event, or one of an unknown item, without a user or a time, or
            before the last that the run knows of its user; all that is wrong at once.
    """
    user, item, time = (config[f"{name}_FIELD"] for name in ("USER_ID", "ITEM_ID", "TIME"))
    table = read_atomic(
        path,
        columns=[user, item, time],
        separator=config["field_separator"],
        encoding=config["encoding"],
    )
    if not table.num_rows:
        raise DataError(f"{path}: holds no event. Name a file with the events since the run.")
    times = table.floats(time)
    refuse_missing_times(path, table.lines, times)
    known = {name: at for at, name in enumerate(catalogue.users)}
    place = dict(known)
    owner = np.array([place.setdefault(name, len(place)) for name in table.columns[user]])
    problems = _item_problems(table.columns[item], catalogue)
    problems += [f"line {line} names no user." for line in _empty(table, user)]
    problems += _order_problems(table.lines, owner, times, lasts=catalogue.lasts)
    if problems:
        raise DataError(all_problems(str(path), problems))
    for name in [name for name in FILTERS if config[name]]:
        logger.warning("%s: %s is not applied; every row is an event.", path, name)
    rows = {name: row for row, name in enumerate(catalogue.items)}
    items = np.array([rows[name] for name in table.columns[item]])
    order = np.lexsort((times, owner))  # stable
    return NewEvents(list(place)[len(known) :], owner[order], items[order], times[order])


def _empty(table: AtomicTable, column: str) -> list[int]:
    return [ln for ln, cell in zip(table.lines, table.columns[column], strict=True) if not cell]


def _item_problems(cells: Sequence[str], catalogue: Catalogue) -> list[str]:
    """Return what to do about items that the run does not know, naming all of them."""
    known = set(catalogue.items[1:])
    unknown = [item for item in dict.fromkeys(cells) if item not in known]
    if not unknown:
        return []
    names = ", ".join(map(repr, unknown))
    return [
        f"{len(unknown)} items are unknown to the run: {names}. Name an .item file with their "
        "texts (--items=FILE), or leave their events out."
    ]


def _order_problems(
    lines: Sequence[int], owner: np.ndarray, times: np.ndarray, *, lasts: Tensor
) -> list[str]:
    """Return what to do about events before a user's last, as float32 tells times apart."""
    own = np.full(len(owner), -np.inf, dtype=np.float32)
    is_known = owner < len(lasts)
    own[is_known] = lasts.numpy()[owner[is_known]]
    early = np.flatnonzero(times.astype(np.float32) < own)
    if not len(early):
        return []
    some = ", ".join(str(lines[at]) for at in early[:MOST])
    more = ", ..." if len(early) > MOST else ""
    return [
        f"{len(early)} events are before the last that the run knows of their user (lines {some}"
        f"{more}). Leave out what the run was trained on, or train again on all of it."
    ]


def with_events(catalogue: Catalogue, new: NewEvents) -> Catalogue:
    """Return a catalogue whose histories have grown, as a run on both files would keep them."""
    users = [*catalogue.users, *new.users]
    counts = torch.diff(catalogue.ends, prepend=torch.zeros(1, dtype=torch.int64))
    owner = np.concatenate([np.repeat(np.arange(len(counts)), counts), new.owner])
    events = np.concatenate([catalogue.events, new.items])[np.argsort(owner, kind="stable")]
    lasts = catalogue.lasts
    if len(lasts) == len(catalogue.users):
        grown = np.concatenate([lasts, np.full(len(new.users), -np.inf)]).astype(np.float32)
        np.maximum.at(grown, new.owner, new.times.astype(np.float32))
        lasts = torch.from_numpy(grown)
    return replace(
        catalogue,
        users=users,
        ends=torch.from_numpy(np.bincount(owner, minlength=len(users)).cumsum()),
        events=torch.from_numpy(events).int(),
        lasts=lasts,
    )
