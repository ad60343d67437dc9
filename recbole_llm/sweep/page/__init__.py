"""The report of a sweep as one HTML page, without scripts, that needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recbole_llm.pictures import Picture

FOLDER = Path(__file__).parent


def render_page(about: Mapping[str, Any], drawn: Sequence[Picture]) -> str:
    """Return the page.

    Args:
        about: What :func:`recbole_llm.sweep.report.facts` returns.
        drawn: The figures.
    """
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        **about,
        style=Markup(style),
        style_digest=f"sha256-{digest}",
        pictures=[(one.name, one.title, _address(one)) for one in drawn],
    )


def _address(one: Picture) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(one.svg.encode()).decode()
