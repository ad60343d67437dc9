"""Boards as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from recbole_llm.bench.boards import Board, Boards, Row
from recbole_llm.bench.cells import Cell, Grid, file_name
from recbole_llm.bench.claims import Claim
from recbole_llm.bench.grids import absences, grids
from recbole_llm.bench.stats import Comparison, Summary

COLUMNS = (
    *("board", "dataset", "ruler", "label", "role", "slice", "group", "metric", "mean"),
    *(
        "deviation",
        "seeds",
        "cases",
        "reference",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "users",
    ),
    *("detectable", "absent_seeds", "status", "reason"),
)
LATEX = {
    **{special: f"\\{special}" for special in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # else a length, or a form without space, after the end of a row
    "*": "{*}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$^{\dagger}$",
}
MARKDOWN_SPECIALS = re.compile(r"([\\`*_{}\[\]#|~$])")


def markdown(boards: Boards) -> str:
    """Return all boards as one Markdown page; the best of a column is bold, the second italic."""
    parts = [f"# {_markdown_text(boards.suite)}"]
    if boards.about:
        parts.append(_markdown_text(boards.about))
    for board in boards.boards:
        parts.append(f"## {_markdown_text(board.title)}")
        for grid in grids(board):
            parts += [f"### {_markdown_text(grid.title)}", _markdown_grid(grid)]
            parts += [_markdown_text(note) for note in grid.notes]
    if boards.left_out:
        names = "\n".join(f"- {_markdown_text(path)}" for path in boards.left_out)
        parts.append(f"## Left out\n\nRecords that the suite no longer names:\n\n{names}")
    return "\n\n".join(parts) + "\n"


def _markdown_grid(grid: Grid) -> str:
    head = [_markdown_text(name) for name in grid.head]
    rule = [{"l": "---", "r": "---:"}[side] for side in grid.align]
    rows = [[_markdown_cell(cell) for cell in row] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    text = {"best": f"**{text}**", "second": f"*{text}*"}.get(cell.place, text)
    return text + _markdown_text(cell.mark)


def _markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    safe = MARKDOWN_SPECIALS.sub(r"\\\1", " ".join(text.split()))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def latex(boards: Boards) -> str:
    r"""Return all boards as LaTeX tables for ``booktabs``; the second of a column is underlined."""
    tables = [
        _latex_grid(board, grid, at)
        for board in boards.boards
        for at, grid in enumerate(grids(board))
    ]
    return "% Needs \\usepackage{booktabs}.\n\n" + "\n".join(tables)


def _latex_grid(board: Board, grid: Grid, number: int) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(board.title)}: {_latex_text(grid.title)}}}",
        rf"\label{{tab:{file_name(board.name)}-{number}}}",
        rf"\begin{{tabular}}{{{grid.align}}}",
        r"\toprule",
        " & ".join(map(_latex_text, grid.head)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex_cell, row)) + r" \\" for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {_latex_text(note)}" for note in grid.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    command = {"best": r"\textbf", "second": r"\underline"}.get(cell.place)
    text = f"{command}{{{text}}}" if command else text
    return text + {"*": "$^{*}$"}.get(cell.mark, _latex_text(cell.mark))


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def csv_text(boards: Boards) -> str:
    """Return all boards as one long CSV, a line a label, slice and metric, in ten digits."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for board in boards.boards:
        for row in board.rows:
            head = {"board": board.name, "dataset": board.dataset, "ruler": board.fingerprint}
            head |= {"label": row.label, "role": row.role}
            writer.writerows(map(_in_digits, (head | line for line in _csv_lines(board, row))))
    return out.getvalue()


def _in_digits(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line without the last digits of its numbers, in which machines differ."""
    return {
        name: f"{value:.10g}" if isinstance(value, float) else value for name, value in line.items()
    }


def _csv_lines(board: Board, row: Row) -> Iterator[dict[str, Any]]:
    for name in row.names("test_result"):
        yield _csv_numbers(row, "test_result", name) | _csv_test(board, row, name)
    yield from (_csv_numbers(row, "lists", name) for name in row.names("lists"))
    if row.runs:
        yield _csv_summary("train_seconds", row.train_seconds)
        yield _csv_numbers(row, "parameters", "trainable") | {"metric": "parameters"}
    yield from (_csv_numbers(row, "text", name) for name in board.text_facts() if row.runs)
    for part in row.names("slices"):
        for group in row.names("slices", part):
            keys = ("slices", part, group, "metrics")
            cases = int(row.mean(*keys[:-1], "cases") or 0)
            where = {"slice": part, "group": group, "cases": cases}
            yield from (where | _csv_numbers(row, *keys, name) for name in row.names(*keys))
    if board.claim is not None:
        yield from _csv_claim(board.claim, row.label, metric=board.metric)
    for seeds, status, reason in absences(row):
        yield {"absent_seeds": seeds, "status": status, "reason": reason}


def _csv_numbers(row: Row, *keys: str) -> dict[str, Any]:
    return _csv_summary(keys[-1], row.summary(*keys))


def _csv_summary(name: str, summary: Summary | None) -> dict[str, Any]:
    if summary is None:
        return {"metric": name, "seeds": 0}
    numbers = {"mean": summary.mean, "deviation": summary.deviation, "seeds": len(summary.values)}
    return {"metric": name, **numbers}


def _csv_claim(claim: Claim, label: str, *, metric: str) -> Iterator[dict[str, Any]]:
    """Yield a line for each part of the test cases that the claim speaks of, against one row."""
    for part, finding in claim.of(label).items():
        line: dict[str, Any] = {"slice": "claim", "group": part or "all", "metric": metric}
        line |= {"reference": claim.row, "users": finding.num_users, "status": finding.verdict}
        if isinstance(finding.test, str):
            yield {**line, "difference": finding.difference, "reason": finding.test}
        else:
            yield {**line, **_csv_comparison(finding.test)}


def _csv_test(board: Board, row: Row, name: str) -> dict[str, Any]:
    if (test := board.comparison(row.label, name)) is None:
        return {}
    return {"reference": board.reference, "users": test.num_users, **_csv_comparison(test)}


def _csv_comparison(test: Comparison) -> dict[str, Any]:
    names = ("difference", "low", "high", "p", "p_holm", "detectable")
    return {name: getattr(test, name) for name in names}
