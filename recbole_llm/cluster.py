"""Work on Ray: a cluster of this machine's own, or one that is there already.

A cluster of our own listens on this machine only, without a dashboard, and asks for a token.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from recbole_llm.errors import RequestError

# Read when ray is imported, so that they are set before. The second lets a cluster of one machine
# bind to 127.0.0.1; without it Ray listens on all addresses, whatever dashboard_host says.
OWN_CLUSTER = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Under ``uv run`` Ray would copy the working folder, .venv and all, to start workers from there:
# gigabytes and minutes, for what every machine has.
COPIES_FOLDER = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
# Threads that Ray leaves behind would connect anew, to any cluster that is about, and a process
# that is connected ends in silence when the cluster does.
CONNECTS_ANEW = "RAY_ENABLE_AUTO_CONNECT"
TOKEN = "RAY_AUTH_TOKEN"
TLS = "RAY_USE_TLS"
LOOPBACK = "127.0.0.1"
MOST = 10**6  # of a resource
PATIENCE = 10  # seconds for a cluster to answer
# How every client of gRPC begins, an empty frame of settings behind it; a server answers with its
# own, whose fourth byte is 4. Of another server Ray itself would wait many minutes.
GRPC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NEEDS_RAY = "Run: pip install 'ray[tune]>=2.54'"

Name = TypeVar("Name")


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Yield ``ray``, connected, and disconnect in the end.

    Args:
        address: A cluster's, ``auto`` for the one of this machine, or None to start one here.

    Raises:
        RequestError: If Ray or the cluster is not there.
    """
    ray = _connected(address)
    try:
        yield ray
    finally:
        with _undisturbed():
            ray.shutdown()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hear no second Ctrl-C: half disconnected, a process ends in silence when the cluster does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_tasks(
    ray: Any,
    work: Callable[[Any], Any],
    jobs: Iterable[tuple[Name, Any]],
    *,
    gpus: float,
    cpus: float,
) -> Iterator[tuple[Name, Any]]:
    """Run work as Ray tasks, several at a time, and yield what comes of each, as it comes.

    A task is not tried again. Of one whose worker died it is Ray's error that comes.

    Args:
        ray: Ray, connected.
        work: What to do with a job.
        jobs: Names and jobs.
        gpus: GPUs of a task; 0.25 puts four on one.
        cpus: Cores of a task.
    """
    task = ray.remote(max_retries=0, num_cpus=cpus, num_gpus=gpus)(work)
    pending = {task.remote(job): name for name, job in jobs}
    while pending:
        done, _ = ray.wait(list(pending), timeout=1)
        for reference in done:
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                outcome = error
            yield pending.pop(reference), outcome


def _connected(address: str | None) -> Any:
    if address is None:
        if "ray" in sys.modules and not OWN_CLUSTER.items() <= os.environ.items():
            raise RequestError(
                "Ray was imported before its cluster could be made safe. Use the command line, or "
                f"set {' and '.join(f'{key}={value}' for key, value in OWN_CLUSTER.items())} first."
            )
        os.environ |= {**OWN_CLUSTER, TOKEN: os.environ.get(TOKEN, secrets.token_hex(32))}
    elif address != "auto":
        _require_answer(address)
    os.environ.setdefault(COPIES_FOLDER, "0")
    os.environ[CONNECTS_ANEW] = "0"
    try:
        import ray
    except ImportError:
        raise RequestError(f"--address, --gpus and --cpus need Ray. {NEEDS_RAY}") from None
    own: dict[str, Any] = (
        {} if address else {"include_dashboard": False, "dashboard_host": LOOPBACK}
    )
    try:
        _init(ray, address=address, **own)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise _no_cluster(address, error) from None
    return ray


def _init(ray: Any, *, address: str | None, **own: Any) -> None:
    """Connect, and keep our handler of SIGTERM: Ray's own ends the process without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(  # without an address it would join whatever cluster is about
            address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **own
        )
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def is_share(number: float) -> bool:
    """Tell whether Ray takes so many of a resource: a part of one, or a whole number of them."""
    return 0 <= number < MOST and (number <= 1 or number == int(number))


def in_words(error: Exception) -> str:
    """Return the first and the last line of what Ray says of an error, which may be pages."""
    plain = COLOUR.sub("", str(error)).splitlines()
    lines = [line.strip() for line in plain if line.strip()] or [type(error).__name__]
    return " ... ".join(dict.fromkeys((lines[0], lines[-1])))


def require_room(ray: Any, resource: str, number: float, *, place: str) -> None:
    """Refuse a run that would wait for ever: a run is on one node.

    Args:
        ray: Ray, connected.
        resource: ``CPU`` or ``GPU``.
        number: How many of it a run shall have.
        place: Where that is written, for the message.

    Raises:
        RequestError: If no node has so many.
    """
    nodes = [node["Resources"].get(resource, 0) for node in ray.nodes() if node["Alive"]]
    if number > (there := max(nodes, default=0)):
        where = "this machine" if len(nodes) < 2 else "the largest node"
        raise RequestError(
            f"{place}: a run shall have {number:g}, and {where} has {there:g}. Ask for less, or "
            "for a cluster begin a node that has it first."
        )


def _require_answer(address: str) -> None:
    """Refuse an address where nobody listens, or another server, for which Ray waits minutes.

    Raises:
        RequestError: If it is one.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            if os.environ.get(TLS, "0") == "0":
                connection.sendall(GRPC)
                if connection.recv(9)[3:4] != b"\x04":
                    raise ConnectionError("another server is there")
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str | None, error: Exception) -> RequestError:
    if address is None:
        return RequestError(f"Ray cannot start a cluster here ({in_words(error)}).")
    if "No node info" in str(error):
        return RequestError(
            f"--address: the cluster at {address} does not know this machine. Make it one of its "
            f"nodes first: ray start --address={address}."
        )
    return RequestError(
        f"--address: {address} is no Ray cluster that answers ({in_words(error)}). Name one that "
        "was started by ray start --head, as HOST:PORT or auto, or leave --address out."
    )
