"""Several processes that train one model together, one a GPU, or on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is.

    Attributes:
        rank: 0 is the one that logs, writes and evaluates.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process logs and writes."""
        return self.rank == 0

    def same(self, value: Any) -> Any:
        """Return the first process's value in all of them."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def current_world() -> World:
    """Return the world that this process is in, which is its own unless it joined one."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    return World(dist.get_rank(), dist.get_world_size())


PATIENCE = timedelta(days=7)  # the others wait while the first evaluates, which may take hours


@contextmanager
def joined(*, rank: int, size: int, meeting_point: Path, on_gpu: bool) -> Iterator[None]:
    """Join the world of ``size`` processes that meet at a file, while the block runs.

    Args:
        rank: This process's number, from 0.
        size: Number of processes.
        meeting_point: A file that does not exist yet, on a disk that all see.
        on_gpu: Whether they talk by NCCL rather than gloo.
    """
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(
        backend,
        init_method=f"file://{meeting_point}",
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()
