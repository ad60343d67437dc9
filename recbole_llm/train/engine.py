"""The training loop: mixed precision, schedules, averages, several processes, exact resume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from recbole_llm.compat import smallest_gain
from recbole_llm.data.batches import WindowBatch
from recbole_llm.errors import (
    OutOfMemoryError,
    RecBoleLLMError,
    RequestError,
    RunDirError,
    first_line,
)
from recbole_llm.hardware import amp_dtype, is_out_of_memory, lacks_kernel
from recbole_llm.run_dir import STATE
from recbole_llm.settings import Settings
from recbole_llm.train.optim import Steps, WeightAverage
from recbole_llm.train.safe import SafeTrainer
from recbole_llm.train.scalars import ScalarLogger
from recbole_llm.train.state import load_state, restore_random, save_state
from recbole_llm.train.world import current_world

NO_ROOM = (
    "Set a smaller train_batch_size, whose steps gradient_accumulation_steps keeps, and with "
    "text_tuning text_checkpointing: true."
)

NEVER_WARM = (
    "warmup_steps: {warmup} are all of the {total} steps of this training or more, so that the "
    "learning rate never reaches learning_rate."
)


def trains_plainly(trainer_class: type) -> bool:
    """Tell whether a trainer of RecBole's trains as its plain one does."""
    own = ("fit", "_train_epoch", "_valid_epoch", "_build_optimizer")
    return all(getattr(trainer_class, name, None) is getattr(Trainer, name) for name in own)


