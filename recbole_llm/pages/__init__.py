"""Static HTML pages, without scripts, that need nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recbole_llm.pictures import Picture

STYLE = Path(__file__).parent / "static.css"


def static_page(template: Path, **content: Any) -> str:
    """Return a page in our style; what enters it enters as text, never as markup.

    Args:
        template: A Jinja template, which puts ``style`` into its one style sheet and
            ``style_digest`` into its policy.
        **content: What it shows.
    """
    style = STYLE.read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template.name).render(
        **content, style=Markup(style), style_digest=f"sha256-{digest}"
    )


def data_address(one: Picture) -> str:
    """Return a figure as the address of an image."""
    return "data:image/svg+xml;base64," + base64.b64encode(one.svg.encode()).decode()
