"""Trials on Ray Tune: several at a time, stopped early, on this machine or on a cluster."""

from __future__ import annotations

import faulthandler
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recbole_llm.errors import RecBoleLLMError
from recbole_llm.sweep.ledger import Ledger
from recbole_llm.sweep.proposers import Proposer, Wanted
from recbole_llm.sweep.specs import Sweep
from recbole_llm.sweep.trial import Epoch, Task, attempt, give_memory_back
from recbole_llm.sweep.variants import variant_of

TRIAL = "trial"  # what Ray calls the trial function with is a trial of ours under this key
STATE = "training.safetensors"
OWN = ".recbole-llm-ray"
HANGS = 2  # times its hours, after which the process of a trial is ended


class TrialFailedError(RecBoleLLMError):
    """A trial that has told what went wrong ends its process: none begins in what it left."""


class Watch:
    """Ends this process when an epoch takes twice the hours of a trial: who hangs hears no limit.

    Args:
        hours: Those of a trial, or None to watch nothing.
    """

    def __init__(self, hours: float | None) -> None:
        self._seconds = None if hours is None else HANGS * 3600 * hours

    def __enter__(self) -> None:
        if self._seconds is not None:
            faulthandler.dump_traceback_later(self._seconds, exit=True)

    def __exit__(self, *error: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Watch nothing meanwhile, then begin anew."""
        faulthandler.cancel_dump_traceback_later()
        yield
        self.__enter__()


def train_on_ray(
    config: dict[str, Any], *, task: Task, data: Mapping[str, Any], state_every: int,
    is_bigger_better: bool,
) -> None:  # fmt: skip
    """Be the function that Ray Tune calls for a trial; what goes wrong is told.

    A process that dies cannot tell; Ray does.

    Raises:
        TrialFailedError: When it has told, so that Ray ends this process.
    """
    import ray
    from ray import tune

    if not task.use_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = (
            ""  # Ray leaves all in sight of one that asked for none
        )
    one = Wanted(**config[TRIAL])
    last: dict[str, Any] = {"epoch": 0, "best": None}
    watch = Watch(task.trial_hours)

    def report(epoch: Epoch, trainer: Any) -> None:
        best = last["best"]
        is_best = best is None or (epoch.score > best if is_bigger_better else epoch.score < best)
        last.update(
            epoch=epoch.epoch + 1, score=epoch.score, best=epoch.score if is_best else best,
            seconds=epoch.seconds, point=one.point, gpu=os.environ.get("CUDA_VISIBLE_DEVICES"),
        )  # fmt: skip
        is_kept = state_every and (epoch.epoch + 1) % state_every == 0
        with watch.off(), tempfile.TemporaryDirectory() as folder:  # Ray may let it wait long
            if is_kept:
                trainer.write_state(Path(folder) / STATE, next_epoch=epoch.epoch + 1)
            state = tune.Checkpoint.from_directory(folder) if is_kept else None
            tune.report(dict(last), checkpoint=state)

    checkpoint = tune.get_checkpoint()
    with nullcontext() if checkpoint is None else checkpoint.as_directory() as folder:
        begin = None if folder is None else Path(folder) / STATE
        try:
            with watch:
                shared = ray.get(data[variant_of(one.point)])
                error = attempt(
                    task, one.point, seed=one.seed, data=shared, report=report, begin_from=begin
                )
        finally:
            with watch:
                give_memory_back()  # for the next trial in this process, and for others on its GPU
    worst = float("-inf") if is_bigger_better else float("inf")
    best = worst if last["best"] is None else last["best"]
    end = {"is_last": True, "has_failed": error is not None, "error": error}
    if error is None:
        tune.report({"score": best, **last, "best": best, **end})
        return
    del last["best"]  # by which a scheduler would stop it, and keep its process
    tune.report({"score": best, **last, **end})
    raise TrialFailedError(error["message"])


def run_on_ray(
    sweep: Sweep,
    proposer: Proposer,
    *,
    ledger: Ledger,
    task: Task,
    data: Mapping[str, Any],
    gpus: float,
    epochs: int,
    work: Path,
    say: Callable[[str], None],
) -> None:
    """Run what a proposer proposes until it has no more or the budget is spent.

    Args:
        sweep: The sweep.
        proposer: Says what is tried.
        ledger: Hears what becomes of it.
        task: What the trials share.
        data: References to prepared data by variant.
        gpus: Share of a GPU that a trial has.
        epochs: How many a trial trains at most.
        work: Where Ray keeps what it needs while it runs, in a folder that is removed in the end.
        say: Hears a line of each event.

    Raises:
        RecBoleLLMError: If the disk budget is spent.
    """
    from ray import tune

    from recbole_llm.sweep.ray_parts import LedgerCallback, Limits, RaySearcher, scheduler_of
    from recbole_llm.sweep.states import States

    is_pbt = sweep.scheduler.kind == "pbt"
    trainable = tune.with_resources(
        tune.with_parameters(
            train_on_ray,
            task=task,
            data=data,
            state_every=sweep.scheduler.grace_epochs if is_pbt else 0,
            is_bigger_better=ledger.is_bigger_better,
        ),
        {"cpu": sweep.resources.cpus, "gpu": gpus},
    )
    mode = "max" if ledger.is_bigger_better else "min"
    limits = Limits(sweep.budget, ledger=ledger, folder=work)
    folder = work / OWN
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    callback = LedgerCallback(
        ledger, epochs=epochs, keeps_curve=is_pbt, metric=sweep.metric, say=say,
        trial_hours=sweep.budget.trial_hours,
    )  # fmt: skip
    tuner = tune.Tuner(
        trainable,
        param_space={TRIAL: tune.grid_search(_all(proposer))} if is_pbt else None,
        tune_config=tune.TuneConfig(
            search_alg=None if is_pbt else RaySearcher(proposer, ledger=ledger),
            scheduler=scheduler_of(sweep, ledger=ledger, epochs=epochs, mode=mode),
            num_samples=1 if is_pbt else -1,
            max_concurrent_trials=sweep.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            failure_config=tune.FailureConfig(max_failures=sweep.retries),
            callbacks=[callback, *([States()] if is_pbt else [])],
            stop=limits,
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    limits.raise_if_full()


def _all(proposer: Proposer) -> list[dict[str, Any]]:
    """Return all that is proposed, which population-based training wants at once."""
    return [asdict(one) for one in iter(proposer.next, None)]
