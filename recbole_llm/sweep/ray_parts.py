"""What Ray Tune asks for: a searcher, a scheduler, a stopper and a callback."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from recbole_llm.errors import RecBoleLLMError
from recbole_llm.sweep.failures import TIMEOUT, death
from recbole_llm.sweep.ledger import Ledger, State
from recbole_llm.sweep.lines import end_line
from recbole_llm.sweep.proposers import Proposer, Wanted
from recbole_llm.sweep.ray_tuner import TRIAL
from recbole_llm.sweep.specs import Budget, Dimension, Sweep

GIB = 2**30
LOOK = 5  # seconds between two looks at the disk


class NotKept:
    """A part that Ray's state file does not keep: nothing reads that file, the ledger is enough."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pass


class RaySearcher(NotKept, Searcher):
    """Hands the trials of a proposer to Ray, one when a trial may begin."""

    def __init__(self, proposer: Proposer, *, ledger: Ledger) -> None:
        super().__init__()
        self._names: dict[str, str] = {}
        self._proposer, self._ledger = proposer, ledger

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return what the trial function is called with."""
        one = self._proposer.next()
        if one is None:
            return str(Searcher.FINISHED)
        self._names[trial_id] = one.id
        return {TRIAL: asdict(one)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the proposer the best score, None of a trial that failed."""
        name = self._names[trial_id]
        known = self._ledger.get(name)
        has_failed = error or bool((result or {}).get("has_failed"))
        self._proposer.tell(name, None if has_failed or known is None else known.best)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the ledger is what a sweep goes on from."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""


class Limits(NotKept, Stopper):
    """Stops every trial when the sweep's hours are over or its disk is full."""

    def __init__(self, budget: Budget, *, ledger: Ledger, folder: Path) -> None:
        self._budget, self._ledger, self._folder = budget, ledger, folder
        self._used, self._looked = 0.0, 0.0

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no trial by itself."""
        return False

    def stop_all(self) -> bool:
        """Tell whether all is to be stopped."""
        return self.is_late or self.is_full

    @property
    def is_late(self) -> bool:
        """Whether the hours are over."""
        return self._budget.hours is not None and self._ledger.search_hours >= self._budget.hours

    @property
    def is_full(self) -> bool:
        """Whether the folder of work holds more than it may."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked, self._used = now, bytes_below(self._folder) / GIB
        return self._used > self._budget.disk_gb

    def raise_if_full(self) -> None:
        """Say that the disk budget ended the sweep, if it did.

        Raises:
            RecBoleLLMError: If so.
        """
        if self._used > self._budget.disk_gb:
            raise RecBoleLLMError(
                f"budget.disk_gb: {self._folder} held {self._used:.1f} GiB, more than "
                f"{self._budget.disk_gb:g}. All trials are in the ledger; allow more, and --resume."
            )


def bytes_below(folder: Path) -> int:
    """Return what the files below a folder hold; files that vanish meanwhile count as nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


class LedgerCallback(NotKept, tune.Callback):
    """Writes what Ray tells of trials into the ledger."""

    def __init__(
        self, ledger: Ledger, *, epochs: int, keeps_curve: bool, metric: str,
        say: Callable[[str], None], trial_hours: float | None,
    ) -> None:  # fmt: skip
        self._ledger, self._trial_hours = ledger, trial_hours
        self._epochs, self._keeps_curve, self._metric, self._say = epochs, keeps_curve, metric, say
        self._begun: set[str] = set()
        self._known: dict[str, Wanted] = {}
        self._heard: dict[str, float] = {}  # when a trial was last heard of

    def _wanted(self, trial: Any) -> Wanted:
        """Return what a trial began as; population-based training gives it others' settings."""
        if trial.trial_id not in self._known:
            self._known[trial.trial_id] = Wanted(**trial.config[TRIAL])
        return self._known[trial.trial_id]

    def _hangs(self, trial: Any) -> bool:
        """Tell whether nothing was heard of a trial for longer than it may take."""
        now = time.monotonic()
        silence = now - self._heard.get(trial.trial_id, now)
        return self._trial_hours is not None and silence > 3600 * self._trial_hours

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Let a trial that hangs begin no more when its process has ended itself."""
        for trial in trials:
            if trial.status == trial.RUNNING and self._hangs(trial):
                trial.max_failures = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write that a trial begins; one that was paused goes on."""
        one = self._wanted(trial)
        self._heard[trial.trial_id] = time.monotonic()
        if one.id not in self._begun:
            self._begun.add(one.id)
            self._ledger.begin(one.id, point=one.point, seed=one.seed, role=one.role)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Write what an epoch scored; one that has told what went wrong is not tried again."""
        self._heard[trial.trial_id] = time.monotonic()
        if result.get("has_failed"):
            trial.max_failures = 0
        if "score" in result and not result.get("is_last"):
            self._ledger.add(
                self._wanted(trial).id,
                epoch=result["epoch"] - 1,
                score=result["score"],
                seconds=result["seconds"],
                point=result["point"],
                gpu=result["gpu"],
            )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write how a trial ended."""
        last = trial.last_result or {}
        error = last.get("error")
        is_done = last.get("is_last") or last.get("epoch", 0) >= self._epochs
        state: State = "failed" if error else "done" if is_done else "pruned"
        self._end(trial, state, error)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Let a trial whose process died begin anew."""
        one = self._wanted(trial)
        self._say(f"  {one.id} died and begins again: {_death(trial)['message']}")
        self._heard.pop(trial.trial_id, None)
        if not self._keeps_curve:
            self._begun.discard(one.id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Write what a trial told before its process ended, or that it died."""
        told = (trial.last_result or {}).get("error")
        found = _death(trial)
        if self._hangs(trial):
            message = f"budget.trial_hours: {self._trial_hours:g} are over, and no epoch ended."
            found |= {"type": TIMEOUT, "message": message}
        self._end(trial, "failed", told or found)

    def _end(self, trial: Any, state: State, error: Mapping[str, str] | None) -> None:
        one = self._wanted(trial)
        if self._ledger.get(one.id) is None:  # its process died before it began
            self._ledger.begin(one.id, point=one.point, seed=one.seed, role=one.role)
        ended = self._ledger.end(one.id, state, error)
        self._say(end_line(ended, self._ledger, metric=self._metric))


