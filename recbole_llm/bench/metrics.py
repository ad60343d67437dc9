"""What tables show, described once: label, direction and digits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from recbole_llm.ranking_metrics import RANK_METRICS


def fixed(value: float, digits: int) -> str:
    """Return a number as tables and the page show it: halves away from zero, and no -0."""
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return f"{rounded + 0:,.{digits}f}"


@dataclass(frozen=True)
class Metric:
    """How a number is shown and read.

    Attributes:
        label: Its name in a table's head.
        higher_is_better: Its direction.
        digits: Decimal places.
        same_as: The metric that a single target makes equal to it, up to a constant factor.
    """

    label: str
    higher_is_better: bool
    digits: int
    same_as: str | None = None

    def text(self, value: float | None) -> str:
        """Return a value as tables show it, – for none."""
        if value is None:
            return "–"
        return fixed(value, self.digits)


METRICS: Mapping[str, Metric] = {
    "recall": Metric("Recall", True, 4),
    "ndcg": Metric("NDCG", True, 4),
    "mrr": Metric("MRR", True, 4),
    "gauc": Metric("GAUC", True, 4),
    "hit": Metric("Hit", True, 4, same_as="recall"),
    "precision": Metric("Precision", True, 4, same_as="recall"),
    "map": Metric("MAP", True, 4, same_as="mrr"),
    "coverage": Metric("Coverage", True, 3),
    "gini": Metric("Gini", False, 3),
    "popularity": Metric("Popularity", False, 1),
    "novelty": Metric("Novelty", True, 2),
    "text_diversity": Metric("Text diversity", True, 3),
    "train_seconds": Metric("Train (s)", False, 1),
    "parameters": Metric("Parameters", False, 0),
    "vectors_per_second": Metric("Vectors/s", True, 0),
    "anisotropy": Metric("Anisotropy", False, 3),
    "treated_anisotropy": Metric("Anisotropy, treated", False, 3),
}
OF_TEXT = ("vectors_per_second", "anisotropy", "treated_anisotropy")


def metric(name: str) -> Metric:
    """Return what is known of a metric, its cutoff in the label, as of ``ndcg@10``."""
    base, at, k = name.partition("@")
    return replace(METRICS[base], label=METRICS[base].label + at + k)


def accuracy_columns(names: Iterable[str]) -> list[str]:
    """Return the metrics that a table shows, in its order: of equal ones only the first."""
    found = set(names)
    order = [base for base in METRICS if base in RANK_METRICS]

    def is_shown(name: str) -> bool:
        base, at, k = name.partition("@")
        return base in order and f"{METRICS[base].same_as}{at}{k}" not in found

    def place(name: str) -> tuple[int, int]:
        base, _, k = name.partition("@")
        return int(k or 0), order.index(base)

    return sorted(filter(is_shown, found), key=place)
