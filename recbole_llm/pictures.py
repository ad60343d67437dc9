"""Figures as files, in one style; the same figure gives the same bytes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names

# For letters that DejaVu Sans lacks, where one of them is installed.
FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai",
    "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei", "Arial Unicode MS", "Unifont",
)  # fmt: skip
INK, FAINT = "#22262b", "#9aa1a9"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "recbole-llm",  # ids in an SVG are else random
    "text.parse_math": False,  # a label may hold a dollar
    "font.family": ["DejaVu Sans", *(name for name in FONTS if name in get_font_names())],
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
    with warnings.catch_warnings():  # of each letter without a font, which a reader sees as a box
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
    return Picture(name, title, svg.getvalue(), png.getvalue())
