"""Our own reader of RecBole's atomic files.

A file is a header of ``name:type`` cells and rows of cells. Nothing is quoted, no word means
"missing", and no row is dropped: a line that does not fit its header is an error that names it.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_llm.errors import DataError, unknown_name

BLOCK_ROWS = 2**16  # rows whose cells are lists at the same time; all of a file's would fill memory
TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True)
class AtomicTable:
    """Columns of an atomic file.

    Attributes:
        path: The file.
        types: Column to type, for all columns of the file, in its order.
        columns: Column to raw cells, one a row, for the columns asked for.
        lines: The line in the file of each row, counted from 1.
    """

    path: Path
    types: dict[str, str]
    columns: dict[str, list[str]]
    lines: Sequence[int]

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return len(self.lines)

    def floats(self, column: str) -> np.ndarray:
        """Return a column as float64; an empty cell is NaN.

        Raises:
            DataError: If a cell is not a number; the message names its line.
        """
        cells = [cell or "nan" for cell in self.columns[column]]
        try:
            return np.array(cells, dtype=np.float64)
        except ValueError:
            self._refuse_words(column, [[cell] for cell in cells])
            raise

    def float_rows(self, column: str, rows: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the split cells of a column as float64, one array a row.

        Raises:
            DataError: If a part is not a number; the message names its line.
        """
        try:
            return [np.array(row, dtype=np.float64) for row in rows]
        except ValueError:
            self._refuse_words(column, rows)
            raise

    def _refuse_words(self, column: str, rows: Sequence[Sequence[str]]) -> None:
        for row, line in zip(rows, self.lines, strict=True):
            for part in row:
                if not _is_number(part):
                    raise DataError(
                        f"{self.path}:{line}: column {column!r} must hold numbers, received "
                        f"{part!r}. Mend the cell, or give the column another type."
                    ) from None


def _is_number(cell: str) -> bool:
    try:
        np.array([cell], dtype=np.float64)
    except ValueError:
        return False
    return True


def read_header(
    path: Path, *, separator: str = "\t", encoding: str | None = None
) -> dict[str, str]:
    """Return the columns of an atomic file and their types.

    Raises:
        DataError: If the file is missing or empty, or a cell of the header is not ``name:type``.
    """
    _require(path)
    with path.open("rb") as file:
        start = file.readline() if encoding is None else file.read()  # UTF-16 has its own newlines
    line = _decode(start, path=path, encoding=encoding, whole=False).split("\n", 1)[0]
    return _parse_header(line.removesuffix("\r"), path=path, separator=separator)


def read_atomic(
    path: Path,
    *,
    columns: Collection[str] | None = None,
    separator: str = "\t",
    encoding: str | None = None,
) -> AtomicTable:
    """Read columns of an atomic file, every row of it.

    Args:
        path: The file.
        columns: The columns to keep; None for all.
        separator: What stands between cells.
        encoding: The file's encoding; UTF-8, with or without a byte order mark, by default.

    Raises:
        DataError: If the file is missing, is not text of that encoding, lacks a column asked for,
            or has a row with more or fewer cells than its header.
    """
    _require(path)
    text = _decode(path.read_bytes(), path=path, encoding=encoding)
    rows = text.split("\n")  # not splitlines(): U+2028 and its like are text
    if "\r" in text:
        rows = [row.removesuffix("\r") for row in rows]
    types = _parse_header(rows[0], path=path, separator=separator)
    for name in columns or ():
        if name not in types:
            raise DataError(f"{path}: {unknown_name('column', name, types)}")
    lines: Sequence[int] = range(2, len(rows) + 1)
    del rows[0]
    if not all(rows):
        lines = [line for line, row in zip(lines, rows, strict=True) if row]
        rows = [row for row in rows if row]
    kept = [(at, name) for at, name in enumerate(types) if columns is None or name in columns]
    by_column: dict[str, list[str]] = {name: [] for _, name in kept}
    known: dict[str, dict[str, str]] = {name: {} for _, name in kept if types[name] == "token"}
    for begin in range(0, len(rows), BLOCK_ROWS):
        block = slice(begin, begin + BLOCK_ROWS)
        cells = [row.split(separator) for row in rows[block]]
        _refuse_ragged(cells, types=types, lines=lines[block], path=path)
        for at, name in kept:
            column = [row[at] for row in cells]
            if (names := known.get(name)) is not None:  # one string for all cells of a name
                column = [names.setdefault(cell, cell) for cell in column]
            by_column[name] += column
    return AtomicTable(path, types, by_column, lines)


