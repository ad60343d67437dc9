"""Figures of a board, by seaborn; the same board gives the same bytes.

Every figure has the labels on the left and a role's colour, so that fifteen models stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from recbole_llm.bench.boards import Board, Row, value_at
from recbole_llm.bench.cells import slice_label
from recbole_llm.bench.grids import MOST_GROUPS, num_cases
from recbole_llm.bench.metrics import metric
from recbole_llm.pictures import FAINT, INK, STYLE, Picture, picture

ROLES = {"model": "#2a6f97", "baseline": "#c9702b", "control": "#8a8f98"}
PLAIN = StrMethodFormatter("{x:,g}")  # the default writes powers of ten as mathematics


def pictures(board: Board) -> Iterator[Picture]:
    """Yield the figures that a board's records have numbers for."""
    rows = [row for row in board.rows if row.runs]
    label = metric(board.metric).label
    made: dict[str, tuple[str, Callable[[Board, Sequence[Row]], Figure]]] = {
        "tradeoff": (f"{label} against seconds of training", tradeoff),
        "seeds": (f"{label} of every seed", seed_spread),
        "curves": (f"Validation {label} while training", curves),
        "differences": (f"{label}: {board.reference} minus each model", differences),
    }
    for name, groups in board.slices().items():
        if len(groups) <= MOST_GROUPS:
            made[f"slice-{name}"] = f"{label} by {slice_label(name)}", partial(slices, name=name)
    if _cost_table(board, rows).empty:
        del made["tradeoff"]
    if not _curves(board, rows):
        del made["curves"]
    if board.detectable(board.metric) is None:
        del made["differences"]
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE):
        yield from (_picture(name, *made[name], board, rows) for name in made if rows)


def _picture(
    name: str,
    title: str,
    draw: Callable[[Board, Sequence[Row]], Figure],
    board: Board,
    rows: Sequence[Row],
) -> Picture:
    return picture(draw(board, rows), name=name, title=title)


def tradeoff(board: Board, rows: Sequence[Row]) -> Figure:
    """Draw accuracy against seconds of training.

    A line joins what nothing cheaper on its device reaches. Rows without seconds, as those whose
    seeds were trained on several devices, are named and not drawn.
    """
    table = _cost_table(board, rows)
    figure, axes = _figure(table["role"], height=4.6)
    best = table.groupby("device")["value"].transform(lambda one: one.cummax().shift())
    front = table[table["value"] > best.fillna(-np.inf)]
    for _, part in front.groupby("device"):
        axes.step(
            part["seconds"], part["value"], where="post", color=FAINT, lw=1, ls="--", zorder=1
        )
    axes.errorbar(
        table["seconds"], table["value"], table["deviation"], fmt="none", ecolor=FAINT, lw=1
    )
    sns.scatterplot(
        table, x="seconds", y="value", hue="role", palette=ROLES, s=46, legend=False, ax=axes
    )
    axes.set_xscale("symlog", linthresh=1)  # a control may train for no time at all
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PLAIN)
    drawn, several = set(table["label"]), table["device"].nunique() > 1
    others = [row.label for row in rows if row.runs and row.label not in drawn]
    axes.set_xlabel(
        "Seconds of training; ● and the dashed line: nothing cheaper is as good"
        + " on the same device" * several
        + f"\nof several devices or held up, and not drawn: {'; '.join(others)}" * bool(others)
    )
    axes.set_ylabel(metric(board.metric).label)
    cheapest = set(front["label"])
    labels = [
        one.label + f", {one.device}" * several + "  ●" * (one.label in cheapest)
        for one in table.itertuples()
    ]
    colors = [ROLES[role] for role in table["role"]]
    _label_right(axes, labels, list(table["seconds"]), list(table["value"]), colors=colors)
    return figure


def _cost_table(board: Board, rows: Sequence[Row]) -> pd.DataFrame:
    """Return accuracy and seconds of the rows that were trained on one device, cheapest first."""
    return pd.DataFrame(
        [
            (row.label, row.role, row.device, seconds.mean, value.mean, value.deviation or 0)
            for row in rows
            if (value := row.summary("test_result", board.metric)) is not None
            and (seconds := row.train_seconds) is not None
        ],
        columns=["label", "role", "device", "seconds", "value", "deviation"],
    ).sort_values(["seconds", "value"], ascending=[True, False], kind="stable")


def seed_spread(board: Board, rows: Sequence[Row]) -> Figure:
    """Draw a dot a seed and a line at the mean."""
    table = _seed_table(rows, "test_result", board.metric)
    figure, axes = _figure(table["role"], height=_height(rows))
    sns.stripplot(
        table,
        x="value",
        y="label",
        hue="role",
        palette=ROLES,
        jitter=False,
        alpha=0.75,
        size=6,
        legend=False,
        ax=axes,
    )
    for at, (_label, part) in enumerate(table.groupby("label", sort=False)):
        axes.vlines(part["value"].mean(), at - 0.32, at + 0.32, color=INK, lw=1.4)
    axes.set(xlabel=f"{metric(board.metric).label}, a dot a seed, a line at the mean", ylabel="")
    return figure


