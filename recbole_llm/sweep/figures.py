"""Figures of a sweep, by seaborn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recbole_llm.pictures import FAINT, STYLE, Picture, picture
from recbole_llm.sweep.importance import Importances
from recbole_llm.sweep.ledger import Ledger, Trial, sound
from recbole_llm.sweep.specs import Dimension, Sweep

COLORS = {"done": "#2a6f97", "pruned": "#c9702b", "stopped": "#8a8f98"}
LEGEND = {"done": "ran to its end", "pruned": "cut by the scheduler", "stopped": "out of time"}
TOP = "#d1495b"
NAMES = ("best-so-far", "curves", "parallel", "importance")


def pictures(sweep: Sweep, ledger: Ledger, weights: Importances | None) -> Iterator[Picture]:
    """Yield the figures that the trials have numbers for."""
    trials = sound(ledger)
    made: dict[str, tuple[str, Callable[[], Figure]]] = {}
    if trials:
        made["best-so-far"] = (
            f"Best validation {sweep.metric} so far, against hours",
            lambda: best_so_far(sweep, ledger, trials),
        )
        made["curves"] = (
            "Where trials ended: every trial's best so far, by epoch",
            lambda: curves(sweep, ledger, trials),
        )
    if len(trials) > 1:
        made["parallel"] = (
            "Parallel coordinates: the settings of every trial and what it scored",
            lambda: parallel(sweep, ledger, trials),
        )
    if weights is not None and weights.table:
        made["importance"] = (
            "Importance of each hyper-parameter (permutation, random forest)",
            lambda: importance(weights.table),
        )
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE):
        for name, (title, draw) in made.items():
            yield picture(draw(), name=name, title=title)


def best_so_far(sweep: Sweep, ledger: Ledger, trials: Sequence[Trial]) -> Figure:
    """Draw every trial when it ended, and a line at the best until then."""
    ended = sorted((one for one in trials if one.hours is not None), key=lambda one: one.hours or 0)
    figure, axes = _figure(4.0)
    table = pd.DataFrame(
        {
            "hours": [one.hours for one in ended],
            "score": [one.best for one in ended],
            "state": [one.state for one in ended],
        }
    )
    line = table["score"].cummax() if ledger.is_bigger_better else table["score"].cummin()
    axes.step(table["hours"], line, where="post", color=TOP, lw=1.6, label="best so far")
    sns.scatterplot(
        table, x="hours", y="score", hue="state", palette=COLORS, s=28, legend=False, ax=axes
    )
    _state_legend(axes, ended)
    axes.set_xlabel("Hours of the sweep")
    axes.set_ylabel(f"Validation {sweep.metric}")
    return figure


def curves(sweep: Sweep, ledger: Ledger, trials: Sequence[Trial]) -> Figure:
    """Draw each trial's best so far by epoch, with a mark where it ended."""
    figure, axes = _figure(4.6)
    top = ledger.ranked()[:1]
    accumulate = (np.maximum if ledger.is_bigger_better else np.minimum).accumulate
    for trial in trials:
        scores = np.array([row["valid"] for row in trial.curve])
        best = accumulate(scores)
        epochs = [row["epoch"] + 1 for row in trial.curve]
        is_top = bool(top) and trial.id == top[0].id
        color = TOP if is_top else COLORS[trial.state]
        width, alpha = (1.8, 1.0) if is_top else (0.8, 0.55)
        axes.plot(epochs, best, color=color, lw=width, alpha=alpha, zorder=3 if is_top else 2)
        mark = "x" if trial.state == "pruned" else "o"
        axes.plot(epochs[-1:], best[-1:], mark, color=color, ms=4, zorder=4)
    _state_legend(axes, trials, top="the best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Epoch; × where a trial was cut")
    axes.set_ylabel(f"Best validation {sweep.metric} so far")
    return figure


def parallel(sweep: Sweep, ledger: Ledger, trials: Sequence[Trial]) -> Figure:
    """Draw a line a trial through its value of each setting; the last axis is the score."""
    figure, axes = _figure(4.8)
    scores = np.array([one.best for one in trials], dtype=float)
    low, high = float(scores.min()), float(scores.max())
    heights = (scores - low) / ((high - low) or 1.0)
    palette = sns.color_palette("viridis", as_cmap=True)
    goodness = heights if ledger.is_bigger_better else 1 - heights
    for place in np.argsort(goodness, kind="stable"):
        trial = trials[int(place)]
        line = [_height(its, trial.settings.get(name)) for name, its in sweep.space.items()]
        shade = palette(float(goodness[place]))
        axes.plot(
            [*line, heights[place]], color=shade, lw=0.7 + 1.3 * float(goodness[place]), alpha=0.85,
            marker="o", ms=2.5,
        )  # fmt: skip
    for place, its in enumerate(sweep.space.values()):
        for value in its.ends:
            height = _height(its, value)
            axes.text(place - 0.04, height, _short(value), ha="right", va="center", fontsize=7)
    for value, height in ((low, 0.0), (high, 1.0)):
        axes.text(
            len(sweep.space) + 0.04, height, f"{value:.4f}", ha="left", va="center", fontsize=7
        )
    names = [*sweep.space, sweep.metric]
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    axes.set_yticks([])
    axes.set_xlim(-0.6, len(sweep.space) + 0.5)
    axes.grid(axis="x", color=FAINT, lw=0.8)
    axes.spines["left"].set_visible(False)
    return figure


def importance(table: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw a bar a setting, with the spread over permutations."""
    names = sorted(table, key=lambda name: -table[name][0])
    figure, axes = _figure(0.9 + 0.34 * len(names))
    values, spreads = ([table[name][place] for name in names] for place in (0, 1))
    sns.barplot(x=values, y=names, color=COLORS["done"], ax=axes)
    axes.errorbar(values, range(len(names)), xerr=spreads, fmt="none", ecolor=FAINT, lw=1)
    axes.set_xlabel("Share of the explained variance that is lost when the setting is shuffled")
    axes.set_ylabel("")
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.0, height), layout="constrained")
    return figure, figure.subplots()


def _state_legend(axes: Axes, trials: Sequence[Trial], top: str = "best so far") -> None:
    states = dict.fromkeys(one.state for one in trials if one.state in LEGEND)
    handles = [axes.plot([], [], color=TOP, lw=1.8, label=top)[0]]
    handles += [
        axes.plot([], [], "o", color=COLORS[state], ms=4, label=LEGEND[state])[0]
        for state in states
    ]
    axes.legend(handles=handles, loc="lower right", frameon=False)


def _height(dimension: Dimension, value: Any) -> float:
    """Return where a value lies on its axis, 0 to 1; below it where it was not drawn."""
    ends = dimension.ends
    if value is None and (dimension.kind != "choice" or None not in ends):
        return -0.08
    if dimension.kind == "choice":
        return ends.index(value) / max(len(ends) - 1, 1)
    low, high = ends
    if dimension.kind == "loguniform":
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
