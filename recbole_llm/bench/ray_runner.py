"""Runs as Ray tasks: several at a time on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from recbole_llm.bench.sources import Claimed
from recbole_llm.cluster import cluster, require_room, run_tasks
from recbole_llm.job import Outcome, death, execute


@dataclass(frozen=True, kw_only=True)
class RayRunner:
    """Runs jobs as Ray tasks.

    Attributes:
        address: A cluster's, ``auto`` for the one of this machine, or None to start one here.
        gpus: GPUs of a run; 0.25 puts four on one.
        cpus: Cores of a run.
    """

    address: str | None
    gpus: float
    cpus: float

    def __call__(self, jobs: Iterable[Claimed]) -> Iterator[tuple[Any, Outcome]]:
        """Run jobs and yield what comes of each, first come, first served.

        Raises:
            RequestError: If Ray or the cluster is not there, or is too small for a run.
        """
        with cluster(self.address) as ray:
            if self.address is None:
                require_room(ray, "GPU", self.gpus, place="--gpus")
                require_room(ray, "CPU", self.cpus, place="--cpus")
            for one, outcome in run_tasks(ray, execute, jobs, gpus=self.gpus, cpus=self.cpus):
                yield one, outcome if isinstance(outcome, Outcome) else death(outcome)
