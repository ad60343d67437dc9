"""Measurements in processes of their own, rounds of them, and the machine they ran on."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from recbole_llm.hardware import cpu_is_faster_in_bf16, device_name
from recbole_llm.provenance import PACKAGES, commit, peak_memory_mib

SCRIPT = Path(__file__).parents[1] / "speed.py"
Task = Mapping[str, Any]


def in_child(section: str, task: Task) -> Any:
    """Return what ``measure`` of a section returns in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), f"--child={section}"],
            cwd=folder,
            input=json.dumps(task),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{section} {json.dumps(task)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def in_rounds(section: str, tasks: Mapping[str, Task], rounds: int) -> list[dict[str, Any]]:
    """Measure all tasks in turn, ``rounds`` times, so that a drift of the machine meets all."""
    found = []
    for _ in range(rounds):
        found.append({name: in_child(section, task) for name, task in tasks.items()})
        print(json.dumps(found[-1]), flush=True)
    return found


def median_ratio(
    rounds: Iterable[Mapping[str, Any]], unit: str, *, of: str, to: str = "ours"
) -> float:
    """Return the median over rounds of a ratio between contestants, taken within a round."""
    return statistics.median(one[of][unit] / one[to][unit] for one in rounds)


def machine() -> dict[str, Any]:
    """Return what two measurements must share to be compared."""
    return {
        "processor": device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "precision": "bf16" if cpu_is_faster_in_bf16() else "float32",
    }


def provenance() -> dict[str, Any]:
    """Return the machine, the versions and the commit of a part."""
    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    return {"machine": machine(), "versions": versions, "commit": commit()}


def forget_peak() -> float:
    """Begin a new peak of this process's memory (Linux) and return where it begins, in MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak_mib()


def peak_mib() -> float:
    """Return the most memory that this process has held, in MiB."""
    peak = peak_memory_mib()
    if peak is None:
        raise SystemExit("This system does not say how much memory a process has held.")
    return peak
