"""Prepared data, one for each combination of the settings that shape it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

from recbole_llm.sweep.selection import SelectionData, shapes_data
from recbole_llm.sweep.specs import Dimension, Sweep
from recbole_llm.sweep.trial import Task


def variant_of(point: Mapping[str, Any]) -> str:
    """Return the name of the data that a point wants."""
    return json.dumps({key: point[key] for key in sorted(point) if shapes_data(key)})


def variant_points(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield every combination of the settings of a space that shape the data.

    One that hangs on a choice above it may also be absent.
    """
    shaping = {name: its for name, its in sweep.space.items() if shapes_data(name)}
    options = [
        [*((name, value) for value in its.values or ()), *([None] if its.when else [])]
        for name, its in shaping.items()
    ]
    for combination in product(*options):
        point = dict(pair for pair in combination if pair is not None)
        if all(_can_be(its, point, shaping) for name, its in shaping.items() if name in point):
            yield point


def _can_be(
    dimension: Dimension, point: Mapping[str, Any], shaping: Mapping[str, Dimension]
) -> bool:
    """Tell whether the choices above a setting allow it, as far as they are in the point."""
    return all(
        dimension.allows(name, point.get(name)) for name in dimension.when if name in shaping
    )


def prepare_all(
    sweep: Sweep, task: Task, *, say: Callable[[str], None]
) -> dict[str, SelectionData]:
    """Read, split and encode the data once for each variant.

    Raises:
        RequestError: If the data, or a setting about it, is wrong.
    """
    prepared = {}
    for point in variant_points(sweep):
        config = task.config(point, seed=sweep.seed, run_dir=None)
        prepared[variant_of(point)] = SelectionData.prepare(config)
        say(f"prepared {sweep.dataset}" + (f" for {json.dumps(point)}" if point else ""))
    return prepared
