"""What a suite still wants: wanted − present, and how long it may take."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from recbole_llm.bench.results import SUITE, Record, failure_path, read_records
from recbole_llm.bench.specs import RunSpec

NOTHING_TAKEN: Mapping[Path, Record] = MappingProxyType({})
State = Literal["present", "missing", "failed", "left out"]


@dataclass(frozen=True)
class Planned:
    """A wanted run, and what is there of it.

    Attributes:
        spec: The run.
        root: The folder of results.
        state: Whether its record is there; ``failed`` where the last try left a failure.
        seconds: How long it may take, or None where no run like it is there.
        devices: The kinds of device that runs like it ran on.
    """

    spec: RunSpec
    root: Path
    state: State
    seconds: float | None
    devices: Collection[str]

    @property
    def record(self) -> Path:
        """Where the record lies, or will."""
        return self.root / self.spec.path

    @property
    def failure(self) -> Path:
        """Where the failure lies, or would."""
        return failure_path(self.record)


def plan(specs: Sequence[RunSpec], root: Path) -> tuple[list[Planned], list[str]]:
    """Compare what is wanted with what a folder of results holds.

    Returns:
        The runs in the order of the suite, and a line for each file that is no sound record.
    """
    records, problems = read_records(root)
    present = {record.path for record in records}
    beside = [
        one for file in root.parent.glob(f"*/{SUITE}") for one in read_records(file.parent)[0]
    ]
    planned = [
        Planned(spec, root, _state(spec, root, present), *_guess(spec, records, beside))
        for spec in specs
    ]
    return planned, problems


def _state(spec: RunSpec, root: Path, present: Collection[Path]) -> State:
    if spec.skip is not None:
        return "left out"
    if failure_path(root / spec.path).exists():
        return "failed"
    return "present" if root / spec.path in present else "missing"


def _guess(
    spec: RunSpec, records: Sequence[Record], beside: Sequence[Record]
) -> tuple[float | None, set[str]]:
    """Return the mean seconds of records of its row and dataset, else of its model, and where.

    Where the folder has none of it, those of other suites beside it may: of the same settings, or
    of its model and dataset.
    """
    row, model = (spec.ruler, spec.dataset, spec.label), (spec.model, spec.dataset)
    same = {**spec.facts, "seed": None}
    ways = (
        [one for one in records if one.key[:3] == row],
        [one for one in records if one.key[1:3] == row[1:]],
        [one for one in records if one.facts["model"] == spec.model],
        [one for one in beside if {**one.facts["spec"], "seed": None} == same],
        [one for one in beside if (one.facts["model"], one.facts["dataset"]) == model],
    )
    alike = next((way for way in ways if way), [])
    seconds = statistics.fmean(one.seconds for one in alike) if alike else None
    devices = {str(one.facts.get("device") or "").split(":")[0] for one in alike}
    return seconds, devices - {""}


def plan_lines(
    planned: Sequence[Planned], *, is_forced: bool, taken: Mapping[Path, Record] = NOTHING_TAKEN
) -> list[str]:
    """Return the plan in words: a line a run, then the sums.

    Args:
        planned: The runs.
        is_forced: Whether what is there is run again.
        taken: Records of other folders that are taken over, by where they belong.
    """
    runs = [one for one in to_run(planned, is_forced=is_forced) if one.record not in taken]
    lines = [_line(one, is_to_run=one in runs, taken=taken.get(one.record)) for one in planned]
    counts = Counter(one.state for one in planned)
    sums = ", ".join(f"{counts[state]} {state}" for state in get_args(State))
    known = [one.seconds for one in runs if one.seconds is not None]
    time = duration(sum(known)) if known or not runs else "an unknown time"
    if known:
        time += _on({device for one in runs for device in one.devices})
    if known and len(known) < len(runs):
        time += f" and {len(runs) - len(known)} of unknown time"
    wanted = len(planned) - counts["left out"]
    return [*lines, f"{wanted} wanted: {sums}", f"{len(runs)} to run, one after another: {time}"]


def _line(one: Planned, *, is_to_run: bool, taken: Record | None) -> str:
    about = f": {one.spec.skip}" if one.spec.skip is not None else ""
    about = f", taken from {taken.path}" if taken is not None else about
    if is_to_run:
        time = None if one.seconds is None else f"{duration(one.seconds)}{_on(one.devices)}"
        about = f"  ({time or 'unknown'})"
    return f"{one.state:8}  {one.spec.seeded_title}{about}"


def _on(devices: Collection[str]) -> str:
    """Return where times were taken: this machine may be another."""
    return f" on {' and '.join(sorted(devices))}" if devices else ""


def to_run(planned: Sequence[Planned], *, is_forced: bool) -> list[Planned]:
    """Return what is to be run: what has no record, or all that is not left out."""
    undone = ("missing", "failed", "present") if is_forced else ("missing", "failed")
    return [one for one in planned if one.state in undone]


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
