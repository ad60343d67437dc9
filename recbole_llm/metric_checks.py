"""Rules of metrics, topk and valid_metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.evaluator.register import metric_types
from recbole.utils import EvaluatorType

from recbole_llm.errors import unknown_name


def metric_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with metrics, topk and valid_metric, as far as they are given."""
    chosen = settings.get("valid_metric")
    metrics = _as_list(settings.get("metrics", [] if chosen is None else chosen.split("@")[0]))
    topk = _as_list(settings.get("topk", 10))
    named = [*metrics, *([] if chosen is None else [chosen.split("@")[0]])]
    unknown = [name for name in dict.fromkeys(named) if str(name).lower() not in metric_types]
    if unknown:
        return [unknown_name("metric", str(name), metric_types) for name in unknown]
    kinds = {metric_types[str(name).lower()] for name in metrics}
    if len(kinds) > 1:
        return [f"metrics: ranking and value metrics cannot be mixed; received {metrics}."]
    if chosen is None or "metrics" not in settings:
        return []
    is_ranking = kinds == {EvaluatorType.RANKING}
    possible = [
        f"{name}@{k}" if is_ranking and str(name).lower() != "gauc" else name  # it has no cutoff
        for name in metrics
        for k in topk
    ]
    if chosen.lower() in {str(name).lower() for name in possible}:
        return []
    rule = "metrics × topk" if is_ranking else "metrics"
    known = unknown_name("metric", chosen, dict.fromkeys(map(str, possible)))
    return [f"valid_metric: must be among {rule}; {known}"]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
