"""Item texts of an ``.item`` or Parquet file, some at a time, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_llm.atomic import BLOCK_ROWS, AtomicTable, read_blocks, read_header
from recbole_llm.errors import DataError, unknown_name
from recbole_llm.text.items import compose, text_columns

PARQUET = (".parquet", ".pq")


@dataclass(frozen=True, kw_only=True)
class ItemFile:
    """A file of items, and how its columns make a text.

    Attributes:
        path: An ``.item`` file, or a Parquet file whose columns of strings are its text.
        id_field: Column of the ids.
        text_fields: Columns that make the text; all that are text by default.
        text_template: How they make it; joined by commas by default.
        empty_text: ``id`` gives an item without text its id as text.
        separator: What stands between an ``.item`` file's cells.
        encoding: Its encoding.
    """

    path: Path
    id_field: str
    text_fields: Sequence[str] | None = None
    text_template: str | None = None
    empty_text: str = "zero"
    separator: str = "\t"
    encoding: str | None = None

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file."""
        return self.path.suffix in PARQUET

    def texts(self) -> Iterator[list[str]]:
        """Yield the texts of its rows, block by block; rows without a text have none.

        Raises:
            DataError: If the file or a column is missing, the template is not one, or a row is bad.
        """
        types = self._types()
        fields = text_columns(
            types, path=self.path, chosen=self.text_fields, template=self.text_template
        )
        for name in (self.id_field, *fields):
            if name not in types:
                raise DataError(f"{self.path}: {unknown_name('column', name, types)}")
        template = self.text_template or ", ".join(f"{{{name}}}" for name in fields)
        for table in self._blocks({self.id_field, *fields}, types):
            found = [
                compose(
                    table, row, fields=fields, template=template, is_joined=not self.text_template
                )
                for row in range(table.num_rows)
            ]
            if self.empty_text == "id":
                ids = table.columns[self.id_field]
                found = [text or item for text, item in zip(found, ids, strict=True)]
            yield [text for text in found if text]

    def _types(self) -> dict[str, str]:
        if not self.is_parquet:
            return read_header(self.path, separator=self.separator, encoding=self.encoding)
        parquet = _parquet(self.path)
        kinds = {
            field.name: "token_seq" if _is_text(field.type) else "token"
            for field in parquet.schema_arrow
        }
        return kinds | ({self.id_field: "token"} if self.id_field in kinds else {})

    def _blocks(self, columns: Collection[str], types: dict[str, str]) -> Iterator[AtomicTable]:
        if not self.is_parquet:
            yield from read_blocks(
                self.path, columns=columns, separator=self.separator, encoding=self.encoding
            )
            return
        parquet, begin = _parquet(self.path), 1
        for batch in parquet.iter_batches(batch_size=BLOCK_ROWS, columns=sorted(columns)):
            cells = {name: list(map(_cell, batch[name].to_pylist())) for name in columns}
            yield AtomicTable(self.path, types, cells, range(begin, begin + len(batch)))
            begin += len(batch)


def _parquet(path: Path) -> Any:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow. Run: pip install pyarrow") from None
    try:
        return ParquetFile(path)
    except (OSError, ArrowInvalid) as error:
        reason = next(iter(str(error).splitlines()), "no Parquet")
        raise DataError(
            f"{path}: cannot be read ({reason}). Name an .item or Parquet file."
        ) from None


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type  # a dictionary's are those of pandas' categories
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _cell(value: Any) -> str:
    """Return a value as an atomic file has it: a list as words with spaces, none as nothing."""
    if value is None:
        return ""
    return " ".join(map(_cell, value)) if isinstance(value, list) else str(value)
