"""The trials of a sweep, on Ray or in this process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_llm.cluster import NEEDS_RAY, cluster, require_room, run_tasks
from recbole_llm.errors import RequestError
from recbole_llm.job import Job, Outcome, death, execute
from recbole_llm.log import no_log
from recbole_llm.sweep.checks import config_of
from recbole_llm.sweep.ledger import Ledger
from recbole_llm.sweep.lines import end_line
from recbole_llm.sweep.local import run_here
from recbole_llm.sweep.outcome import run_jobs_here
from recbole_llm.sweep.points import corner_points
from recbole_llm.sweep.proposers import Listed, Wanted, finalists_of, proposer_of
from recbole_llm.sweep.specs import Scheduler, Sweep
from recbole_llm.sweep.trial import Task
from recbole_llm.sweep.variants import prepare_all

ENVIRONMENT = {  # read by Ray when it is imported, or when a sweep begins
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths stay what they are
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the log
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # we say what went wrong in a line
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",  # every epoch is told at once
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # for a trial that is stopped to end its epoch
    "RAY_AIR_NEW_OUTPUT": "0",  # its banner
}


@contextmanager
def place_of(sweep: Sweep, *, address: str | None) -> Iterator[Any]:
    """Yield ``ray``, connected, or None where it is not installed and the sweep needs no more.

    Raises:
        RequestError: If the sweep needs Ray and it is not there, or a cluster is not.
    """
    if importlib.util.find_spec("ray") is None:
        if sweep.scheduler.kind != "none" or address is not None:
            wants = "--address" if address is not None else f"scheduler: {sweep.scheduler.kind}"
            raise RequestError(
                f"{wants} needs Ray. {NEEDS_RAY}, or write scheduler: none, and trials run one "
                "after another."
            )
        yield None
        return
    os.environ |= ENVIRONMENT
    with cluster(address) as ray:
        require_room(ray, "CPU", sweep.resources.cpus, place="resources.cpus")
        if ray.cluster_resources().get("GPU", 0):
            require_room(ray, "GPU", sweep.resources.gpus or 0, place="resources.gpus")
        yield ray


@dataclass
class Search:
    """Runs trials and the runs of the winner.

    Attributes:
        sweep: The sweep.
        ledger: Hears what becomes of trials.
        ray: Ray, connected, or None.
        data_path: The folder of datasets, or None for ml-100k.
        work: Folder of what lasts as long as the sweep.
        say: Hears a line of each event.
    """

    sweep: Sweep
    ledger: Ledger
    ray: Any
    data_path: str | None
    work: Path
    say: Callable[[str], None]
    _data: dict[str, Any] = field(default_factory=dict)

    def trials(self) -> None:
        """Try points until there are no more or the budget is spent."""
        if self.sweep.resources.gpus != 0 and not self.gpus:
            self.say("note: there is no GPU here; all trains on the CPU.")
        if not self._is_late:
            self._run(proposer_of(self.sweep, self.ledger), self.sweep)
        for trial in self.ledger.close(is_late=self._is_late):
            self.say(end_line(trial, self.ledger, metric=self.sweep.metric))

    @property
    def _is_late(self) -> bool:
        hours = self.sweep.budget.hours
        return hours is not None and self.ledger.search_hours >= hours

    def finalists(self) -> None:
        """Try the best points under the seeds of the finalists, all epochs of each.

        Where none of these runs was sound before, all are tried again.
        """
        wanted = finalists_of(self.sweep, self.ledger)
        names = {one.id for one in wanted}
        if names.isdisjoint(one.id for one in self.ledger.ranked("finalist")):
            self.ledger.reopen(names)
        budget = self.sweep.budget.model_copy(update={"hours": None, "trials": None})
        parts = {"scheduler": Scheduler(kind="none"), "budget": budget}
        self._run(Listed(wanted, ledger=self.ledger), self.sweep.model_copy(update=parts))

    def jobs(self, jobs: Iterable[tuple[int, Job]]) -> Iterator[tuple[int, Outcome]]:
        """Run whole runs, each in a process of its own."""
        if self.ray is None:
            yield from run_jobs_here(jobs)
            return
        resources = {"cpus": self.sweep.resources.cpus, "gpus": self.gpus}
        for seed, outcome in run_tasks(self.ray, execute, jobs, **resources):
            yield seed, outcome if isinstance(outcome, Outcome) else death(outcome)

    @property
    def gpus(self) -> float:
        """Share of a GPU that a trial, or a run of the winner, has."""
        wanted = self.sweep.resources.gpus
        has_gpu = self.ray is None or self.ray.cluster_resources().get("GPU", 0) > 0
        return 0.0 if not has_gpu else 1.0 if wanted is None else wanted

    @property
    def task(self) -> Task:
        """What the trials share."""
        return Task(
            model=self.sweep.model,
            dataset=self.sweep.dataset,
            settings=_with_whole_paths(self.sweep.fixed),
            data_path=self.data_path,
            trial_hours=self.sweep.budget.trial_hours,
            use_gpu=self.gpus > 0,
        )

    def _run(self, proposer: Any, sweep: Sweep) -> None:
        first = proposer.next()
        if first is None:
            return
        parts: dict[str, Any] = {
            "ledger": self.ledger,
            "task": self.task,
            "data": self._prepared(),
            "say": self.say,
        }
        proposer = _Again(first, proposer)
        if self.ray is None:
            run_here(sweep, proposer, **parts)
            return
        from recbole_llm.sweep.ray_tuner import run_on_ray

        epochs = int(config_of(sweep, next(corner_points(sweep)))["epochs"])
        run_on_ray(sweep, proposer, gpus=self.gpus, epochs=epochs, work=self.work, **parts)

    def _prepared(self) -> Mapping[str, Any]:
        """Return the data of each variant, made once; on Ray, references to its object store."""
        if not self._data:
            with no_log():
                data = prepare_all(self.sweep, self.task, say=self.say)
            put = (lambda one: one) if self.ray is None else self.ray.put
            self._data = {name: put(one) for name, one in data.items()}
        return self._data


def _with_whole_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings whose files of vectors are found from any working directory."""
    given = settings.get("modalities") or {}
    files = {name: str(Path(file).resolve()) for name, file in given.items()}
    return {**settings, "modalities": files} if files else dict(settings)


@dataclass
class _Again:
    """A proposer whose first trial was taken already."""

    first: Wanted | None
    rest: Any

    def next(self) -> Wanted | None:
        one, self.first = self.first, None
        return one if one is not None else self.rest.next()

    def tell(self, name: str, score: float | None) -> None:
        self.rest.tell(name, score)
