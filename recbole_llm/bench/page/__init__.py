"""The leaderboard as one HTML page that needs no server and nothing from outside.

The page allows itself no more than what it holds: its policy names the digests of its one script
and its one style sheet. Data is JSON in a block that is never run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recbole_llm.bench.boards import Boards
from recbole_llm.bench.page.content import board_content
from recbole_llm.pictures import Picture

FOLDER = Path(__file__).parent


def render_page(boards: Boards, pictures: Mapping[str, Sequence[Picture]]) -> str:
    """Return the page.

    Args:
        boards: What it shows.
        pictures: Their figures, by the name of the board.
    """
    columns, claim, page, style = (
        (FOLDER / name).read_text(encoding="utf-8")
        for name in ("columns.js", "claim.js", "page.js", "page.css")
    )
    script = columns + claim + page
    content = {
        "leftOut": list(boards.left_out),
        "boards": [board_content(one, pictures.get(one.name, ())) for one in boards.boards],
    }
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        suite=boards.suite,
        about=boards.about,
        data=Markup(_json_for_html(content)),
        script=Markup(script),
        style=Markup(style),
        script_digest=_digest(script),
        style_digest=_digest(style),
    )


def _json_for_html(content: object) -> str:
    """Return JSON in which no tag can begin or end."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
