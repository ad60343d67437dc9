"""Groups of users that a dataset tells of, as gender, age and occupation."""

from __future__ import annotations

import math
from pathlib import Path

from recbole_llm.atomic import AtomicTable, read_atomic

MOST_VALUES = 50  # a column of more is no set of groups: zip codes, names


def user_columns(
    path: Path, *, id_field: str, separator: str = "\t", encoding: str | None = None
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, float]]]:
    """Return what a ``.user`` file says of each user, by column.

    Args:
        path: The file; there is nothing to say where it is absent.
        id_field: Column of the raw user ids.
        separator: What stands between cells.
        encoding: The file's encoding, UTF-8 by default.

    Returns:
        The groups by user of each token column with 2 to ``MOST_VALUES`` values, and the ages by
        user where a column ``age`` is no such column and holds numbers.

    Raises:
        DataError: If the file cannot be read.
    """
    groups: dict[str, dict[str, str]] = {}
    ages: dict[str, dict[str, float]] = {}
    if not path.is_file():
        return groups, ages
    table = read_atomic(path, separator=separator, encoding=encoding)
    for name, kind in table.types.items():
        if name == id_field or id_field not in table.types:
            continue
        cells = _first_cells(table, name, id_field=id_field)
        number = len(set(cells.values()))
        if kind == "token" and 2 <= number <= MOST_VALUES:
            groups[name] = cells
        elif name == "age" and (numbers := _numbers(cells)):
            ages[name] = numbers
    return groups, ages


def _first_cells(table: AtomicTable, name: str, *, id_field: str) -> dict[str, str]:
    """Return each user's cell that is not empty; of a repeated id the first row counts."""
    cells: dict[str, str] = {}
    for user, cell in zip(table.columns[id_field], table.columns[name], strict=True):
        cells.setdefault(user, cell)
    return {user: cell for user, cell in cells.items() if cell}


def _numbers(cells: dict[str, str]) -> dict[str, float]:
    """Return the cells as numbers, or nothing if one is none."""
    try:
        numbers = {user: float(cell) for user, cell in cells.items()}
    except ValueError:
        return {}
    return numbers if all(0 <= one < math.inf for one in numbers.values()) else {}
