"""The rank of every test target, in a file of the run's directory."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_llm.errors import RunDirError
from recbole_llm.files import atomic_path

RANKS = "ranks.csv.gz"
COLUMNS = ("user", "item", "above", "ties", "candidates", "popularity", "history")
OLD_COLUMNS = COLUMNS[:5]  # of runs made before
DAMAGE = (OSError, EOFError, ValueError, IndexError, OverflowError, zlib.error, csv.Error)
DIGITS = 10  # of a digest; more where two users of a dataset would have the same


@dataclass(frozen=True)
class Ranks:
    """Where each test target stands, in the order of the test data; of records under digests.

    Attributes:
        users: The user of each case, ``(C,)``: a raw id, or of a record its digest.
        items: Its target, ``(C,)``, likewise.
        above: Candidates with a higher score, ``(C,)``.
        ties: Other candidates with the target's score, ``(C,)``.
        candidates: Items that were ranked, the target among them, ``(C,)``.
        users_without_case: Users of the dataset that no case is of.
        popularity: Training interactions of the target, ``(C,)``; None of runs made before.
        history: Events of the user before the target, ``(C,)``; None of runs made before.
    """

    users: list[str]
    items: list[str]
    above: np.ndarray
    ties: np.ndarray
    candidates: np.ndarray
    users_without_case: list[str]
    popularity: np.ndarray | None = None
    history: np.ndarray | None = None


def write_ranks(run_dir: Path, ranks: Ranks) -> None:
    """Write the ranks into a run's directory, whole or not at all."""
    with atomic_path(run_dir / RANKS) as partial:
        partial.write_bytes(pack(ranks))


def pack(ranks: Ranks) -> bytes:
    """Return the ranks as compressed CSV; a user without a case has empty columns."""
    counts = [ranks.above, ranks.ties, ranks.candidates, ranks.popularity, ranks.history]
    known = [part.tolist() for part in counts if part is not None]
    columns = COLUMNS[: 2 + len(known)]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(ranks.users, ranks.items, *known, strict=True))
    empty = [""] * (len(columns) - 1)
    writer.writerows([user, *empty] for user in ranks.users_without_case)
    return gzip.compress(text.getvalue().encode(), mtime=0)


def digest(raw: str, *, dataset: str, digits: int = DIGITS) -> str:
    """Return what stands for a user or an item of a dataset in the ranks of a record."""
    return hashlib.sha256(f"{dataset}\t{raw}".encode()).hexdigest()[:digits]


def under_digests(ranks: Ranks, *, dataset: str) -> Ranks:
    """Return ranks with digests for ids, sorted by the user's: results copy nothing of the data.

    Whoever has the data joins them by :func:`digest`.
    """
    raw, digits = {*ranks.users, *ranks.users_without_case}, DIGITS
    while len({digest(user, dataset=dataset, digits=digits) for user in raw}) < len(raw):
        digits += 1
    users, items, rest = (
        np.array([digest(one, dataset=dataset, digits=digits) for one in ids])
        for ids in (ranks.users, ranks.items, ranks.users_without_case)
    )
    order = np.argsort(users, kind="stable")
    counts: dict[str, Any] = {
        name: None if (part := getattr(ranks, name)) is None else part[order]
        for name in COLUMNS[2:]
    }
    return replace(
        ranks,
        users=users[order].tolist(),
        items=items[order].tolist(),
        users_without_case=sorted(rest.tolist()),
        **counts,
    )


def read_ranks(place: str | Path) -> Ranks:
    """Read the ranks in a run's directory, or in a file whose name ends as theirs.

    Raises:
        RunDirError: If the file is missing, cut off or damaged.
    """
    path = Path(place)
    if not path.name.endswith(RANKS):
        path /= RANKS
    try:
        return unpack(path.read_bytes())
    except FileNotFoundError:
        raise RunDirError(
            f"{path}: no such file. Runs of sequence models with eval_args.mode full have one."
        ) from None
    except DAMAGE as error:
        raise RunDirError(f"{path}: is damaged ({error}). Train again.") from None


def unpack(packed: bytes) -> Ranks:
    """Return the ranks in compressed CSV; what is damaged raises the errors of gzip and csv."""
    header, *rows = csv.reader(io.StringIO(gzip.decompress(packed).decode(), newline=""))
    if tuple(header) not in (COLUMNS, OLD_COLUMNS):
        raise ValueError(f"its columns are {', '.join(header)}")
    empty = [""] * (len(header) - 1)
    cases = [row for row in rows if row[1:] != empty]
    above, ties, candidates, *more = (
        np.array([int(row[at]) for row in cases], np.int64) for at in range(2, len(header))
    )
    users, items = [row[0] for row in cases], [row[1] for row in cases]
    rest = [row[0] for row in rows if row[1:] == empty]
    return Ranks(users, items, above, ties, candidates, rest, *more)
