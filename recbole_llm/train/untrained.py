"""The trainer of controls, which learn nothing."""

from __future__ import annotations

from typing import Any

from recbole.trainer import Trainer
from recbole.utils import calculate_valid_score

from recbole_llm.train.safe import SafeTrainer


class UntrainedTrainer(SafeTrainer, Trainer):
    """Validates a model as it is, in no epoch, and keeps it as checkpoint of epoch -1."""

    def _build_optimizer(self, **_: Any) -> None:
        return None

    def fit(
        self, train_data: Any, valid_data: Any = None, verbose: bool = True, saved: bool = True,
        show_progress: bool = False, callback_fn: Any = None,
    ) -> Any:  # fmt: skip
        """Keep the model, and return its validation score and metrics."""
        self.eval_collector.data_collect(train_data)
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        if valid_data:
            result = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
            self.best_valid_result = result
            self.best_valid_score = calculate_valid_score(result, self.valid_metric)
        return self.best_valid_score, self.best_valid_result
