"""Points of a space: one value for each setting that is drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import chain, count
from typing import Any

import numpy as np

from recbole_llm.sweep.specs import Dimension, Sweep

Point = dict[str, Any]
PATIENCE = 1000  # draws in a row that give nothing new, after which a space has no more points


def trial_id(sweep: Sweep, point: Mapping[str, Any], *, seed: int) -> str:
    """Return eight hex digits of all that decides what a trial scores."""
    names = ("model", "dataset", "metric", "protocol", "settings")
    facts = {name: getattr(sweep, name) for name in names}
    text = json.dumps({**facts, "point": point, "seed": seed}, sort_keys=True)
    return sha256(text.encode()).hexdigest()[:8]


def is_drawn(dimension: Dimension, point: Mapping[str, Any]) -> bool:
    """Tell whether the choices above a setting ask for it."""
    return all(dimension.allows(name, point.get(name)) for name in dimension.when)


def random_points(sweep: Sweep) -> Iterator[Point]:
    """Yield different points, each a function of the sweep's seed and its place, until none is new.

    Those of ``points_to_evaluate`` are the first, and shift no draw. One that was drawn before is
    passed over, and a space that gives nothing new has ended.
    """
    seen: set[str] = set()
    misses = 0
    drawn = (_draw(sweep, np.random.default_rng([sweep.seed, place])) for place in count())
    for point in chain(sweep.points_to_evaluate, drawn):
        name = trial_id(sweep, point, seed=sweep.seed)
        misses = misses + 1 if name in seen else 0
        if misses == PATIENCE:
            return
        if not misses:
            seen.add(name)
            yield point


def grid_points(sweep: Sweep) -> Iterator[Point]:
    """Yield every point of a space of choices and integers, the last setting moving fastest."""
    yield from _grid(list(sweep.space.items()), {})


def _grid(rest: list[tuple[str, Dimension]], point: Point) -> Iterator[Point]:
    if not rest:
        yield point
        return
    (name, dimension), *others = rest
    if not is_drawn(dimension, point):
        yield from _grid(others, point)
        return
    for value in dimension.values or ():
        yield from _grid(others, {**point, name: value})


def corner_points(sweep: Sweep) -> Iterator[Point]:
    """Yield points that between them hold both ends of each setting, and all of its choices."""
    for name, dimension in sweep.space.items():
        for value in dimension.ends:
            wanted = {**_needs(sweep, name), name: value}
            point: Point = {}
            for other, its in sweep.space.items():
                if is_drawn(its, point):
                    point[other] = wanted.get(other, its.ends[0])
            yield point


def _needs(sweep: Sweep, name: str) -> Point:
    """Return the choices without which a setting is not drawn."""
    needs: Point = {}
    for parent, value in sweep.space[name].when.items():
        one = value if sweep.space[parent].holds(value) else value[0]
        needs |= {**_needs(sweep, parent), parent: one}
    return needs


def _draw(sweep: Sweep, rng: np.random.Generator) -> Point:
    point: Point = {}
    for name, dimension in sweep.space.items():
        value = _value(dimension, rng)  # drawn in any case: a condition shifts no other draw
        if is_drawn(dimension, point):
            point[name] = value
    return point


def _value(dimension: Dimension, rng: np.random.Generator) -> Any:
    ends = dimension.ends
    if dimension.kind == "choice":
        return ends[int(rng.integers(len(ends)))]
    if dimension.kind == "int":
        return int(rng.integers(ends[0], ends[1], endpoint=True))
    if dimension.kind == "uniform":
        return float(rng.uniform(*ends))
    return float(np.clip(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1]))), *ends))