def read_blocks(
    path: Path,
    *,
    columns: Collection[str],
    separator: str = "\t",
    encoding: str | None = None,
) -> Iterator[AtomicTable]:
    """Yield columns of an atomic file, some rows at a time, so that memory does not grow with it.

    Args and errors are those of :func:`read_atomic`.
    """
    types = read_header(path, separator=separator, encoding=encoding)
    for name in columns:
        if name not in types:
            raise DataError(f"{path}: {unknown_name('column', name, types)}")
    kept = [(at, name) for at, name in enumerate(types) if name in columns]
    try:
        with path.open(encoding=encoding or "utf-8-sig", newline="\n") as file:
            numbered = enumerate(file, start=1)
            next(numbered)  # the header
            while block := list(itertools.islice(numbered, BLOCK_ROWS)):
                pairs = [(line, row.removesuffix("\n").removesuffix("\r")) for line, row in block]
                pairs = [(line, row) for line, row in pairs if row]
                if any("\0" in row for _, row in pairs):
                    raise UnicodeError
                cells = [row.split(separator) for _, row in pairs]
                lines = [line for line, _ in pairs]
                if cells:
                    _refuse_ragged(cells, types=types, lines=lines, path=path)
                yield AtomicTable(path, types, {n: [c[at] for c in cells] for at, n in kept}, lines)
    except UnicodeError:
        _decode(path.read_bytes(), path=path, encoding=encoding)  # names the line
        raise


def _refuse_ragged(
    cells: list[list[str]], *, types: dict[str, str], lines: Sequence[int], path: Path
) -> None:
    width = len(types)
    if set(map(len, cells)) == {width}:
        return
    for row, line in zip(cells, lines, strict=True):
        if len(row) != width:
            raise DataError(
                f"{path}:{line}: expected {width} cells ({', '.join(types)}), received {len(row)}: "
                f"{row[:4]}. A separator inside a text must be removed: quotes do not protect it."
            )


def _require(path: Path) -> None:
    if path.is_file():
        return
    if path.parent.is_dir():
        found = sorted(one.name for one in path.parent.iterdir() if one.name[0] != ".")
        holds = f"the folder holds {', '.join(found[:10])}" if found else "the folder is empty"
    else:
        holds = "the folder does not exist"
    raise DataError(
        f"{path}: no such file; {holds}. Name another; those of a dataset lie where data_path says."
    )


def _parse_header(line: str, *, path: Path, separator: str) -> dict[str, str]:
    if not line.strip():
        raise DataError(
            f"{path}:1: the first line must be a header of name:type cells; it is empty."
        )
    types: dict[str, str] = {}
    for cell in line.split(separator):
        name, colon, kind = cell.rpartition(":")
        if not colon or not name:
            raise DataError(
                f"{path}:1: the header's cell {cell!r} must be name:type, as user_id:token."
            )
        if kind not in TYPES:
            raise DataError(f"{path}:1: column {name!r}: {unknown_name('type', kind, TYPES)}")
        if name in types:
            raise DataError(f"{path}:1: column {name!r} is named twice. Rename one of them.")
        types[name] = kind
    return types


def _decode(content: bytes, *, path: Path, encoding: str | None, whole: bool = True) -> str:
    """Return the text of a file, or name the line that is not text."""
    if encoding is None and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path}:1: the file is UTF-16. Save it as UTF-8, or set encoding: utf-16.")
    try:
        text = content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not {encoding or 'UTF-8'}. "
            "Save the file as UTF-8, or set encoding (such as latin-1)."
        ) from None
    except LookupError:
        raise DataError(
            f"{path}: unknown encoding {encoding!r}. Use a name such as utf-8."
        ) from None
    if whole and "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{line}: the line holds a NUL byte. Remove it.")
    return text


def refuse_missing_times(path: Path, lines: Sequence[int], times: np.ndarray) -> None:
    """Refuse rows of a file that have no finite time.

    Raises:
        DataError: If there are any.
    """
    missing = np.flatnonzero(~np.isfinite(times))
    if len(missing):
        raise DataError(
            f"{path}:{lines[int(missing[0])]}: {len(missing)} rows have no finite time, so that "
            "their order is unknown. Give each row a time or leave it out."
        )
