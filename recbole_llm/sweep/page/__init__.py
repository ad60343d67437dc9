"""The report of a sweep as one HTML page, without scripts, that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_llm.pages import data_address, static_page
from recbole_llm.pictures import Picture

TEMPLATE = Path(__file__).parent / "report.html"


def render_page(about: Mapping[str, Any], drawn: Sequence[Picture]) -> str:
    """Return the page.

    Args:
        about: What :func:`recbole_llm.sweep.report.facts` returns.
        drawn: The figures.
    """
    pictures = [(one.name, one.title, data_address(one)) for one in drawn]
    return static_page(TEMPLATE, **about, pictures=pictures)
