"""A release as its publisher gives it: a folder, a zip or a single file, read as streams.

Nothing is extracted, so that no path inside an archive can name a place on the disk, and no line is
longer than ``MAX_LINE``, so that memory stays bounded whatever an archive says.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar, cast

from recbole_llm.errors import DataError, RequestError

MAX_LINE = 2**24
Parsed = TypeVar("Parsed")
BAD_ROW = (
    KeyError, IndexError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError,
    OverflowError,
)  # fmt: skip
BAD_STREAM = (EOFError, OSError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class Member:
    """A file of a release, unpacked as it is read.

    Attributes:
        file: The file on the disk, which may be an archive.
        inside: Its path in that archive, or None where the file is the member itself.
    """

    file: Path
    inside: str | None = None

    @property
    def place(self) -> str:
        """Return where the member is, for a message."""
        return str(self.file) if self.inside is None else f"{self.file}/{self.inside}"

    @property
    def name(self) -> str:
        """Return the member's name without folders, and without ``.gz``."""
        return Path(self.place).name.removesuffix(".gz")

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Yield the member's unpacked bytes."""
        with ExitStack() as stack:
            if self.inside is None:
                stream: Any = stack.enter_context(self.file.open("rb"))
            else:
                archive = stack.enter_context(zipfile.ZipFile(self.file))
                stream = stack.enter_context(archive.open(self.inside))
            if self.place.endswith(".gz"):
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            yield cast(BinaryIO, io.BufferedReader(stream))

    def lines(self, *, encoding: str = "utf-8-sig") -> Iterator[tuple[int, str]]:
        """Yield each line and its number.

        Raises:
            DataError: If the archive is damaged or cut, a line is not text of that encoding, or it
                is longer than ``MAX_LINE``.
        """
        number = 0
        try:
            with self.open() as stream:
                while line := stream.readline(MAX_LINE):
                    number += 1
                    if len(line) == MAX_LINE:
                        raise DataError(
                            f"{self.place}:{number}: the line has more than {MAX_LINE:,} bytes. "
                            "This is no file of rows."
                        )
                    yield number, line.decode(encoding)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.place}:{number}: byte 0x{error.object[error.start]:02x} is not {encoding}. "
                "The release may be another one, or damaged."
            ) from None
        except RuntimeError as error:  # a zip that is encrypted, or packed by another method
            raise DataError(
                f"{self.place}: cannot be read beyond line {number} ({error}). Unpack "
                f"{self.file.name} and name the folder."
            ) from None
        except BAD_STREAM as error:
            raise DataError(
                f"{self.place}: cannot be read beyond line {number} ({error}). It is damaged or "
                "was cut short: download it again."
            ) from None

    def rows(
        self, parse: Callable[[str], Parsed], *, encoding: str = "utf-8-sig"
    ) -> Iterator[Parsed]:
        """Yield what a parser makes of each line that is not blank.

        Raises:
            DataError: If the parser cannot make anything of a line; the message names it.
        """
        for number, line in self.lines(encoding=encoding):
            if not line.strip():
                continue
            try:
                row = parse(line.rstrip("\r\n"))
            except BAD_ROW as error:
                self._refuse(number, error, received=line)
            yield row

    def records(
        self, parse: Callable[[Mapping[str, str]], Parsed], *, columns: tuple[str, ...]
    ) -> Iterator[Parsed]:
        """Yield what a parser makes of each record of a CSV file with a header.

        Args:
            parse: Maps a record, column to cell, to a row.
            columns: The columns that the header must have.

        Raises:
            DataError: If the header lacks a column, or a record is not one; the message names the
                line where it begins.
        """
        reader = csv.DictReader((line for _, line in self.lines()), strict=True)
        try:
            header = reader.fieldnames or ()
        except csv.Error as error:
            self._refuse(1, error, received="")
        if any(name not in header for name in columns):
            raise DataError(
                f"{self.place}:1: the header must have the columns {', '.join(columns)}; received "
                f"{', '.join(header) or 'an empty file'}."
            )
        while True:
            begin, record = reader.line_num + 1, None
            try:
                record = next(reader)
                if None in record or None in record.values():
                    raise ValueError(f"expected {len(header)} cells")
                row = parse(record)
            except StopIteration:
                return
            except (*BAD_ROW, csv.Error) as error:
                self._refuse(begin, error, received=str(record or ""))
            yield row

    def _refuse(self, number: int, error: Exception, *, received: str) -> NoReturn:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{self.place}:{number}: is no row of this dataset: {why or type(error).__name__}. "
            f"Received {received[:80]!r}. The release may be another one, or damaged."
        ) from None


