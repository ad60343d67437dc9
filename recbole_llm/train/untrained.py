"""The trainer of controls, which learn nothing."""

from __future__ import annotations

from typing import Any

from recbole.trainer import Trainer

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
        how = {"verbose": verbose, "saved": saved, "show_progress": show_progress}
        return self.keep_as_is(train_data, valid_data, **how)
