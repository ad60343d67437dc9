"""Text-based interest evolution for RecBole.

Importing this package lets RecBole find our models by name. It imports neither torch, ray nor
RecBole; the names below are imported when they are first used.
"""

from __future__ import annotations

from typing import Any

from recbole_llm.plugin import load, register

__version__ = "0.1.0"
__all__ = ["LLMConfig", "Recommender", "fit_partial", "load_run", "run_recbole"]

_PLACES = {
    "LLMConfig": "recbole_llm.config:LLMConfig",
    "Recommender": "recbole_llm.recommend.recommender:Recommender",
    "fit_partial": "recbole_llm.recommend.update.partial:fit_partial",
    "load_run": "recbole_llm.quick_start:load_run",
    "run_recbole": "recbole_llm.quick_start:run_recbole",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'recbole_llm' has no attribute {name!r}")
    from recbole_llm.compat import require_recbole

    require_recbole()
    return load(_PLACES[name])


register()
