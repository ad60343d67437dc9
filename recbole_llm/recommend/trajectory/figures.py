"""Figures of a trajectory: a heat map over time, a path in a plane, and how far each step went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from recbole_llm.pictures import FAINT, INK, STYLE, Picture, picture
from recbole_llm.recommend.trajectory.affinity import Groups
from recbole_llm.recommend.trajectory.atlas import Trajectory
from recbole_llm.recommend.trajectory.interests import drift

MOST_ROWS, MOST_ARROWS, MOST_LETTERS = 12, 5, 26
MOST_TITLES = 4  # of turns in a path; of more there is room for their numbers only
FEWEST = 3  # events that span a plane
LABELS = {"current": "Current", "long_term": "Long-term", "combined": "Combined, ranked by"}
COLORS = {"current": "#2a6f97", "long_term": "#8a8f98", "combined": "#c9702b"}
TURN = "#d1495b"


def pictures(
    trajectory: Trajectory, maps: Mapping[str, Groups], titles: list[str]
) -> Iterator[Picture]:
    """Yield the figures of a trajectory.

    Args:
        trajectory: The trajectory.
        maps: Groups of items that it is shown among, a heat map of each under its name; the path
            is shown among the first.
        titles: What to call each event's item.
    """
    whose = f"the interest of {trajectory.name}"
    with mpl.rc_context(sns.axes_style("white") | STYLE):
        for name, groups in maps.items():
            title = f"What {whose} was near to, after each event"
            yield picture(heat_map(trajectory, groups), name=name, title=title)
        if len(trajectory.rows) >= FEWEST:
            title, landmarks = f"The path of {whose}", next(iter(maps.values()), None)
            yield picture(path(trajectory, landmarks, titles), name="path", title=title)
        if len(trajectory.rows) > 1:
            title = f"How far each event moved {whose}"
            yield picture(steps(trajectory), name="drift", title=title)


def heat_map(trajectory: Trajectory, landmarks: Groups) -> Figure:
    """Draw how near each kind of interest was to each group, a column an event."""
    kinds = trajectory.interests
    near = {name: landmarks.affinity(one).cpu().numpy() for name, one in kinds.items()}
    rows = _rows(landmarks.affinity(trajectory.ranked).cpu().numpy(), trajectory.changes)
    reach = max(float(np.abs(values[:, rows]).max()) for values in near.values()) or 1.0
    figure = Figure(figsize=(8, 0.7 + len(kinds) * (0.5 + 0.19 * len(rows))), layout="constrained")
    panels = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, near.items(), strict=True):
        cells = values[:, rows].T  # groups, events
        extent = (0.5, len(values) + 0.5, len(rows) - 0.5, -0.5)
        image = axes.imshow(
            cells, aspect="auto", cmap="vlag", vmin=-reach, vmax=reach, extent=extent,
            interpolation="none",
        )  # fmt: skip
        axes.set_yticks(range(len(rows)), [_short(landmarks.names[row]) for row in rows])
        axes.set_title(f"{LABELS[name]} interest", loc="left")
        _mark_changes(axes, trajectory, color=INK)
    figure.colorbar(image, ax=panels, label="Affinity (deviations from the mean item)", shrink=0.8)
    panels[-1].set_xlabel("Event; dashed: the interest turned")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def path(trajectory: Trajectory, landmarks: Groups | None, titles: list[str]) -> Figure:
    """Draw each kind of interest as a path in the plane; arrows are where groups lie."""
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes, plane = figure.subplots(), trajectory.plane
    for name, interests in trajectory.interests.items():
        x, y = plane.places(interests).T.cpu().numpy()
        axes.plot(x, y, color=COLORS[name], lw=0.8, alpha=0.5, zorder=1)
        shades = sns.light_palette(COLORS[name], len(x) + 2)[2:]
        axes.scatter(x, y, c=shades, s=22, zorder=2)
        axes.plot([], [], "o-", color=COLORS[name], ms=4, label=f"{LABELS[name]} (darker: later)")
    x, y = plane.places(trajectory.ranked).T.cpu().numpy()
    for at in sorted({0, *trajectory.changes, len(x) - 1}):
        is_turn = at in trajectory.changes
        is_named = not is_turn or len(trajectory.changes) <= MOST_TITLES
        words = f"{at + 1} {_short(titles[at])}" if is_named else f"{at + 1}"
        color = TURN if is_turn else INK
        side = -1 if x[at] > np.mean(axes.get_xlim()) else 1  # towards the middle
        axes.annotate(
            words, (x[at], y[at]), xytext=(5 * side, 5), textcoords="offset points", color=color,
            ha="right" if side < 0 else "left", fontsize=7.5, zorder=4,
        )  # fmt: skip
    if landmarks is not None:
        _arrows(axes, trajectory, landmarks)
    first, second = plane.shares
    axes.set_aspect("equal", adjustable="datalim")  # directions are what it shows
    axes.set_xlabel(f"First principal axis of the path ({first:.0%} of its variance)")
    axes.set_ylabel(f"Second ({second:.0%})")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    sns.despine(ax=axes)
    return figure


def steps(trajectory: Trajectory) -> Figure:
    """Draw 1 - cos of each kind of interest before and after each event."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for name, interests in trajectory.interests.items():
        far = drift(interests).cpu().numpy()
        events = np.arange(2, len(far) + 2)
        axes.plot(events, far, color=COLORS[name], lw=1.1, marker="o", ms=2.5, label=LABELS[name])
    _mark_changes(axes, trajectory, color=TURN)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="Event; dashed: the interest turned", ylabel="Drift, 1 − cos", ylim=(0, None))
    axes.grid(axis="y")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    sns.despine(ax=axes)
    return figure


def _rows(values: np.ndarray, changes: Sequence[int]) -> list[int]:
    """Return the groups nearest to the interest in some stretch, in the order in which it was near.

    By the mean over a stretch of one over a group's place among all, so that neither a long stretch
    nor one of an interest that is near to everything hides the others.
    """
    places = (-values).argsort(1, kind="stable").argsort(1) + 1  # (T, G)
    stretches = np.split(1 / places, list(changes))
    near = np.max([part.mean(0) for part in stretches], axis=0)
    nearest = np.argsort(-near, kind="stable")[:MOST_ROWS]
    return [int(row) for row in sorted(nearest, key=lambda row: (values[:, row].argmax(), row))]


def _arrows(axes: Axes, trajectory: Trajectory, landmarks: Groups) -> None:
    near = landmarks.affinity(trajectory.ranked).cpu().numpy()
    arrows: Tensor = trajectory.plane.arrows(landmarks.directions)
    rows = _rows(near, trajectory.changes)
    seen = sorted(rows, key=lambda row: -float(arrows[row].norm()))[:MOST_ARROWS]
    spans = np.abs([*axes.get_xlim(), *axes.get_ylim()])
    longest = max(float(arrows[row].norm()) for row in seen) or 1.0
    for row in seen:
        x, y = (0.8 * float(spans.min()) * arrows[row] / longest).tolist()
        axes.annotate(
            "", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "color": FAINT, "lw": 0.9}, zorder=0
        )
        axes.annotate(
            _short(landmarks.names[row]),
            (x, y),
            color="#6b727a",
            fontsize=8,
            ha="right" if x < 0 else "left",
            zorder=3,
        )


def _mark_changes(axes: Axes, trajectory: Trajectory, *, color: str) -> None:
    for at in trajectory.changes:
        axes.axvline(at + 0.5, color=color, lw=1, ls="--")


def _short(words: str) -> str:
    return words if len(words) <= MOST_LETTERS else f"{words[: MOST_LETTERS - 1]}…"
