"""What the page knows of a board, as JSON can hold it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from recbole_llm.bench.boards import Board, Row, value_at
from recbole_llm.bench.cells import p_text, slice_label
from recbole_llm.bench.claim_grids import HEADS, claim_notes, part_label
from recbole_llm.bench.claims import CLAIMED, Claim, Finding
from recbole_llm.bench.grids import absences, gap_texts, notes, num_cases, protocol
from recbole_llm.bench.metrics import metric
from recbole_llm.bench.results import Record
from recbole_llm.bench.stats import Comparison, Summary
from recbole_llm.pictures import Picture


def board_content(board: Board, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Return all that the page shows of a board."""
    shown = [*board.metrics, *board.lists()]
    return {
        "name": board.name,
        "title": board.title,
        "metric": board.metric,
        "metrics": [_metric(name, is_accuracy=name in board.metrics) for name in shown],
        "columns": [
            _metric(name, is_accuracy=False)
            for name in ("train_seconds", "parameters", *board.text_facts())
        ],
        "reference": board.reference,
        "claim": None if board.claim is None else _claim(board.claim, board.metric),
        "notes": notes(board),
        "protocol": protocol(board),
        "slices": [
            {
                "label": slice_label(name),
                "groups": [
                    {
                        "key": f"{name}/{group}",
                        "label": group,
                        "cases": num_cases(board, name, group),
                    }
                    for group in groups
                ],
            }
            for name, groups in board.slices().items()
        ],
        "rows": [_row(board, row) for row in board.rows],
        "figures": [{"title": one.title, "source": _data_uri(one.svg)} for one in pictures],
    }


def _metric(name: str, *, is_accuracy: bool) -> dict[str, Any]:
    known = metric(name)
    return {
        "name": name,
        "label": known.label,
        "digits": known.digits,
        "higherIsBetter": known.higher_is_better,
        "isAccuracy": is_accuracy,
    }


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _row(board: Board, row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "role": row.role,
        "seeds": row.seeds,
        "numSeeds": len(row.runs),
        "isReference": row.label == board.reference,
        "absences": [
            {"seeds": seeds, "status": status, "reason": reason}
            for seeds, status, reason in absences(row)
        ],
        "values": _values(board, row),
        "tests": {
            name: _test(board.comparisons[row.label, name])
            for name in board.metrics
            if (row.label, name) in board.comparisons
        },
        "gaps": [[slice_label(name), text] for name, text in gap_texts(row, board.metric).items()],
        "runs": [_run(board, run) for run in row.runs],
    }


def _claim(claim: Claim, metric_name: str) -> dict[str, Any]:
    return {
        "about": claim_notes(claim, metric_name),
        "parts": [
            {"label": part_label(part), "head": HEADS.get(part), "isClaimed": part in CLAIMED}
            for part in claim.parts
        ],
        "rows": [
            {"label": label, "cells": list(map(_finding, claim.of(label).values()))}
            for label in claim.against
        ],
    }


def _finding(found: Finding) -> dict[str, Any]:
    facts = {"verdict": found.verdict, "difference": found.difference, "numUsers": found.num_users}
    if isinstance(found.test, str):
        return facts | {"reason": found.test}
    test = found.test
    tested = {"low": test.low, "high": test.high, "p": p_text(test.p_holm)}
    return facts | tested | {"isWorse": test.mark == "†"}


def _values(board: Board, row: Row) -> dict[str, dict[str, Any]]:
    """Return numbers over seeds: by slice (``""`` is every case) and name."""
    cost = {
        "train_seconds": row.train_seconds,
        "parameters": row.summary("parameters", "trainable"),
        **{name: row.summary("text", name) for name in board.text_facts()},
    }
    every = {name: row.summary("test_result", name) for name in board.metrics}
    every |= {name: row.summary("lists", name) for name in board.lists()}
    found = {"": _summaries(every | cost)}
    for part, groups in board.slices().items():
        for group in groups:
            keys = ("slices", part, group, "metrics")
            found[f"{part}/{group}"] = _summaries(
                {name: row.summary(*keys, name) for name in board.metrics}
            )
    return found


def _summaries(found: Mapping[str, Summary | None]) -> dict[str, Any]:
    return {
        name: {"mean": one.mean, "deviation": one.deviation, "values": one.values}
        for name, one in found.items()
        if one is not None
    }


def _test(found: Comparison | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"reason": found}
    return asdict(found) | {"mark": found.mark}


def _run(board: Board, run: Record) -> dict[str, Any]:
    facts = run.facts
    return {
        "seed": facts["seed"],
        "command": facts["command"],
        "metrics": {name: facts["test_result"].get(name) for name in board.metrics},
        "seconds": facts["seconds"].get("train"),
        "facts": [
            [label, str(value)]
            for label, path in FACTS.items()
            if (value := value_at(facts, *path)) is not None
        ],
    }


FACTS: Mapping[str, Sequence[str]] = {
    "Epochs": ("epochs",),
    "Best epoch": ("best_epoch",),
    "Parameters": ("parameters", "trainable"),
    "Device": ("device",),
    "Precision": ("precision",),
    "Memory (MiB)": ("peak_memory_mib",),
    "GPU memory (MiB)": ("peak_gpu_memory_mib",),
    "Commit": ("commit",),
}
