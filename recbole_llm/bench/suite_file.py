"""Reading a suite's YAML, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recbole_llm.bench.suite import (
    LONGEST,
    Claim,
    EncoderRow,
    Head,
    ModelRow,
    SourceRow,
    Suite,
)
from recbole_llm.errors import unknown_name
from recbole_llm.parsing import load_yaml
from recbole_llm.validation import problem_lines


def read_suite(path: Path) -> tuple[Suite | None, list[str]]:
    """Read a suite.

    Returns:
        The suite without its wrong parts, or None if nothing is left of it; what is wrong.

    Raises:
        RequestError: If the file cannot be read as YAML.
    """
    content = load_yaml(path)
    problems: list[str] = []
    for _ in range(2):
        try:
            suite = Suite.model_validate(content)
            problems += _name_problems(suite)
            return (suite if suite.rows else None), problems
        except ValidationError as error:
            known = {"": Suite.model_fields, "models.*": ModelRow.model_fields}
            known |= {"heads.*": Head.model_fields, "encoders.*": EncoderRow.model_fields}
            known["sources.*"] = SourceRow.model_fields
            known["claim"] = Claim.model_fields
            problems += problem_lines(error, known=known)
            for problem in error.errors():
                _drop(content, problem["loc"], is_missing=problem["type"] == "missing")
    return None, problems


def _drop(content: Any, place: tuple[Any, ...], *, is_missing: bool) -> None:
    """Take a wrong part out; what lacks a part goes whole, and so does a claim."""
    steps = [step for step in place if step != "[key]"][: -1 if is_missing else None]
    steps = steps[:1] if steps[:1] == ["claim"] else steps
    for step in steps:
        inner = content.get(step)
        if step == steps[-1] or not isinstance(inner, dict):
            content.pop(step, None)
            return
        content = inner


def _name_problems(suite: Suite) -> list[str]:
    """Return which names of datasets and rows the suite does not have."""
    problems = _row_problems(suite) + _claim_problems(suite) + _rerank_problems(suite)
    for label, row in suite.models.items():
        problems += [
            f"models.{label}.rulers: {unknown_name('ruler of the suite', name, suite.rulers)}"
            for name in row.rulers or ()
            if name not in suite.rulers
        ]
        if row.init_from is not None and row.init_from not in suite.sources:
            known = unknown_name("source of the suite", row.init_from, suite.sources)
            problems.append(f"models.{label}.init_from: {known}")
        named = {"datasets": row.datasets or (), "settings_on": row.settings_on, "skip": row.skip}
        named |= {"best": row.best if isinstance(row.best, dict) else ()}
        for key, names in named.items():
            problems += _dataset_problems(suite, names, place=f"models.{label}.{key}")
    for name, head in suite.heads.items():
        place = f"heads.{name}.settings_on"
        problems += _dataset_problems(suite, head.settings_on, place=place)
    return problems


def _dataset_problems(suite: Suite, names: Iterable[str], *, place: str) -> list[str]:
    return [
        f"{place}: {unknown_name('dataset of the suite', name, suite.datasets)}"
        for name in names
        if name not in suite.datasets
    ]


def _row_problems(suite: Suite) -> list[str]:
    """Return what is wrong with heads and encoders together, and which rows have one label."""
    if not (suite.heads or suite.encoders or suite.models):
        return ["models: must hold a row, or heads and encoders must make rows."]
    if not suite.heads or not suite.encoders:
        one, other = ("heads", "encoders") if suite.heads else ("encoders", "heads")
        words = f"{one}: make rows with {other}, of which there are none. Write {other}, or a row "
        return [words + "in models."] * bool(suite.heads or suite.encoders)
    counts = Counter([*(label for label, _ in suite.crossed), *suite.models])
    return [
        f"heads, encoders: two rows would be called {label!r}. Change a label."
        for label, count in counts.items()
        if count > 1
    ] + [
        f"heads, encoders: a row would be called {label!r}, {len(label)} characters of at most "
        f"{LONGEST}. Shorten a label."
        for label, _ in suite.crossed
        if len(label) > LONGEST
    ]


def _claim_problems(suite: Suite) -> list[str]:
    if suite.claim is None:
        return []
    row, against = suite.claim.row, suite.claim.against
    named = {"row": [row], "against": against}
    return [f"claim.against: must not hold {row!r}, the row itself."] * (row in against) + [
        f"claim.{key}: {unknown_name('row of the suite', name, suite.rows)}"
        for key, names in named.items()
        for name in names
        if name not in suite.rows
    ]


def _rerank_problems(suite: Suite) -> list[str]:
    """Return which rows cannot re-rank the row that they name, for it has no such runs before."""
    problems: list[str] = []
    above: dict[str, ModelRow] = {}
    for label, row in suite.rows.items():
        place, base = f"models.{label}.rerank", above.get(row.rerank or "")
        if row.rerank is None:
            problems += [f"models.{label}.top: is for a row with rerank."] if row.top else []
            above[label] = row
        elif base is None:
            problems.append(f"{place}: {unknown_name('row above it', row.rerank, above)}")
        else:
            its = base.seeds or suite.seeds
            if row.seeds is not None and row.seeds != its[: len(row.seeds)]:
                problems.append(
                    f"{place}: {row.rerank} has the seeds {its}; use the first of them."
                )
            if not set(row.rulers or suite.rulers) <= set(base.rulers or suite.rulers):
                problems.append(
                    f"{place}: {row.rerank} has the rulers {base.rulers}; use no others."
                )
            its_data = set(base.datasets or suite.datasets) - base.skip.keys()
            problems += [
                f"{place}: {row.rerank} has no run on {name}. Leave it out of datasets, or skip it."
                for name in row.datasets or suite.datasets
                if name not in its_data and name not in row.skip
            ]
    return problems
