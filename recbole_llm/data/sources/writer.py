"""Rows of any source to atomic files: streamed, counted, and written whole or not at all."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_llm.errors import DataError, RecBoleLLMError, RequestError
from recbole_llm.files import atomic_path

SEPARATORS = str.maketrans(dict.fromkeys("\t\n\r\0", " "))
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """An atomic file to be.

    Attributes:
        columns: ``name:type`` cells. Interactions begin with user and item, other tables with the
            id that they tell of.
        rows: Cells in that order.
    """

    columns: tuple[str, ...]
    rows: Iterable[Sequence[str]]


@dataclass(frozen=True)
class Counts:
    """Users, items and rows of interactions; None for what nobody published."""

    users: int | None
    items: int | None
    interactions: int | None


@dataclass(frozen=True, kw_only=True)
class Tables:
    """What a release says, each table read once, in this order.

    Attributes:
        interactions: Events in the order of the release.
        items: What is known of items; the first row of an id counts.
        users: The same of users, or None.
        core: Users and items with fewer interactions are left out, again and again.
        published: What the publisher counts in the interactions as they are read.
    """

    interactions: Table
    items: Table
    users: Table | None = None
    core: int = 1
    published: Counts | None = None


@dataclass(frozen=True)
class Interactions:
    """What was read and kept.

    Attributes:
        release: Counts before the core.
        kept: Counts after it.
        left_out: Rows without a user or an item.
        users: Hashes of the users kept.
        items: Hashes of the items kept.
    """

    release: Counts
    kept: Counts
    left_out: int
    users: set[int]
    items: set[int]


def write_tables(tables: Tables, *, folder: Path, name: str, overwrite: bool) -> dict[str, Any]:
    """Write a dataset's atomic files, all of them or none, and return what was counted.

    Memory is some 64 bytes an interaction at most, and a little for each user and item.

    Raises:
        RequestError: If a file is there already and may not be overwritten.
        DataError: If the release is damaged, or nothing of it is left.
        RecBoleLLMError: If the folder cannot be written.
    """
    parts = {"inter": tables.interactions, "item": tables.items, "user": tables.users}
    paths = {part: folder / f"{name}.{part}" for part, table in parts.items() if table is not None}
    if not overwrite:
        require_absent(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            partial = {part: stack.enter_context(atomic_path(paths[part])) for part in paths}
            found = _write_interactions(tables.interactions, partial["inter"], core=tables.core)
            facts = _facts(tables, found)
            facts["items_without_row"] = _write_features(
                tables.items, partial["item"], wanted=set(found.items)
            )
            if tables.users is not None:
                facts["users_without_row"] = _write_features(
                    tables.users, partial["user"], wanted=set(found.users)
                )
    except OSError as error:
        raise RecBoleLLMError(f"{folder}: cannot be written ({error.strerror}).") from None
    return {"files": [str(path) for path in paths.values()], **facts}


def require_absent(folder: Path, name: str) -> None:
    """Refuse a folder that has atomic files of a dataset.

    Raises:
        RequestError: If it has; the message says how to go on.
    """
    paths = [folder / f"{name}.{part}" for part in ("inter", "item", "user")]
    there = [path.name for path in paths if path.exists()]
    if there:
        raise RequestError(
            f"{folder}: {', '.join(there)} is there already. Choose another --out, or replace it "
            "with --force."
        )


def _facts(tables: Tables, found: Interactions) -> dict[str, Any]:
    published, release = tables.published, asdict(found.release)
    known = {} if published is None else {k: v for k, v in asdict(published).items() if v}
    return {
        **asdict(found.kept),
        "core": tables.core,
        "release": release,
        "published": known or None,
        "as_published": all(release[key] == known[key] for key in known) if known else None,
        "left_out": found.left_out,
    }


def _write_interactions(table: Table, path: Path, *, core: int) -> Interactions:
    # Names are kept as 64-bit hashes: two of a hundred million share one with odds of 1 in 3,000.
    users, items, left_out = array("q"), array("q"), 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_line(table.columns))
        for row in map(_cleaned, table.rows):
            if not (row[0] and row[1]):
                left_out += 1
                continue
            users.append(hash(row[0]))
            items.append(hash(row[1]))
            file.write(_line(row))
    of_user, of_item = np.array(users, dtype=np.int64), np.array(items, dtype=np.int64)
    del users, items
    keep = core_mask(of_user, of_item, core=core)
    release = replace(_counts(of_user, of_item), interactions=len(keep) + left_out)
    if not keep.any():
        raise DataError(
            f"{path.parent}: nothing is written, since of {len(keep)} interactions none is left"
            f"{f' in the {core}-core' if core > 1 else ''}. The release may be another one."
        )
    if not keep.all():
        _keep_rows(path, keep)
    of_user, of_item = of_user[keep], of_item[keep]
    return Interactions(
        release=release,
        kept=_counts(of_user, of_item),
        left_out=left_out,
        users=set(np.unique(of_user).tolist()),
        items=set(np.unique(of_item).tolist()),
    )


def core_mask(users: Keys, items: Keys, *, core: int) -> NDArray[np.bool_]:
    """Return which interactions are in the k-core; a repeated pair counts each time.

    Args:
        users: Key of each interaction's user, ``(E,)``.
        items: Key of its item, ``(E,)``.
        core: The least number of interactions of a user and of an item.
    """
    _, users = np.unique(users, return_inverse=True)
    _, items = np.unique(items, return_inverse=True)
    keep = np.ones(len(users), dtype=np.bool_)
    while True:
        rare = (np.bincount(users[keep], minlength=len(users)) < core)[users]
        rare |= (np.bincount(items[keep], minlength=len(items)) < core)[items]
        if not (rare & keep).any():
            return keep
        keep &= ~rare


def _counts(users: Keys, items: Keys) -> Counts:
    return Counts(len(np.unique(users)), len(np.unique(items)), len(users))


def _keep_rows(path: Path, keep: NDArray[np.bool_]) -> None:
    """Leave the header and some of the rows in a file."""
    with atomic_path(path) as partial, path.open("rb") as whole, partial.open("wb") as file:
        file.write(whole.readline())
        file.writelines(compress(islice(whole, len(keep)), keep))


def _write_features(table: Table, path: Path, *, wanted: set[int]) -> int:
    """Write the first row of each id that is wanted, and return how many have none."""
    num_wanted = len(wanted)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_line(table.columns))
        for row in map(_cleaned, table.rows):
            key = hash(row[0])
            if key in wanted:
                wanted.remove(key)
                file.write(_line(row))
    if len(wanted) == num_wanted:
        raise DataError(
            f"{path.parent}: nothing is written, since not one of {num_wanted} ids of the "
            f"interactions has a row with {', '.join(table.columns[1:])}. The files of the release "
            "do not belong together."
        )
    return len(wanted)


def _cleaned(cells: Sequence[str]) -> list[str]:
    return [cell.translate(SEPARATORS) for cell in cells]


def _line(cells: Sequence[str]) -> str:
    return "\t".join(cells) + "\n"
