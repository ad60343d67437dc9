"""Any trainer of RecBole's, made safe: checkpoints in the run's own directory, and guards."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from recbole.utils import calculate_valid_score
from torch import Tensor

from recbole_llm.errors import NonFiniteError
from recbole_llm.hardware import amp_dtype, keep_freed_memory
from recbole_llm.ranking_metrics import Ranking
from recbole_llm.run_dir import WEIGHTS, create_run_dir
from recbole_llm.train.checkpoints import load_checkpoint, save_checkpoint
from recbole_llm.train.classification import LabelEvaluator
from recbole_llm.train.evaluate import metrics_of, rank_cases, ranks_everything
from recbole_llm.train.scorers import scorer_of
from recbole_llm.train.world import current_world

TrainerLike: Any = object  # what a mixin of any RecBole trainer may ask of itself


class SafeTrainer(TrainerLike):
    """Mixin for any RecBole trainer: safe checkpoints in the run's own directory, and guards.

    Attributes:
        best_epoch: The epoch of the checkpoint, -1 before the first.
        epoch_seconds: Training seconds of each epoch run.
        evaluate_seconds: Seconds spent on validation and test.
        curve: Of each validation its epoch, the seconds of training and evaluation until then, and
            the validation metric.
        ranking: The ranks of the last evaluation, None where RecBole evaluated.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        if self.device.type == "cpu":
            keep_freed_memory()
        run_dir = config["run_dir"] or create_run_dir(
            Path(config["checkpoint_dir"]), model=config["model"], dataset=config["dataset"]
        )
        self.saved_model_file = str(Path(run_dir) / WEIGHTS)
        self.best_epoch = -1
        self.epoch_seconds: list[float] = []
        self.evaluate_seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self.ranking: Ranking | None = None
        self.evaluator = LabelEvaluator(config)
        self._place = "before the first epoch"

    @property
    def precision(self) -> str:
        """What training multiplies in: float32, or the 16 bits of mixed precision."""
        is_mixed = getattr(self, "enable_amp", False)  # trees have none
        return str(amp_dtype(self.device.type) if is_mixed else torch.float32).split(".")[1]

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        self._place = f"epoch {epoch_idx}"
        losses = self._run_epoch(train_data, epoch_idx, *args, **kwargs)
        self._check_weights(epoch_idx)
        self.epoch_seconds.append(time.perf_counter() - begin)
        return losses

    def _run_epoch(self, *args: Any, **kwargs: Any) -> Any:
        return super()._train_epoch(*args, **kwargs)

    @property
    def _way_out(self) -> str:
        kept = "; the last good checkpoint is kept" if self.best_epoch >= 0 else ""
        return f"Lower learning_rate, or set clip_grad_norm.max_norm{kept}."

    def _check_weights(self, epoch_idx: int) -> None:
        """Look at all weights: an infinite one may saturate a gate, and the loss stay finite."""
        if bad := _not_finite(self.model.named_parameters()):
            raise NonFiniteError(
                f"after epoch {epoch_idx}: weights are not finite, though the loss is: "
                f"{', '.join(bad)}. {self._way_out}"
            )

    def _check_nan(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            bad = _not_finite([*self.model.named_parameters(), *self.model.named_buffers()])
            weights = f"; not finite: {', '.join(bad)}" if bad else ""
            raise NonFiniteError(
                f"{self._place}: the training loss is {loss.item()}{weights}. {self._way_out}"
            )

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        return self._checked_scores(super()._full_sort_batch_eval(batched_data))

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        return self._checked_scores(super()._neg_sample_batch_eval(batched_data))

    def _checked_scores(self, outcome: Any) -> Any:
        best = outcome[1].max()  # NaN if any score is; -inf stands for what is masked
        if torch.isnan(best) or best == torch.inf:
            raise NonFiniteError(
                f"evaluation after {self._place}: the model gives scores that are NaN or infinite, "
                "which cannot be ranked. Lower learning_rate, or set clip_grad_norm.max_norm."
            )
        return outcome

    def _valid_epoch(self, *args: Any, **kwargs: Any) -> Any:
        score, result = super()._valid_epoch(*args, **kwargs)
        if not math.isfinite(score):
            raise NonFiniteError(
                f"validation after {self._place}: {self.valid_metric} is {score}, by which no epoch"
                " can be chosen. Choose another valid_metric, or look at the validation data."
            )
        seconds = sum(self.epoch_seconds) + self.evaluate_seconds
        epoch = len(self.epoch_seconds) - 1
        self.curve.append({"epoch": epoch, "seconds": seconds, "valid": float(score)})
        return score, result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **_: Any) -> None:
        self.best_epoch = epoch
        if not current_world().is_first:
            return
        save_checkpoint(Path(self.saved_model_file), self.model, epoch=epoch)
        if verbose:
            self.logger.info(f"Saving current: {self.saved_model_file}")

    def keep_as_is(
        self, train_data: Any, valid_data: Any, *, verbose: bool, saved: bool, show_progress: bool
    ) -> Any:
        """Keep the model untrained, as checkpoint of epoch -1; return validation score, metrics."""
        self.eval_collector.data_collect(train_data)
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        if valid_data:
            result = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
            self.best_valid_result = result
            self.best_valid_score = calculate_valid_score(result, self.valid_metric)
        return self.best_valid_score, self.best_valid_result

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
        *,
        with_lists: bool = False,
    ) -> Any:
        """Evaluate with the weights of the best epoch unless told otherwise.

        Full ranking of a sequence model is ours (``evaluate.py``), all else is RecBole's. It makes
        the list of each case where a metric needs it, or ``with_lists``.

        Raises:
            NonFiniteError: If the model gives a score that is NaN or infinite.
            RunDirError: If the checkpoint cannot be loaded.
        """
        world = current_world()
        if not world.is_first:  # the first process evaluates for all
            return world.same(None)
        begin = time.perf_counter()
        if load_best_model and eval_data:
            path = Path(model_file or self.saved_model_file)
            load_checkpoint(path, self.model, device=self.device)
            self.logger.info(f"Loading model structure and parameters from {path}")
        self.ranking = None
        if eval_data and ranks_everything(eval_data):
            result = self._rank(eval_data, show_progress=show_progress, with_lists=with_lists)
        else:
            result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        self.evaluate_seconds += time.perf_counter() - begin
        return world.same(result)

    def _rank(self, eval_data: Any, *, show_progress: bool, with_lists: bool) -> Any:
        self.model.eval()
        self.ranking = rank_cases(
            scorer_of(self.model, eval_data),
            eval_data,
            config=self.config,
            place=f"evaluation after {self._place}",
            show_progress=show_progress,
            with_lists=with_lists,
        )
        facts = self.eval_collector.data_struct
        result = metrics_of(self.ranking, self.evaluator, train_facts=facts)
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result

    def rank_among(self, eval_data: Any, only: Tensor) -> Ranking:
        """Rank each case's target among some items only, by the model as it is.

        Args:
            eval_data: A full-ranking loader of a sequence model.
            only: Which items may be candidates, ``(N,)``.
        """
        self.model.eval()
        return rank_cases(
            scorer_of(self.model, eval_data),
            eval_data,
            config=self.config,
            place=f"evaluation after {self._place}",
            show_progress=False,
            only=only,
        )


def _not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    return [name for name, value in tensors if not torch.isfinite(value).all()]
