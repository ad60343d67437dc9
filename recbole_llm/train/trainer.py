"""The trainer of every model: RecBole's made safe, or ours, which learns every position at once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.trainer import Trainer
from torch import Tensor

from recbole_llm.data.augment import training_augmenter, view_augmenter
from recbole_llm.data.batches import WindowSampler
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.hardware import cpu_is_faster_in_bf16
from recbole_llm.settings import Settings
from recbole_llm.train.engine import Engine, trains_plainly
from recbole_llm.train.safe import SafeTrainer
from recbole_llm.train.world import current_world


@lru_cache(maxsize=32)
def safe_trainer(trainer_class: type) -> type:
    """Return a trainer class with safe checkpoints and guards that is otherwise the one given."""
    if issubclass(trainer_class, SafeTrainer):
        return trainer_class
    mixin = Engine if trains_plainly(trainer_class) else SafeTrainer
    return type(trainer_class.__name__, (mixin, trainer_class), {})


class WindowLoader(WindowSampler):
    """Training windows with what RecBole's trainer asks of a loader."""

    shuffle = True

    def __init__(
        self, dataset: InterestDataset, config: Any, *, target_weights: Tensor | None = None
    ) -> None:
        settings, world = Settings.from_config(config), current_world()
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
            rank=world.rank,
            num_ranks=world.size,
            accumulation=settings.gradient_accumulation_steps,
            augmenter=training_augmenter(settings),
            view_augmenter=view_augmenter(settings),
            target_weights=target_weights,
        )


class InterestTrainer(Engine, Trainer):
    """Trains our models: on windows (``training: all_positions``) or on RecBole's prefixes."""

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        if config["enable_amp"] is None:
            self.enable_amp = self.device.type == "cpu" and cpu_is_faster_in_bf16()
        self.logger.info(f"Training in {'mixed' if self.enable_amp else 'float32'} precision.")

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        tuned = getattr(self.model, "tuned_encoder", None)
        if tuned is not None:
            kwargs["params"] = self._two_groups(list(tuned.parameters()))
        optimizer = super()._build_optimizer(**kwargs)
        if isinstance(optimizer, torch.optim.Adam):  # AdamW is one too
            for group in optimizer.param_groups:
                group["fused"] = True  # the same steps in one kernel
        return optimizer

    def _two_groups(self, tuned: list[torch.nn.Parameter]) -> list[dict[str, Any]]:
        """Return the weights of an encoder, and all others, each with their learning rate."""
        settings, known = Settings.from_config(self.config), set(tuned)
        rate, warmup = settings.text_learning_rate, settings.text_warmup_steps
        others = [value for value in self.model.parameters() if value not in known]
        return [{"params": others}, {"params": tuned, "lr": rate, "warmup": warmup}]

    def fit(self, train_data: TrainDataLoader | WindowSampler, *args: Any, **kwargs: Any) -> Any:
        """Fit as RecBole does; training data that is no windows yet is cut into them first."""
        return super().fit(self._windows(train_data), *args, **kwargs)

    def _windows(self, train_data: Any) -> TrainDataLoader | WindowSampler:
        if isinstance(train_data, WindowSampler):
            train_data.target_weights = self._shared_weights()
            return train_data
        if Settings.from_config(self.config).training == "prefixes":
            return train_data
        if not train_data.dataset.is_flat:
            self.logger.info("benchmark_filename brings its own histories: training on prefixes.")
            return train_data
        loader = WindowLoader(
            train_data.dataset, self.config, target_weights=self._shared_weights()
        )
        targets = int(np.sum(loader.num_targets))
        self.logger.info(f"Training on {len(loader.windows.first)} windows, {targets} targets.")
        return loader

    def _shared_weights(self) -> Tensor | None:
        """Return what items count for as targets where losses are divided by the sum of it."""
        weights: Any = getattr(self.model, "target_weights", None)
        return weights.of_item.cpu().double() if weights and weights.is_self_normalised else None

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        if isinstance(train_data, WindowSampler):
            train_data.set_epoch(epoch_idx)
        return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