def curves(board: Board, rows: Sequence[Row]) -> Figure:
    """Draw the validation metric against the seconds since training began.

    A row's line is the mean of its seeds, as far as all of them have trained: one a seed of each
    of twenty rows cannot be told apart. Rows of runs validated by another metric or trained on
    several devices are named and not drawn, and so are those that something held up.
    """
    frame = _mean_curves(pd.DataFrame(_curves(board, rows)))
    labels = list(frame["label"].unique())
    palette = dict(zip(labels, sns.husl_palette(len(labels), s=0.7, l=0.5), strict=True))
    figure, axes = _figure([], height=4.6)
    sns.lineplot(
        frame,
        x="seconds",
        y="valid",
        hue="label",
        palette=palette,
        estimator=None,
        lw=1.1,
        legend=False,
        ax=axes,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(PLAIN)
    label = metric(board.metric).label
    trained = [row.label for row in rows if any(run.facts.get("curve") for run in row.runs)]
    others = [name for name in trained if name not in labels]
    reason = "\nof another metric, several devices or held up, and not drawn: "
    told = reason + "; ".join(others) if others else ""
    axes.set(
        xlabel=f"Seconds since training began, mean of seeds{told}", ylabel=f"Validation {label}"
    )
    ends = frame.sort_values("seconds", kind="stable").groupby("label", sort=False).tail(1)
    ends = ends.sort_values("valid", kind="stable")
    colors = [palette[label] for label in ends["label"]]
    ends_of = list(ends["label"]), list(ends["seconds"]), list(ends["valid"])
    _label_right(axes, *ends_of, colors=colors)
    return figure


def differences(board: Board, rows: Sequence[Row]) -> Figure:
    """Draw the difference to each model with its interval, and what is too small to be seen."""
    tested = [(row, test) for row in rows if (test := board.comparison(row.label, board.metric))]
    figure, axes = _figure([row.role for row, _test in tested], height=_height(tested))
    limit = board.detectable(board.metric) or 0
    axes.axvspan(-limit, limit, color="#f0f1f3", lw=0)
    axes.axvline(0, color=FAINT, lw=1)
    for at, (row, test) in enumerate(tested):
        color = ROLES[row.role]
        reach = [[test.difference - test.low], [test.high - test.difference]]
        face = color if test.mark == "*" else "white"
        axes.errorbar(test.difference, at, xerr=reach, fmt="o", color=color, mfc=face, ms=6)
    axes.set_yticks(range(len(tested)), [row.label for row, _test in tested])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(
        f"{metric(board.metric).label} of {board.reference} minus the model's, 95 % intervals\n"
        "full: significant after Holm's correction; grey: found in less than 80 % of the cases"
    )
    return figure


def slices(board: Board, rows: Sequence[Row], *, name: str) -> Figure:
    """Draw bars of each group of test cases, the standard deviation over seeds upon them."""
    groups = board.slices()[name]
    figure = Figure(figsize=(8, _height(rows)), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups, strict=True):
        table = _seed_table(rows, "slices", name, group, "metrics", board.metric)
        sns.barplot(
            table,
            x="value",
            y="label",
            hue="role",
            palette=ROLES,
            dodge=False,
            errorbar="sd",
            err_kws={"linewidth": 1, "color": INK},
            legend=False,
            ax=axes,
        )
        axes.set(title=f"{group}\n{num_cases(board, name, group):,} cases", xlabel="", ylabel="")
    figure.supxlabel(f"{metric(board.metric).label} by {slice_label(name)}", fontsize=9)
    _legend(figure, [row.role for row in rows])
    return figure


def _figure(roles: Iterable[str], *, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, height), layout="constrained")
    _legend(figure, roles)
    return figure, figure.subplots()


def _height(rows: Sequence[Any]) -> float:
    return 1.3 + 0.27 * len(rows)


def _legend(figure: Figure, roles: Iterable[str]) -> None:
    there = [role for role in ROLES if role in set(roles)]
    handles = [Line2D([], [], marker="o", ls="", color=ROLES[role], label=role) for role in there]
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)


def _seed_table(rows: Sequence[Row], *keys: str) -> pd.DataFrame:
    """Return label, role and value of every run; a row without a value keeps its place."""
    lines = [(row.label, row.role, value_at(run.facts, *keys)) for row in rows for run in row.runs]
    return pd.DataFrame(lines, columns=["label", "role", "value"]).astype({"value": float})


def _curves(board: Board, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the points of learning curves in the board's metric, of rows of one device.

    Time 0 has no place on a log axis.
    """
    return [
        {"label": row.label, "seed": run.facts["seed"]} | dict(point)
        for row in rows
        if row.device is not None
        for run in row.timed
        if str(value_at(run.facts, "settings", "valid_metric")).lower() == board.metric
        for point in run.facts.get("curve") or ()
        if point["seconds"] > 0
    ]


def _mean_curves(points: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each row's points, of the epochs that all of them have."""
    epochs = points.groupby(["label", "epoch"], sort=False)
    seeds = epochs["seed"].nunique()
    means = epochs[["seconds", "valid"]].mean()
    return means[seeds == seeds.groupby("label").transform("max")].reset_index()


def _label_right(
    axes: Axes, labels: Sequence[str], x: Sequence[float], y: Sequence[float], *, colors: Any
) -> None:
    """Write labels in a column on the right, in the order of y, each with a line to its point."""
    order = np.argsort(np.asarray(y), kind="stable")
    for place, at in zip(np.linspace(0, 1, len(order)), order, strict=True):
        axes.annotate(
            labels[at],
            (x[at], y[at]),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            color=colors[at],
            fontsize=8,
            arrowprops={
                "arrowstyle": "-",
                "color": FAINT,
                "lw": 0.5,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )
