"""Item texts from an ``.item`` file, aligned with a catalogue by raw item id."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recbole_llm.atomic import AtomicTable, read_atomic, read_header
from recbole_llm.errors import DataError, unknown_name


@dataclass(frozen=True)
class CoverageReport:
    """How a catalogue and its text file met, in counts.

    Attributes:
        items: Items of the catalogue.
        matched: Items with a row in the file.
        missing: Items without a row.
        empty: Items whose row holds no text.
        duplicate_ids: Rows whose id an earlier row had; the first row counts.
        duplicate_texts: Items whose text another item has as well, beyond the first of each.
        unused: Rows of items that are not in the catalogue.
    """

    items: int
    matched: int
    missing: int
    empty: int
    duplicate_ids: int
    duplicate_texts: int
    unused: int

    def summary(self) -> str:
        """Return the counts as a line for the log."""
        return (
            f"{self.matched} of {self.items} items have a row ({self.missing} missing), "
            f"{self.empty} are empty, {self.duplicate_texts} repeat another's text, "
            f"{self.duplicate_ids} rows repeat an id, {self.unused} rows are of no item here"
        )


@dataclass(frozen=True)
class ItemTexts:
    """Texts aligned with a catalogue; None where an item has none.

    Attributes:
        texts: One entry an item of the catalogue.
        report: How the two met.
    """

    texts: list[str | None]
    report: CoverageReport


def read_item_texts(
    path: Path,
    *,
    catalogue: Sequence[str],
    id_field: str = "item_id",
    text_fields: Sequence[str] | None = None,
    text_template: str | None = None,
    empty_text: str = "zero",
    min_coverage: float = 0.0,
    separator: str = "\t",
    encoding: str | None = None,
) -> ItemTexts:
    """Read the text of each item of a catalogue.

    Args:
        path: The ``.item`` file.
        catalogue: Raw item ids, in the order wanted.
        id_field: Column of the ids.
        text_fields: Columns that make the text, in order; all ``token_seq`` ones by default.
        text_template: How they make it, as ``{title} ({year})``; joined by commas by default.
        empty_text: What an item without text has: no text (``zero``), its id (``id``), or it is an
            ``error``.
        min_coverage: Share of the catalogue that must have a text of its own.
        separator: What stands between cells.
        encoding: The file's encoding, UTF-8 by default.

    Raises:
        DataError: If the file or a column is missing, the template is not one, no id matches, or
            the texts do not cover what they must.
    """
    types = read_header(path, separator=separator, encoding=encoding)
    fields = text_columns(types, path=path, chosen=text_fields, template=text_template)
    for name in (id_field, *fields):
        if name not in types:
            raise DataError(f"{path}: {unknown_name('column', name, types)}")
    table = read_atomic(path, columns={id_field, *fields}, separator=separator, encoding=encoding)
    rows, duplicate_ids = _first_rows(table.columns[id_field])
    template = text_template or ", ".join(f"{{{name}}}" for name in fields)
    texts = [
        compose(table, rows[item], fields=fields, template=template, is_joined=not text_template)
        if item in rows
        else None
        for item in catalogue
    ]
    report = _report(catalogue, rows, texts, num_rows=table.num_rows, duplicate_ids=duplicate_ids)
    _require_coverage(path, catalogue, texts, report, policy=empty_text, least=min_coverage)
    if empty_text == "id":
        texts = [text or item for text, item in zip(texts, catalogue, strict=True)]
    return ItemTexts(texts=[text or None for text in texts], report=report)


def text_columns(
    types: dict[str, str], *, path: Path, chosen: Sequence[str] | None, template: str | None
) -> list[str]:
    """Return the columns that make a text; args are those of :func:`read_item_texts`.

    Raises:
        DataError: If none does, or the template is not one.
    """
    if template is not None:
        return _template_fields(template)
    if chosen:
        return list(chosen)
    fields = [name for name, kind in types.items() if kind == "token_seq"]
    if not fields:
        raise DataError(
            f"{path}: no column is typed token_seq, so that none is known to be text. Set "
            f"text_fields to some of: {', '.join(types)}."
        )
    return fields


def _template_fields(template: str) -> list[str]:
    """Return the columns a template names; it may name plain columns only."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DataError(
            f"text_template {template!r}: {error}. Write columns as {{title}}."
        ) from None
    fields = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if form or conversion or not name or set(name) & set(".[]"):
            raise DataError(
                f"text_template {template!r}: a place must be a plain column as {{title}}, "
                f"received {{{name}}}. Double a brace that is text."
            )
        fields.append(name)
    if not fields:
        raise DataError(f"text_template {template!r}: names no column. Write columns as {{title}}.")
    return fields


def _first_rows(ids: Sequence[str]) -> tuple[dict[str, int], int]:
    """Return the first row of each id, and how many rows repeat one."""
    rows: dict[str, int] = {}
    for row, item in enumerate(ids):
        rows.setdefault(item, row)
    return rows, len(ids) - len(rows)


def compose(
    table: AtomicTable, row: int, *, fields: Sequence[str], template: str, is_joined: bool
) -> str:
    """Return a row's text with single spaces, or nothing where all its fields are empty.

    Args:
        table: Columns, ``fields`` among them.
        row: Which row.
        fields: Columns that make the text.
        template: How they make it.
        is_joined: Whether they are joined by commas instead, without the empty ones.
    """
    cells = {name: " ".join(table.columns[name][row].split()) for name in fields}
    if not any(cells.values()):
        return ""
    if is_joined:
        return ", ".join(cells[name] for name in fields if cells[name])
    return " ".join(template.format_map(cells).split())


def _report(
    catalogue: Sequence[str],
    rows: dict[str, int],
    texts: Sequence[str | None],
    *,
    num_rows: int,
    duplicate_ids: int,
) -> CoverageReport:
    present = [text for text in texts if text]
    matched = sum(text is not None for text in texts)
    return CoverageReport(
        items=len(catalogue),
        matched=matched,
        missing=len(catalogue) - matched,
        empty=matched - len(present),
        duplicate_ids=duplicate_ids,
        duplicate_texts=len(present) - len(set(present)),
        unused=num_rows - duplicate_ids - matched,
    )


def _require_coverage(
    path: Path,
    catalogue: Sequence[str],
    texts: Sequence[str | None],
    report: CoverageReport,
    *,
    policy: str,
    least: float,
) -> None:
    if report.matched == 0 and catalogue:
        raise DataError(
            f"{path}: not one of {report.items} items of the interactions has a row. Ids are "
            f"compared letter by letter: '1' is not '001', ' 1' or '1.0'. First item: "
            f"{catalogue[0]!r}."
        )
    without = [item for item, text in zip(catalogue, texts, strict=True) if not text]
    coverage = 1 - len(without) / max(report.items, 1)
    if policy == "error" and without:
        raise DataError(
            f"{path}: {len(without)} items have no text and empty_text is 'error': "
            f"{', '.join(map(repr, without[:5]))}. Give them one, or set empty_text: zero."
        )
    if coverage < least:
        raise DataError(
            f"{path}: {coverage:.1%} of {report.items} items have a text, min_text_coverage asks "
            f"for {least:.1%}. {report.summary()}."
        )
