"""What a classifier gets right of each class, beside RecBole's metrics."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from recbole.evaluator import Evaluator
from sklearn.metrics import classification_report

CUT = 0.5  # a probability from here on says that the item is bought
CLASSES = ("not_bought", "bought")
OF_LABELS = ("auc", "logloss")


class LabelEvaluator(Evaluator):
    """RecBole's evaluator; where metrics are of 0/1 labels it also reports on the classes.

    Attributes:
        report: Precision, recall, F1 and support of each class, their means and the accuracy at a
            probability of 0.5, by the last evaluation; None where there are no labels.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.report: dict[str, Any] | None = None

    def evaluate(self, dataobject: Any) -> OrderedDict[str, float]:
        """Return the metrics of what RecBole has collected."""
        self.report = None
        if set(self.metrics) & set(OF_LABELS):
            labels, scores = dataobject.get("data.label"), dataobject.get("rec.score")
            self.report = class_report(labels.cpu().numpy(), scores.float().cpu().numpy())
        result: OrderedDict[str, float] = super().evaluate(dataobject)
        return result


def class_report(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return precision, recall, F1 and support by class.

    Args:
        labels: 0 or 1, ``(C,)``.
        scores: Probabilities of 1, ``(C,)``.
    """
    report = classification_report(
        labels > 0,
        scores >= CUT,
        labels=[False, True],
        target_names=CLASSES,
        output_dict=True,
        zero_division=0.0,
    )
    found: dict[str, Any] = {name: _plain(report[name]) for name in (*CLASSES, "macro avg")}
    accuracy = float(np.mean((labels > 0) == (scores >= CUT)))
    return found | {"accuracy": accuracy, "cut": CUT}


def _plain(of_class: dict[str, Any]) -> dict[str, float]:
    names = {"precision": "precision", "recall": "recall", "f1": "f1-score", "support": "support"}
    return {name: float(of_class[key]) for name, key in names.items()}


def report_table(report: Mapping[str, Any]) -> str:
    """Return a report as the log shows it."""
    lines = [f"{'':12}{'precision':>10}{'recall':>10}{'f1':>10}{'support':>10}"]
    for name in (*CLASSES, "macro avg"):
        row = report[name]
        values = "".join(f"{row[key]:10.4f}" for key in ("precision", "recall", "f1"))
        lines.append(f"{name:12}{values}{int(row['support']):>10}")
    return "\n".join([*lines, f"accuracy    {report['accuracy']:10.4f}"])