def _death(trial: Any) -> dict[str, str]:
    """Return what Ray wrote of the death of a trial's process."""
    file = Path(trial.error_file) if trial.error_file else None
    return death(file.read_text("utf-8", errors="replace") if file and file.exists() else "")


def scheduler_of(sweep: Sweep, *, ledger: Ledger, epochs: int, mode: str) -> TrialScheduler:
    """Return the scheduler of a sweep, which knows what the ledger has of trials before."""
    chosen = sweep.scheduler
    measure = {"time_attr": "epoch", "metric": "best", "mode": mode}
    grace = min(chosen.grace_epochs, epochs)
    if chosen.kind == "asha":
        scheduler: TrialScheduler = ASHAScheduler(
            **measure, max_t=epochs, grace_period=grace, reduction_factor=chosen.reduction
        )
    elif chosen.kind == "median":
        scheduler = MedianStoppingRule(
            **measure, grace_period=grace, min_samples_required=3, min_time_slice=math.inf
        )  # a trial that waits for others is not paused meanwhile
    elif chosen.kind == "pbt":
        domains = {name: _domain(dimension) for name, dimension in sweep.space.items()}
        return PopulationBasedTraining(
            **(measure | {"metric": "score"}), perturbation_interval=grace,
            hyperparam_mutations={TRIAL: {"point": domains}},
            custom_explore_fn=_Within(sweep.space), log_config=False,
        )  # fmt: skip
    else:
        return FIFOScheduler()
    _replay(scheduler, ledger)
    return scheduler


def _replay(scheduler: TrialScheduler, ledger: Ledger) -> None:
    """Tell a scheduler of the trials that an earlier process ran."""
    for trial in ledger.trials("trial"):
        if ledger.is_open(trial.id):
            continue
        stand_in: Any = _Past(trial.id)
        controller: Any = None
        scheduler.on_trial_add(controller, stand_in)
        best = None
        for row in trial.curve:
            if best is None or ledger.is_better(row["valid"], best):
                best = row["valid"]
            result = {"epoch": row["epoch"] + 1, "best": best}
            if scheduler.on_trial_result(controller, stand_in, result) == TrialScheduler.STOP:
                break  # it went on when fewer trials were known
        scheduler.on_trial_remove(controller, stand_in)


@dataclass(frozen=True)
class _Past:
    trial_id: str


def _domain(dimension: Dimension) -> Any:
    ends = dimension.ends
    return {
        "choice": lambda: list(ends),  # of a list the neighbours are tried
        "int": lambda: tune.randint(ends[0], ends[1] + 1),  # Ray leaves the upper end out
        "uniform": lambda: tune.uniform(*ends),
        "loguniform": lambda: tune.loguniform(*ends),
    }[dimension.kind]()


class _Within:
    """Keeps what population-based training multiplied within the ends of the space."""

    def __init__(self, space: Mapping[str, Dimension]) -> None:
        self._space = space

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        point = dict(config[TRIAL]["point"])
        for name, dimension in self._space.items():
            if dimension.kind != "choice":
                low, high = dimension.ends
                point[name] = min(max(point[name], low), high)
        return {TRIAL: {**config[TRIAL], "point": point}}
