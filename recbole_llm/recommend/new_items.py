"""Items that a run has not seen, from an ``.item`` file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_llm.atomic import read_atomic
from recbole_llm.data.columns import require_ids
from recbole_llm.errors import DataError
from recbole_llm.recommend.catalogue import TextTreatment
from recbole_llm.settings import Settings
from recbole_llm.text.items import read_item_texts

logger = logging.getLogger(__name__)
PADDING = "[PAD]"  # the name of row 0 in RecBole's catalogues


@dataclass(frozen=True)
class NewItems:
    """Items that a run has not seen.

    Attributes:
        ids: Raw item ids.
        texts: What the encoder reads of each, made as the run makes texts.
        titles: What a reader sees of each.
    """

    ids: list[str]
    texts: list[str]
    titles: list[str]


def read_new_items(
    path: Path, *, known: Collection[str], config: Mapping[str, Any], treatment: TextTreatment
) -> NewItems:
    """Read the items of a file that a run does not know; those that it knows stay as they are.

    Args:
        path: An ``.item`` file with the columns of the run's own.
        known: Raw ids of the run's items.
        config: The run's settings.
        treatment: What the run made its texts of.

    Raises:
        DataError: If the file or a column is missing, or a new item has no id or no text.
    """
    settings = Settings.from_config(config)
    field, separator = config["ITEM_ID_FIELD"], config["field_separator"]
    encoding = config.get("encoding")  # a setting that is unset is not in a file of settings
    table = read_atomic(path, columns=[field], separator=separator, encoding=encoding)
    require_ids(table, field)
    found = list(dict.fromkeys(table.columns[field]))
    if PADDING in found:
        raise DataError(f"{path}: {PADDING!r} is RecBole's padding. Give the item another id.")
    ids = [item for item in found if item not in known]
    if len(ids) < len(found):
        logger.warning(
            "%s: %d of %d items are the run's own and stay as they are.",
            path,
            len(found) - len(ids),
            len(found),
        )
    if not ids:
        raise DataError(f"{path}: holds no new item. Name a file of items that the run lacks.")
    texts = read_item_texts(
        path,
        catalogue=ids,
        id_field=field,
        text_fields=treatment.columns,
        text_template=settings.text_template,
        empty_text=settings.empty_text,
        separator=separator,
        encoding=encoding,
    ).texts
    without = [item for item, text in zip(ids, texts, strict=True) if text is None]
    if without:
        raise DataError(
            f"{path}: {len(without)} new items have no text: "
            f"{', '.join(map(repr, without[:5]))}. Give them one, or leave them out."
        )
    whole = [text for text in texts if text is not None]
    titles = read_item_texts(
        path,
        catalogue=ids,
        id_field=field,
        text_fields=[treatment.title_column],
        separator=separator,
        encoding=encoding,
    ).texts
    named = [title or text for title, text in zip(titles, whole, strict=True)]
    return NewItems(ids, whole, named)
