"""Writes docs/settings.md from the schema: uv run python docs/settings.py."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from recbole_llm import settings

HEAD = """\
# Settings

RecBole's settings keep their names and meaning. These are ours; a model's own defaults, in
`recbole_llm/properties/model/`, precede the ones here (there `item_features` is [text, id]). Of
RecBole's own, `enable_amp` left unset means bf16 for our models on a CPU that is faster in it (AMX,
or AVX512-BF16 of AMD), and float32 elsewhere. `docs/settings.py` writes this file.

| setting | values | default | meaning |
|---|---|---|---|
"""


def meanings() -> dict[str, str]:
    """Return the text below each attribute of the schema."""
    (schema,) = ast.parse(inspect.getsource(settings.Settings)).body
    body = schema.body  # type: ignore[attr-defined]
    pairs = itertools.pairwise(body)
    return {
        one.target.id: ast.literal_eval(after.value)
        for one, after in pairs
        if isinstance(one, ast.AnnAssign) and isinstance(after, ast.Expr)
    }


def values(kind: Any) -> str:
    """Return what a setting may be, in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values(parts[0])
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(values(part) for part in parts)
    if origin is dict:
        return f"a mapping from names to {values(parts[1])}"
    if origin is list:
        return f"a list of {values(parts[0])}"
    return {type(None): "none", str: "text", int: "integer", float: "number", bool: "true, false"}[
        kind
    ]


def page() -> str:
    """Return the whole page."""
    words = meanings()
    rows = [
        f"| `{name}` | {values(field.annotation)} | "
        f"{'' if field.default in (None, '', {}) else f'`{field.default}`'} | "
        f"{words[name].replace('``', '`')} |"
        for name, field in settings.Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write("writing docs/settings.md\n")
    Path(__file__).with_name("settings.md").write_text(page(), encoding="utf-8")
