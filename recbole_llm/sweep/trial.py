"""One trial: a model trained under a point's settings, and what each validation of it scored."""

from __future__ import annotations

import gc
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_llm import compat
from recbole_llm.build import build_model, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RecBoleLLMError
from recbole_llm.log import no_log
from recbole_llm.sweep.points import Point
from recbole_llm.sweep.selection import SelectionData
from recbole_llm.train.engine import Engine


class TrialTimeoutError(RecBoleLLMError):
    """A trial took longer than it may."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all trials of a sweep share.

    Attributes:
        model: A model's name.
        dataset: A dataset's name.
        settings: The settings that are not tried.
        data_path: The folder of datasets, or None for ml-100k, which RecBole's wheel holds.
        trial_hours: How long a trial may take, or None; it is looked at after every epoch.
        use_gpu: Whether it may have a GPU.
    """

    model: str
    dataset: str
    settings: Mapping[str, Any]
    data_path: str | None
    trial_hours: float | None
    use_gpu: bool

    def config(self, point: Mapping[str, Any], *, seed: int, run_dir: str | None) -> LLMConfig:
        """Return the configuration of a point.

        Raises:
            RequestError: If a setting is wrong.
        """
        own = {"seed": seed, "run_dir": run_dir, "show_progress": False, "use_gpu": self.use_gpu}
        own |= {"data_path": self.data_path} if self.data_path else {}
        return LLMConfig(self.model, self.dataset, None, {**self.settings, **point, **own})


@dataclass(frozen=True)
class Epoch:
    """What a trial says after a validation.

    Attributes:
        epoch: The epoch, from 0.
        score: What it scored.
        seconds: The trial's until then.
    """

    epoch: int
    score: float
    seconds: float


Report = Callable[[Epoch, Engine], None]


def run_trial(
    task: Task, point: Point, *, seed: int, data: SelectionData, report: Report,
    begin_from: Path | None = None,
) -> None:  # fmt: skip
    """Train a model under a point's settings and report every validation.

    Nothing is tested, and no weights are kept.

    Args:
        task: What the trials share.
        point: The settings that are tried.
        seed: The trial's.
        data: What it may see.
        report: Hears each validation.
        begin_from: A state of training to go on from.

    Raises:
        TrialTimeoutError: If it takes longer than it may.
        NonFiniteError: If a loss or a score is not finite.
    """
    begin = time.monotonic()
    limit = None if task.trial_hours is None else task.trial_hours * 3600

    def after_epoch(epoch: int, score: float) -> None:
        seconds = time.monotonic() - begin
        report(Epoch(epoch, float(score), seconds), trainer)
        if limit is not None and seconds > limit:
            raise TrialTimeoutError(
                f"budget.trial_hours: {task.trial_hours:g} are over after epoch {epoch}."
            )

    with no_log(), compat.without_tensorboard(), _work_folder() as folder:
        config = task.config(point, seed=seed, run_dir=str(folder))
        train_data, valid_data = data.loaders(config)
        model = build_model(config, train_data)
        trainer: Engine = trainer_class(config)(config, model)
        trainer.begin_from = begin_from
        trainer.fit(
            train_data, valid_data, verbose=False, saved=False, show_progress=False,
            callback_fn=after_epoch,
        )  # fmt: skip


def attempt(task: Task, point: Point, **arguments: Any) -> dict[str, str] | None:
    """Run a trial as :func:`run_trial` does, and return what went wrong, or None.

    Whatever it is, it is this trial's, and the others go on.
    """
    try:
        run_trial(task, point, **arguments)
    except Exception as error:
        return {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
    return None


def give_memory_back() -> bool:
    """Give the memory of a trial that is over back to its GPU, and tell whether the GPU answers.

    After an error of its own, as of an index out of range, it answers no more in this process.
    """
    gc.collect()
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return True
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


@contextmanager
def _work_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="recbole-llm-trial-") as name:
        yield Path(name)
