"""RecBole's trainers, made safe; ours, which trains every position of a window at once."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.trainer import Trainer
from torch import Tensor

from recbole_llm.data.batches import WindowSampler
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.errors import NonFiniteError, RequestError
from recbole_llm.hardware import cpu_has_bf16
from recbole_llm.run_dir import WEIGHTS, create_run_dir
from recbole_llm.settings import Settings
from recbole_llm.train.checkpoints import load_checkpoint, save_checkpoint
from recbole_llm.train.evaluate import metrics_of, rank_cases, ranks_everything
from recbole_llm.train.ranking import Ranking
from recbole_llm.train.scorers import scorer_of

TrainerLike: Any = object  # what a mixin of any RecBole trainer may ask of itself


class SafeTrainer(TrainerLike):
    """Mixin for any RecBole trainer: safe checkpoints in the run's own directory, and guards.

    Attributes:
        best_epoch: The epoch of the checkpoint, -1 before the first.
        epoch_seconds: Training seconds of each epoch run.
        evaluate_seconds: Seconds spent on validation and test.
        ranking: The ranks of the last evaluation, None where RecBole evaluated.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        run_dir = config["run_dir"] or create_run_dir(
            Path(config["checkpoint_dir"]), model=config["model"], dataset=config["dataset"]
        )
        self.saved_model_file = str(Path(run_dir) / WEIGHTS)
        self.best_epoch = -1
        self.epoch_seconds: list[float] = []
        self.evaluate_seconds = 0.0
        self.ranking: Ranking | None = None
        self._place = "before the first epoch"

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        self._place = f"epoch {epoch_idx}"
        losses = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self.epoch_seconds.append(time.perf_counter() - begin)
        return losses

    def _check_nan(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise NonFiniteError(
                f"{self._place}: the training loss is {loss.item()}. Lower learning_rate, or set "
                "clip_grad_norm; the last good checkpoint is kept."
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
                "which cannot be ranked. Lower learning_rate, or set clip_grad_norm."
            )
        return outcome

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **_: Any) -> None:
        if not self.config["single_spec"] and self.config["local_rank"] != 0:
            return
        save_checkpoint(Path(self.saved_model_file), self.model, epoch=epoch)
        self.best_epoch = epoch
        if verbose:
            self.logger.info(f"Saving current: {self.saved_model_file}")

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Evaluate with the weights of the best epoch unless told otherwise.

        Full ranking of a sequence model is ours (``evaluate.py``), all else is RecBole's.

        Raises:
            NonFiniteError: If the model gives a score that is NaN or infinite.
            RunDirError: If the checkpoint cannot be loaded.
        """
        begin = time.perf_counter()
        if load_best_model and eval_data:
            path = Path(model_file or self.saved_model_file)
            load_checkpoint(path, self.model, device=self.device)
            self.logger.info(f"Loading model structure and parameters from {path}")
        self.ranking = None
        if eval_data and ranks_everything(eval_data):
            result = self._rank(eval_data, show_progress=show_progress)
        else:
            result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        self.evaluate_seconds += time.perf_counter() - begin
        return result

    def _rank(self, eval_data: Any, *, show_progress: bool) -> Any:
        self.model.eval()
        self.ranking = rank_cases(
            scorer_of(self.model, eval_data),
            eval_data,
            config=self.config,
            place=f"evaluation after {self._place}",
            show_progress=show_progress,
        )
        facts = self.eval_collector.data_struct
        result = metrics_of(self.ranking, self.evaluator, train_facts=facts)
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result


@lru_cache(maxsize=32)
def safe_trainer(trainer_class: type) -> type:
    """Return a trainer class with safe checkpoints and guards that is otherwise the one given."""
    if issubclass(trainer_class, SafeTrainer):
        return trainer_class
    return type(trainer_class.__name__, (SafeTrainer, trainer_class), {})


class WindowLoader(WindowSampler):
    """Training windows with what RecBole's trainer asks of a loader."""

    shuffle = True

    def __init__(self, dataset: InterestDataset, config: Any) -> None:
        settings = Settings.from_config(config)
        starts, num_targets = dataset.training_sequences()
        self.dataset = self._dataset = dataset
        self.config = config
        super().__init__(
            items=dataset.events[dataset.iid_field],
            starts=starts,
            num_targets=num_targets,
            max_length=config["MAX_ITEM_LIST_LENGTH"],
            overlap=settings.window_overlap,
            batch_size=config["train_batch_size"],
            seed=config["seed"],
        )


class InterestTrainer(SafeTrainer, Trainer):
    """Trains our models: on windows (``training: all_positions``) or on RecBole's prefixes."""

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        if config["enable_amp"] is None:
            self.enable_amp = self.device.type == "cpu" and cpu_has_bf16()
        self.logger.info(f"Training in {'mixed' if self.enable_amp else 'float32'} precision.")

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = super()._build_optimizer(**kwargs)
        if isinstance(optimizer, torch.optim.Adam):  # AdamW is one too
            for group in optimizer.param_groups:
                group["fused"] = True  # the same steps in one kernel
        return optimizer

    def fit(self, train_data: TrainDataLoader, *args: Any, **kwargs: Any) -> Any:
        """Fit as RecBole does; the training data is cut into windows first."""
        return super().fit(self._windows(train_data), *args, **kwargs)

    def _windows(self, train_data: TrainDataLoader) -> TrainDataLoader | WindowLoader:
        if Settings.from_config(self.config).training == "prefixes":
            return train_data
        if not self.config["single_spec"]:
            raise RequestError(
                "training: all_positions runs in one process, received several. "
                "Use one process, or training: prefixes."
            )
        if not train_data.dataset.is_flat:
            self.logger.info("benchmark_filename brings its own histories: training on prefixes.")
            return train_data
        loader = WindowLoader(train_data.dataset, self.config)
        targets = int(np.sum(loader.num_targets))
        self.logger.info(f"Training on {len(loader.windows.first)} windows, {targets} targets.")
        return loader

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        if isinstance(train_data, WindowLoader):
            train_data.set_epoch(epoch_idx)
        return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
