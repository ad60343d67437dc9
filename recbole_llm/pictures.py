"""Figures as files, in one style; the same figure gives the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

INK, FAINT = "#22262b", "#9aa1a9"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "recbole-llm",  # ids in an SVG are else random
    "text.parse_math": False,  # a label may hold a dollar
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#e3e6ea",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Picture:
    """A figure as files.

    Attributes:
        name: Its stem.
        title: What it shows.
        svg: The file, as text.
        png: The same, as bytes.
    """

    name: str
    title: str
    svg: str
    png: bytes


def picture(figure: Figure, *, name: str, title: str) -> Picture:
    """Return a figure as files."""
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Picture(name, title, svg.getvalue(), png.getvalue())
