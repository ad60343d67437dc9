"""The rank of every test target, in a file of the run's directory."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_llm.errors import RunDirError
from recbole_llm.files import atomic_path

RANKS = "ranks.csv.gz"
COLUMNS = ("user", "item", "above", "ties", "candidates", "popularity", "history")
OLD_COLUMNS = COLUMNS[:5]  # of runs made before


@dataclass(frozen=True)
class Ranks:
    """Where each test target stands, under raw ids, in the order of the test data.

    Attributes:
        users: The user of each case, ``(C,)``.
        items: Its target, ``(C,)``.
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
    """Write the ranks as CSV, whole or not at all; a user without a case has empty columns."""
    counts = [ranks.above, ranks.ties, ranks.candidates, ranks.popularity, ranks.history]
    known = [part.tolist() for part in counts if part is not None]
    columns = COLUMNS[: 2 + len(known)]
    with (
        atomic_path(run_dir / RANKS) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text)
        writer.writerow(columns)
        writer.writerows(zip(ranks.users, ranks.items, *known, strict=True))
        empty = [""] * (len(columns) - 1)
        writer.writerows([user, *empty] for user in ranks.users_without_case)


def read_ranks(place: str | Path) -> Ranks:
    """Read the ranks in a run's directory, or in a file whose name ends as theirs.

    Raises:
        RunDirError: If the file is missing, cut off or damaged.
    """
    path = Path(place)
    if not path.name.endswith(RANKS):
        path /= RANKS
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
            header, *rows = csv.reader(text)
            if tuple(header) not in (COLUMNS, OLD_COLUMNS):
                raise ValueError(f"its columns are {', '.join(header)}")
            empty = [""] * (len(header) - 1)
            cases = [row for row in rows if row[1:] != empty]
            above, ties, candidates, *more = (
                np.array([int(row[at]) for row in cases], np.int64) for at in range(2, len(header))
            )
    except FileNotFoundError:
        raise RunDirError(
            f"{path}: no such file. Runs of sequence models with eval_args.mode full have one."
        ) from None
    except (OSError, EOFError, ValueError, IndexError, zlib.error, csv.Error) as error:
        raise RunDirError(f"{path}: is damaged ({error}). Train again.") from None
    users, items = [row[0] for row in cases], [row[1] for row in cases]
    rest = [row[0] for row in rows if row[1:] == empty]
    return Ranks(users, items, above, ties, candidates, rest, *more)
