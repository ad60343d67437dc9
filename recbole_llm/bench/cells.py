"""What tables are made of: grids of cells, and how numbers and names are written in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_llm.bench.metrics import fixed
from recbole_llm.bench.stats import Comparison

NONE = "–"
SLICES = {
    "item_popularity": "item popularity",
    "history_length": "history length",
    "weights": "weights of target items",
}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, whether it is the ``best`` or ``second`` of its column, and a mark."""

    text: str
    place: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """One table.

    Attributes:
        title: What it shows.
        head: The names of its columns.
        rows: Its rows, a cell a column.
        align: ``l`` or ``r`` for each column.
        notes: Sentences that belong below it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    align: str
    notes: Sequence[str] = ()


def file_name(text: str) -> str:
    """Return a name that every file system takes, another one for each text."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def slice_label(name: str) -> str:
    """Return how a slice is called, as ``user.gender`` is by its column."""
    return SLICES.get(name, name.removeprefix("user."))


def p_text(p: float) -> str:
    """Return a p-value as tables show it."""
    return "< 0.001" if p < 0.001 else fixed(p, 3)


def difference_texts(test: Comparison) -> tuple[str, str]:
    """Return a difference and its interval as tables show them."""
    return f"{test.difference:+.4f}", f"[{test.low:+.4f}, {test.high:+.4f}]"