class Release:
    """The files of a release.

    Args:
        place: A folder, whose zip archives are looked into; a zip; or a single file.

    Raises:
        RequestError: If there is no such place.
        DataError: If a zip is not one.
    """

    def __init__(self, place: Path) -> None:
        if not place.exists():
            raise RequestError(f"--from: {place} does not exist. Name a folder or an archive.")
        self.place = place
        files = [place]
        if place.is_dir():
            files = sorted(path for path in (*place.glob("*"), *place.glob("*/*")))
        self.members = [
            member
            for file in files
            if file.is_file()
            for member in _members(file)
            if not member.name.startswith(".") and "__MACOSX" not in member.place
        ]

    def has(self, name: str) -> bool:
        """Tell whether the release has a file of that name, packed or not."""
        return any(member.name == name for member in self.members)

    def find(self, name: str) -> Member:
        """Return the one file of that name.

        Raises:
            DataError: If there is none, or more than one.
        """
        found = self.find_all(name)
        self.require_one(name, found)
        return found[0]

    def require_one(self, name: str, found: Sequence[Member]) -> None:
        """Refuse more than one file of a name where one is read.

        Raises:
            DataError: If there are more.
        """
        if len(found) > 1:
            places = ", ".join(member.place for member in found)
            raise DataError(f"{self.place}: holds more than one {name}: {places}. Name one place.")

    def find_all(self, name: str) -> list[Member]:
        """Return all files of that name, at least one.

        Raises:
            DataError: If there is none.
        """
        found = [member for member in self.members if member.name == name]
        if not found:
            held = ", ".join(member.name for member in self.members[:10]) or "nothing"
            raise DataError(
                f"{self.place}: holds no {name} (nor {name}.gz); it holds {held}. Name the folder "
                "or the archive of the release."
            )
        return found


def _members(file: Path) -> Iterator[Member]:
    if file.suffix.lower() != ".zip":
        yield Member(file)
        return
    try:
        with zipfile.ZipFile(file) as archive:
            inside = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (NotImplementedError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file}: cannot be read ({error}). Unpack it and name the folder."
        ) from None
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"{file}: is no zip archive, or was cut short ({error}). Download it again."
        ) from None
    yield from (Member(file, name) for name in inside)


def record_of(line: str) -> dict[str, Any]:
    """Return the record of a line: JSON, or a Python literal, which is parsed and never run."""
    try:
        record = json.loads(line)
    except ValueError:
        record = ast.literal_eval(line)
    if not isinstance(record, dict):
        raise ValueError(f"it is a {type(record).__name__}, not a record")
    return record


def number(value: Any) -> str:
    """Return a finite number as it was written."""
    if not math.isfinite(float(value)):
        raise ValueError(f"{value!r} is no finite number")
    return str(value).strip()


def identifier(value: Any) -> str:
    """Return an id as it was written; nothing where there is none."""
    return "" if value is None else _joined(str(value))


def text(value: Any) -> str:
    """Return a text with single spaces; nothing where there is none."""
    return _joined(" ".join(str(value).split())) if value else ""


def labels(values: Any) -> str:
    """Return labels as a token sequence: a label's words are joined by hyphens."""
    return _joined(" ".join("-".join(str(value).split()) for value in values or ()))


def _joined(value: str) -> str:
    """Return a text with its halves of characters joined; one that is alone becomes U+FFFD."""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
