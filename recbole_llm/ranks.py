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
COLUMNS = ("user", "item", "above", "ties", "candidates")


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
    """

    users: list[str]
    items: list[str]
    above: np.ndarray
    ties: np.ndarray
    candidates: np.ndarray
    users_without_case: list[str]


def write_ranks(run_dir: Path, ranks: Ranks) -> None:
    """Write the ranks as CSV, whole or not at all; a user without a case has empty columns."""
    counts = [part.tolist() for part in (ranks.above, ranks.ties, ranks.candidates)]
    with (
        atomic_path(run_dir / RANKS) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(zip(ranks.users, ranks.items, *counts, strict=True))
        writer.writerows([user, "", "", "", ""] for user in ranks.users_without_case)


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
            if tuple(header) != COLUMNS:
                raise ValueError(f"its columns are {', '.join(header)}")
            cases = [row for row in rows if row[1:] != ["", "", "", ""]]
            above, ties, candidates = (
                np.array([int(row[at]) for row in cases], np.int64) for at in (2, 3, 4)
            )
    except FileNotFoundError:
        raise RunDirError(
            f"{path}: no such file. Runs of sequence models with eval_args.mode full have one."
        ) from None
    except (OSError, EOFError, ValueError, IndexError, zlib.error, csv.Error) as error:
        raise RunDirError(f"{path}: is damaged ({error}). Train again.") from None
    users, items = [row[0] for row in cases], [row[1] for row in cases]
    rest = [row[0] for row in rows if row[1:] == ["", "", "", ""]]
    return Ranks(users, items, above, ties, candidates, rest)
