"""What the files of a dataset must hold: columns that settings name, their types, and ids."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from recbole_llm.atomic import AtomicTable
from recbole_llm.errors import DataError, unknown_name

OF_COLUMNS = ("val_interval", "normalize_field")  # settings that name columns


def require_columns(path: Path, wanted: Set[str], types: Mapping[str, str]) -> None:
    """Refuse columns that are to be loaded, or left out, and that a file does not have.

    Raises:
        DataError: If there is such a column.
    """
    for name in sorted(wanted - types.keys()):
        raise DataError(
            f"{path}: {unknown_name('column', name, types)} Mend load_col or unload_col; TIME_FIELD"
            ", USER_ID_FIELD and ITEM_ID_FIELD are the names of yours."
        )


def require_types(path: Path, types: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuse columns of another type than RecBole needs.

    Raises:
        DataError: If there is such a column.
    """
    for name, kind in wanted.items():
        if types.get(name, kind) != kind:
            raise DataError(
                f"{path}:1: column {name!r} must be {kind}, received {types[name]}. Mend the "
                "header, or set USER_ID_FIELD, ITEM_ID_FIELD or TIME_FIELD to another column."
            )


def require_ids(table: AtomicTable, name: str) -> None:
    """Refuse rows without an id; of those RecBole drops others.

    Raises:
        DataError: If there are any.
    """
    lines = [line for line, id_ in zip(table.lines, table.columns[name], strict=True) if not id_]
    if lines:
        raise DataError(
            f"{table.path}:{lines[0]}: {len(lines)} rows have no {name}. Give each row one, or "
            "leave it out."
        )


def require_loaded(dataset: Any) -> None:
    """Refuse settings of columns that no file of a RecBole dataset has given.

    Raises:
        DataError: If there is such a setting.
    """
    for setting in OF_COLUMNS:
        for name in dataset.config[setting] or ():
            if name not in dataset.field2type:
                raise DataError(
                    f"{setting}: {unknown_name('column', name, dataset.field2type)} It must be one "
                    "that is loaded: add it to load_col."
                )
    order, time = dataset.config["eval_args"]["order"], dataset.time_field
    if order == "TO" and not dataset.benchmark_filename_list and time not in dataset.inter_feat:
        raise DataError(
            f"{dataset.dataset_path}: the order of time needs the column {time!r} (TIME_FIELD) of "
            f"{dataset.dataset_name}.inter. Add it to load_col, or set eval_args.order to RO."
        )
