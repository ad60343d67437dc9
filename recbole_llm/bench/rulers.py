"""What must agree for numbers to stand in one table.

A ruler is the dataset, the protocol, and the versions of recbole-llm and RecBole. Records of two
rulers are never in one board.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_llm.eval_checks import FILTERS

VERSIONS = ("recbole-llm", "recbole")
NOT_SAID = "not said"

Ruler = Mapping[str, Any]
"""Flat, under dotted keys as ``eval_args.split.LS``."""


def ruler_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ruler of a record's facts; older ones have their filters among the settings."""
    versions = {name: facts["versions"].get(name) for name in VERSIONS}
    filters = {key: facts["settings"].get(key) for key in FILTERS}
    protocol = {"filters": filters, **facts["protocol"]}
    nested = {"dataset": facts["dataset"], **protocol, "versions": versions}
    return dict(_flat(nested.items()))


def _flat(pairs: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for key, value in pairs:
        if isinstance(value, Mapping) and value:
            yield from _flat((f"{key}.{inner}", value[inner]) for inner in value)
        else:
            yield key, value


def fingerprint(ruler: Ruler) -> str:
    """Return eight hex digits that change with anything a ruler says."""
    canonical = json.dumps(ruler, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def differences(ruler: Ruler, rulers: Sequence[Ruler]) -> dict[str, Any]:
    """Return what a ruler says where not all rulers say the same."""
    keys = dict.fromkeys(key for one in rulers for key in one)
    return {
        key: ruler.get(key, NOT_SAID)
        for key in keys
        if any(one.get(key, NOT_SAID) != ruler.get(key, NOT_SAID) for one in rulers)
    }


def shown(value: object) -> str:
    """Return a ruler's value as text, of a long digest the beginning."""
    text = "none" if value is None else str(value)
    is_digest = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return text[:12] if is_digest else text