class Engine(SafeTrainer):
    """Mixin that trains in place of RecBole's plain loop, step for step the same by default.

    Attributes:
        steps: The optimizer's steps.
        loader: The training data.
        world: Which of how many processes this one is.
        begin_from: A state of training to go on from, under settings of learning that may differ
            from those it was trained with; None to begin anew or to resume.
    """

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.settings = Settings.from_config(config)
        self.world = current_world()
        self.wandblogger = ScalarLogger(config, self.tensorboard)
        self.state_file = Path(self.saved_model_file).with_name(STATE)
        self.loader: Any = None
        self.steps: Any = None
        self.begin_from: Path | None = None
        self._random: Any = None  # to be restored before the first epoch
        self._keeps_state = False
        self._loss: nn.Module = BatchLoss(model)
        if self.world.size > 1:
            self._loss = DistributedDataParallel(self._loss, broadcast_buffers=False)
            torch.manual_seed(config["seed"] + self.world.rank)  # dropout differs, weights do not

    def fit(
        self, train_data: Any, valid_data: Any = None, verbose: bool = True, saved: bool = True,
        show_progress: bool = False, callback_fn: Any = None,
    ) -> Any:  # fmt: skip
        """Fit as RecBole does, from where the run's directory says that training stood.

        With ``epochs: 0`` nothing is trained; the model is validated as it is.

        Returns:
            Best validation score and metrics.

        Raises:
            NonFiniteError: If a loss, a score or a metric is not finite.
            OutOfMemoryError: If memory does not hold a step.
            RunDirError: If the state of training cannot be read.
        """
        if self.epochs == 0:
            how = {"verbose": verbose, "saved": saved, "show_progress": show_progress}
            return self.keep_as_is(train_data, valid_data, **how)
        self.loader, self._keeps_state = train_data, saved
        self.steps = self._build_steps(len(train_data))
        is_finished = False
        if self.begin_from is not None:
            self._take_up(self.begin_from)
            self.steps.use_own_rates()
        elif saved and self.state_file.exists():
            is_finished = self._take_up(self.state_file)
        if is_finished:
            restore_random(self._random, train_data)  # which draws the candidates of the test
            self.eval_collector.data_collect(train_data)  # as RecBole's fit, for metrics of lists
        else:
            with smallest_gain(self.settings.min_delta):
                super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
            if self.steps.average and not saved:  # what was validated is what is tested
                self.steps.average.keep()
            self._keep_state(self.epochs, is_finished=True)
        return self.best_valid_score, self.best_valid_result

    def _build_steps(self, num_batches: int) -> Steps:
        settings, decay = self.settings, self.settings.ema_decay
        accumulation = settings.gradient_accumulation_steps
        schedule = {
            "kind": settings.lr_scheduler_type,
            "warmup": settings.warmup_steps,
            "total": self.epochs * -(-num_batches // accumulation),
        }
        if schedule["warmup"] >= schedule["total"]:
            self.logger.warning(NEVER_WARM.format(**schedule))
        scales = self.enable_scaler or (
            self.enable_amp and amp_dtype(self.device.type) is torch.float16
        )
        return Steps(
            optimizer=self.optimizer,
            parameters=list(self.model.parameters()),
            accumulation=accumulation,
            clip=self.clip_grad_norm,
            schedule=schedule,
            scaler=torch.amp.GradScaler(self.device.type, enabled=scales),
            average=WeightAverage(self.model, decay=decay) if decay else None,
        )

    def _take_up(self, path: Path) -> bool:
        """Go back to a state of training; return whether there is nothing left to train."""
        state = load_state(path, self)
        size = len(state["random"])
        if size != self.world.size:
            raise RunDirError(
                f"{path}: {size} processes trained it, received {self.world.size}. "
                f"Resume with --nproc={size}."
            )
        self.start_epoch, self._random = state["next_epoch"], state["random"][self.world.rank]
        done = "finished" if state["is_finished"] else f"goes on with epoch {self.start_epoch}"
        self.logger.info(f"Resumed: training {done}.")
        return bool(state["is_finished"])

    def write_state(self, path: Path, *, next_epoch: int) -> None:
        """Write what :attr:`begin_from` takes, between two epochs."""
        save_state(path, self, next_epoch=next_epoch, is_finished=False)

    def _keep_state(self, next_epoch: int, *, is_finished: bool = False) -> None:
        if self._keeps_state:
            save_state(self.state_file, self, next_epoch=next_epoch, is_finished=is_finished)

    def _run_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> float:
        """Train an epoch and return the sum of its batches' losses."""
        if self._random is not None:
            restore_random(self._random, train_data)
            self._random = None
        elif epoch_idx > 0:
            self._keep_state(epoch_idx)
        self.model.train()
        total = 0.0
        batches = self._with_bar(train_data, epoch_idx, show_progress)
        shared = with_shares(batches, accumulation=self.steps.accumulation)
        for place, (batch, share) in enumerate(shared):
            self._place = f"epoch {epoch_idx}, batch {place}"
            where = {"place": place, "num_batches": len(train_data)}
            try:
                total += self._train_batch(batch, share=share, **where)
            except Exception as error:
                if (known := self._known(error)) is None:
                    raise
                raise known from None
        self._place = f"epoch {epoch_idx}"
        return float(sum(self.world.gather(total)) / self.world.size)

    def _known(self, error: Exception) -> RecBoleLLMError | None:
        """Return what to tell a user of an error that the machine gave, if it is known."""
        if is_out_of_memory(error):
            return OutOfMemoryError(
                f"{self._place}: memory does not hold a step of training: "
                f"{first_line(error)} {NO_ROOM}"
            )
        if self.enable_amp and lacks_kernel(error):
            return RequestError(
                f"enable_amp: this processor cannot train {self.config['model']} in bfloat16: "
                f"{first_line(error)} Leave enable_amp away, which trains in float32 here."
            )
        return None

    def _train_batch(self, batch: Any, *, share: float, place: int, num_batches: int) -> float:
        """Add a batch's gradients and return its loss."""
        with torch.autocast(self.device.type, amp_dtype(self.device.type), enabled=self.enable_amp):
            loss = self._loss(batch.to(self.device)) * share
        self._check_nan(loss)
        self.steps.backward(loss, batch=place, num_batches=num_batches)
        return float(loss.item())

    def _with_bar(self, train_data: Any, epoch: int, show_progress: bool) -> Any:
        is_shown = show_progress and self.world.is_first
        return tqdm(train_data, desc=f"Epoch {epoch:>5}", ncols=100) if is_shown else train_data

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> Any:
        with self._averaged():  # the epoch has a bar already
            return super()._valid_epoch(valid_data, show_progress=False)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        with self._averaged():
            super()._save_checkpoint(epoch, verbose=verbose, **kwargs)

    def _averaged(self) -> AbstractContextManager[None]:
        average = None if self.steps is None else self.steps.average
        return average.in_place() if average else nullcontext()


def with_shares(batches: Iterable[Any], *, accumulation: int) -> Iterator[tuple[Any, float]]:
    """Yield batches with what their losses, means over cases, count for in a step of several.

    So the last batch of an epoch, which is smaller, weighs as its cases do. Windows know their own.
    """
    left = iter(batches)
    while step := list(islice(left, accumulation)):
        sizes = [1 if isinstance(batch, WindowBatch) else len(batch) for batch in step]
        for batch, size in zip(step, sizes, strict=True):
            yield batch, size * len(step) / sum(sizes)


class BatchLoss(nn.Module):
    """The loss of a batch as a module's output, which DistributedDataParallel wants.

    The batches of a step, and the parts of one that several processes share, weigh as their targets
    do, so that their mean is the loss of the whole, but for what compares rows: contrast, in-batch
    negatives, FGM.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Tensor:
        """Return the loss, whose parts are added up where a model of RecBole's has several."""
        losses = self.model.calculate_loss(batch)
        loss: Any = sum(losses) if isinstance(losses, tuple) else losses
        return loss * batch.weight if isinstance(batch, WindowBatch) else loss
