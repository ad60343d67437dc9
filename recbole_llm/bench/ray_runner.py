"""Runs as Ray tasks: several at a time on this machine, or on a cluster.

A cluster of our own listens on this machine only, without a dashboard, and asks for a token.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from recbole_llm.bench.job import Outcome, execute
from recbole_llm.bench.plan import Planned
from recbole_llm.bench.runner import Claimed
from recbole_llm.errors import RequestError

# Read when ray is imported, so that they are set before. The third lets a cluster of one machine
# bind to 127.0.0.1; without it Ray listens on all addresses, whatever dashboard_host says.
OWN_CLUSTER = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
TOKEN = "RAY_AUTH_TOKEN"
LOOPBACK = "127.0.0.1"
PATIENCE = 10  # seconds for a cluster to answer


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

    def __call__(self, jobs: Iterable[Claimed]) -> Iterator[tuple[Planned, Outcome]]:
        """Run jobs and yield what comes of each, first come, first served.

        Raises:
            RequestError: If Ray or the cluster is not there, or is too small for a run.
        """
        ray = self._connected()
        try:
            # A task is not tried again: its run goes on at the next call.
            task = ray.remote(max_retries=0, num_cpus=self.cpus, num_gpus=self.gpus)(execute)
            pending = {task.remote(job): one for one, job in jobs}
            while pending:
                done, _ = ray.wait(list(pending), timeout=1)
                for reference in done:
                    yield pending.pop(reference), _outcome(ray, reference)
        finally:
            ray.shutdown()

    def _connected(self) -> Any:
        if self.address is None:
            os.environ |= {**OWN_CLUSTER, TOKEN: os.environ.get(TOKEN, secrets.token_hex(32))}
        elif self.address != "auto":
            _require_answer(self.address)
        try:
            import ray
        except ImportError:
            raise RequestError(
                "--address, --gpus and --cpus need Ray. Run: pip install 'ray[tune]>=2.54'"
            ) from None
        try:
            own = {} if self.address else {"include_dashboard": False, "dashboard_host": LOOPBACK}
            ray.init(address=self.address, **own)
        except ConnectionError as error:
            raise _no_cluster(self.address, error) from None
        if self.address is None:
            self._require_room(ray)
        return ray

    def _require_room(self, ray: Any) -> None:
        there = ray.cluster_resources()
        for name, wanted in (("GPU", self.gpus), ("CPU", self.cpus)):
            if wanted > there.get(name, 0):
                ray.shutdown()
                raise RequestError(
                    f"--{name.lower()}s: a run shall have {wanted:g}, and this machine has "
                    f"{there.get(name, 0):g}."
                )


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray itself waits minutes.

    Raises:
        RequestError: If nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> RequestError:
    return RequestError(
        f"--address: {address} is no Ray cluster that answers ({error}). Name one that "
        "was started by ray start --head, as HOST:PORT or auto, or leave --address out."
    )


def _outcome(ray: Any, reference: Any) -> Outcome:
    """Return what came of a task; a worker that died is a failure like any other."""
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        first = str(error).splitlines()[0]
        what = {"type": type(error).__name__, "message": first, "traceback": str(error)}
        return Outcome(None, None, what, 0.0)
    return outcome
