"""Text-based interest evolution for RecBole.

Importing this package lets RecBole find our models by name. It imports neither torch, ray nor
RecBole; the names below are imported when they are first used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_llm.plugin import MODELS, load, register

__version__ = "0.1.0"
__all__ = ["LLMConfig", "load_run", "properties_file", "run_recbole"]

_PLACES = {
    "LLMConfig": "recbole_llm.config:LLMConfig",
    "load_run": "recbole_llm.quick_start:load_run",
    "run_recbole": "recbole_llm.quick_start:run_recbole",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'recbole_llm' has no attribute {name!r}")
    return load(_PLACES[name])


def properties_file(model: str) -> str:
    """Return the path of a model's default settings, for plain RecBole's ``config_file_list``.

    Raises:
        KeyError: If the model is not one of ours.
    """
    if model not in MODELS:
        raise KeyError(f"{model!r} is no model of recbole-llm. Known: {', '.join(MODELS)}.")
    return str(Path(__file__).parent / "properties" / "model" / f"{model}.yaml")


register()
