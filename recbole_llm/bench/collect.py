"""From a folder of records to boards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_llm.bench.boards import Absence, Board, Boards, Row
from recbole_llm.bench.claims import Claim, examine
from recbole_llm.bench.metrics import accuracy_columns
from recbole_llm.bench.results import (
    SUITE,
    Record,
    read_failures,
    read_plan,
    read_records,
    record_path,
)
from recbole_llm.bench.rulers import Ruler, differences, fingerprint, ruler_of, shown
from recbole_llm.bench.scores import scores_of, with_items_alike, with_lists_alike
from recbole_llm.bench.speeds import read_speeds, side_by_side
from recbole_llm.bench.stats import UserScores, compare_with_reference
from recbole_llm.errors import RequestError, all_problems, unknown_name
from recbole_llm.ranking_metrics import RANK_METRICS

Wanted = Sequence[Mapping[str, Any]]
"""Runs as a suite's plan names them, in its order."""


def read_boards(folder: Path, *, reference: str | None = None) -> Boards:
    """Read the boards of a folder of results.

    Args:
        folder: Where a suite's records are.
        reference: The label to compare others with; by default the model with the best mean
            validation metric, so that no test chooses its own reference.

    Raises:
        RequestError: If there are no results, or those of several suites, or a file is damaged,
            foreign or twofold.
    """
    below = sorted(file.parent for file in folder.glob(f"*/{SUITE}"))
    if below and not (folder / SUITE).exists():
        named = ", ".join(map(str, below))
        raise RequestError(f"{folder}: holds the results of several suites. Name one of {named}.")
    records, problems = read_records(folder)
    failures, more = read_failures(folder)
    if problems + more:
        raise RequestError(all_problems(str(folder), problems + more))
    errors = {_path(one): one.facts["error"] for one in failures}
    records = [one for one in records if _path(one) not in errors]  # run again, and failed
    plan = read_plan(folder)
    wanted = plan["runs"] if plan else [_run(one) for one in (*records, *failures)]
    by_path = {run["path"]: run for run in wanted}
    records = [_as_named(one, by_path.get(_path(one))) for one in records]
    if not wanted:
        raise RequestError(f"{folder}: holds no results. Run recbole-llm bench, or name another.")
    labels = {record.facts["label"] for record in records}
    if reference is not None and reference not in labels:
        raise RequestError(f"{folder}: {unknown_name('label', reference, labels)}")
    speeds = read_speeds(folder)
    boards = _all_boards(
        wanted,
        [side_by_side(record, speeds) for record in records if _path(record) in by_path],
        errors=errors,
        metric=plan["metric"].lower() if plan else None,
        claim=plan.get("claim") if plan else None,
        reference=reference,
    )
    suite, about = (plan["suite"], plan["about"]) if plan else (folder.resolve().name, "")
    left_out = [path for path in map(_path, records) if path not in by_path]
    return Boards(suite, about, boards, left_out)


def _path(record: Record) -> str:
    """Return where a record, or that of a failed run, belongs, as a suite's plan says it."""
    return record_path(record.facts["label"], record.facts["spec"])


def _run(record: Record) -> dict[str, Any]:
    """Return a record, or a failure, as a suite's plan would name it."""
    facts, spec = record.facts, record.facts["spec"]
    named = {"label": facts["label"], "role": facts["role"], "path": _path(record), "skip": None}
    place = {"dataset": spec["dataset"], "seed": spec["seed"], "ruler": facts.get("ruler")}
    return named | place


def _as_named(record: Record, run: Mapping[str, Any] | None) -> Record:
    """Return a record under the names of its run in the plan, which may have changed since.

    Its path holds neither the ruler's name nor what a label has beside letters and digits.
    """
    if run is None:
        return record
    named = {key: run.get(key) for key in ("label", "role", "ruler")}
    return replace(record, facts={**record.facts, **named})


class _Part(NamedTuple):
    """What one board is made of; ``called`` is the suite's name of the ruler, if it has one."""

    dataset: str
    called: str | None
    ruler: Ruler
    rows: Sequence[Row]


def _all_boards(
    wanted: Wanted,
    records: Sequence[Record],
    *,
    errors: Mapping[str, Mapping[str, str]],
    metric: str | None,
    claim: Mapping[str, Any] | None,
    reference: str | None,
) -> list[Board]:
    """Return the boards, in the suite's order of datasets and rulers."""
    places = dict.fromkeys((run["dataset"], run.get("ruler")) for run in wanted)
    parts = [
        part
        for place in places
        for part in _parts(
            *place,
            [run for run in wanted if (run["dataset"], run.get("ruler")) == place],
            [one for one in records if (one.facts["dataset"], one.facts.get("ruler")) == place],
            errors=errors,
        )
    ]
    boards = [
        _board(part, parts, metric=metric, claim=claim, reference=reference) for part in parts
    ]
    return list(_distinct(boards))


def _distinct(boards: Iterable[Board]) -> Iterator[Board]:
    """Yield boards under names of their own: ``a-b``, ``c`` and ``a``, ``b-c`` are one name."""
    names: set[str] = set()
    for board in boards:
        numbered = (f"{board.name}-{number}" for number in count(2))
        name = next(name for name in chain([board.name], numbered) if name not in names)
        names.add(name)
        yield replace(board, name=name)


