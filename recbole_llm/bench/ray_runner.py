"""Runs as Ray tasks: several at a time on this machine, or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from recbole_llm.bench.sources import Claimed
from recbole_llm.cluster import cluster, require_room, run_tasks
from recbole_llm.job import Job, Outcome, death, execute


@dataclass(frozen=True, kw_only=True)
class RayRunner:
    """Runs jobs as Ray tasks.

    Attributes:
        address: A cluster's, ``auto`` for the one of this machine, or None to start one here.
        gpus: GPUs of a run; 0.25 puts four on one, None is one if the cluster has any.
        cpus: Cores of a run.
    """

    address: str | None
    gpus: float | None
    cpus: float

    def __call__(self, jobs: Iterable[Claimed]) -> Iterator[tuple[Any, Outcome]]:
        """Run jobs and yield what comes of each, first come, first served.

        Raises:
            RequestError: If Ray or the cluster is not there, or is too small for a run.
        """
        with cluster(self.address) as ray:
            gpus = self.gpus
            if gpus is None:
                gpus = float(ray.cluster_resources().get("GPU", 0) > 0)
            require_room(ray, "GPU", gpus, place="--gpus")
            require_room(ray, "CPU", self.cpus, place="--cpus")
            work = execute if gpus else _execute_without_gpu
            for one, outcome in run_tasks(ray, work, jobs, gpus=gpus, cpus=self.cpus):
                yield one, outcome if isinstance(outcome, Outcome) else death(outcome)


def _execute_without_gpu(job: Job) -> Outcome:
    """Execute a job that asked for no GPU, of which Ray leaves all in sight."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return execute(job)