def _parts(
    dataset: str,
    called: str | None,
    wanted: Wanted,
    records: Sequence[Record],
    *,
    errors: Mapping[str, Mapping[str, str]],
) -> list[_Part]:
    """Return records apart by what they say of their ruler, those of most records first."""
    by_ruler: dict[str, list[Record]] = {}
    for record in records:
        by_ruler.setdefault(fingerprint(ruler_of(record.facts)), []).append(record)
    groups = sorted(by_ruler.values(), key=len, reverse=True) or [[]]
    rows = [_rows(wanted, group) for group in groups]
    _place_absences(wanted, rows, errors=errors)
    return [
        _Part(dataset, called, ruler_of(group[0].facts) if group else {}, part)
        for group, part in zip(groups, rows, strict=True)
    ]


def _rows(wanted: Wanted, records: Iterable[Record]) -> list[Row]:
    """Return the rows that have records, in the suite's order."""
    rows = {run["label"]: Row(run["label"], run["role"]) for run in wanted}
    for record in sorted(records, key=lambda one: one.facts["seed"]):
        rows[record.facts["label"]].runs.append(record)
    return [row for row in rows.values() if row.runs]


def _place_absences(
    wanted: Wanted, boards: Sequence[list[Row]], *, errors: Mapping[str, Mapping[str, str]]
) -> None:
    """Add each run that is not there to the first board that has its label, else to the first."""
    rows = [row for board in boards for row in board]
    present = {_path(run) for row in rows for run in row.runs}
    by_label = {row.label: row for row in reversed(rows)}
    for run in wanted:
        if run["path"] in present:
            continue
        if run["label"] not in by_label:
            by_label[run["label"]] = Row(run["label"], run["role"])
            boards[0].append(by_label[run["label"]])
        absence = _absence(run, errors.get(run["path"]))
        by_label[run["label"]].absences.append(absence)


def _absence(run: Mapping[str, Any], error: Mapping[str, str] | None) -> Absence:
    if run["skip"] is not None:
        return Absence(run["seed"], "skipped", run["skip"])
    if error is not None:
        return Absence(run["seed"], "failed", f"{error['type']}: {error['message']}")
    return Absence(run["seed"], "missing", "not run yet")


def _board(
    part: _Part,
    parts: Sequence[_Part],
    *,
    metric: str | None,
    claim: Mapping[str, Any] | None,
    reference: str | None,
) -> Board:
    measured = [row for row in part.rows if row.runs]
    metrics, main = _columns(part.dataset, measured, metric=metric)
    measured = [with_lists_alike(with_items_alike(row, metrics)) for row in measured]
    best_first = sorted(measured, key=lambda row: _low(row.mean("test_result", main)))
    label = _reference(measured, main, asked=reference)
    scores = {row.label: scores_of(row, metrics, main=main) for row in best_first}
    others = [one for one in parts if one.dataset == part.dataset and one.ruler]
    alike = [one.ruler for one in others if one.called == part.called]
    own = differences(part.ruler, alike)
    digits = fingerprint(part.ruler) if part.ruler else ""
    called = [part.dataset, *([part.called] if part.called else ())]
    return Board(
        name="-".join([*called, digits] if own else called),
        title=", ".join([*called, *(f"{key} {shown(own[key])}" for key in own)]),
        dataset=part.dataset,
        fingerprint=digits,
        ruler=part.ruler,
        differs=differences(part.ruler, [one.ruler for one in others]),
        metric=main,
        metrics=metrics,
        rows=[*best_first, *(row for row in part.rows if not row.runs)],
        reference=label,
        comparisons={} if label is None else compare_with_reference(label, scores, metrics),
        claim=_examined(claim, part.rows, scores, metric=main),
    )


def _examined(
    claim: Mapping[str, Any] | None,
    rows: Sequence[Row],
    scores: Mapping[str, UserScores],
    *,
    metric: str,
) -> Claim | None:
    """Test what a suite claims, as far as the rows of a board are in it."""
    labels = [row.label for row in rows]
    against = [label for label in claim["against"] if label in labels] if claim else []
    if claim is None or not against or claim["row"] not in labels:
        return None
    return examine(claim["row"], against, scores, metric=metric)


def _low(value: float | None) -> float:
    """Return what sorts high values first and none last."""
    return np.inf if value is None else -value


def _columns(dataset: str, rows: Sequence[Row], *, metric: str | None) -> tuple[list[str], str]:
    """Return the columns of accuracy, and the one among them that sorts the table."""
    runs = [run.facts for row in rows for run in row.runs]
    found = {name for run in runs for name in run["test_result"]}
    ranked = {name for name in found if name.partition("@")[0] in RANK_METRICS}
    if metric is None:
        metric = str(runs[0]["settings"].get("valid_metric")).lower() if runs else "ndcg@10"
    if runs and metric not in ranked:
        raise RequestError(f"{dataset}: {unknown_name('metric', metric, ranked)}")
    columns = accuracy_columns(ranked)
    return (columns if metric in columns else [metric, *columns]), metric


def _reference(rows: Sequence[Row], metric: str, *, asked: str | None) -> str | None:
    """Return the label to compare with: the one asked for, or the best model on validation."""
    if any(row.label == asked for row in rows):
        return asked
    models = [row for row in rows if row.role == "model"] or rows
    best = min(models, key=lambda row: _low(row.mean("best_valid_result", metric)), default=None)
    return None if best is None else best.label
