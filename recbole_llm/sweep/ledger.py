"""The ledger of a sweep: one JSON a trial, written whole after each epoch.

It alone says what has been tried. Whatever Ray keeps of a sweep may be lost or damaged.
"""

from __future__ import annotations

import datetime
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from recbole_llm.errors import RequestError
from recbole_llm.files import atomic_path, write_json
from recbole_llm.run_dir import read_json
from recbole_llm.sweep.failures import LOST, is_of_the_machine
from recbole_llm.sweep.points import Point

SCHEMA = 1
SWEEP, TRIALS = "sweep.json", "trials"
State = Literal["running", "done", "pruned", "stopped", "failed"]
Role = Literal["trial", "finalist"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is known of a trial.

    Attributes:
        id: Eight hex digits of all that decides its score.
        number: Its place in the sweep, from 1.
        role: Whether it is of the search, or a finalist under another seed.
        point: The settings that it began with.
        seed: Its seed.
        state: ``pruned`` by the scheduler, ``stopped`` by the sweep's hours.
        curve: Of each validation the epoch, the seconds of the trial until then, and the score; of
            population-based training also the settings, where they are not those of the beginning.
        best: The best score, or None before the first.
        best_epoch: Its epoch.
        best_point: The settings that this epoch had, where they are not those of the beginning.
        begun: When its last attempt began, as ISO 8601 in UTC.
        hours: Hours of the sweep until it was last heard of, without those between a stop and a
            resume.
        seconds: Of all attempts.
        attempts: How often it began.
        error: Type, message and traceback of what went wrong last.
        gpu: What it saw of GPUs, as ``CUDA_VISIBLE_DEVICES``; None where Ray says nothing.
    """

    id: str
    number: int
    role: Role = "trial"
    point: Point
    seed: int
    state: State = "running"
    curve: Sequence[Mapping[str, Any]] = ()
    best: float | None = None
    best_epoch: int | None = None
    best_point: Point | None = None
    begun: str | None = None
    hours: float | None = None
    seconds: float = 0.0
    attempts: int = 1
    error: Mapping[str, str] | None = None
    gpu: str | None = None

    @property
    def settings(self) -> Point:
        """The settings of its best epoch."""
        return self.point if self.best_point is None else self.best_point

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to run of it."""
        return self.state != "running"


@dataclass
class Ledger:
    """The trials of a sweep, in memory and on disk.

    Attributes:
        folder: Where the sweep's results lie.
        is_bigger_better: The metric's direction.
        hours_before: Hours that the sweep ran before this process.
        search_hours_before: Those of them that its search took, without its finalists.
    """

    folder: Path
    is_bigger_better: bool = True
    hours_before: float = 0.0
    search_hours_before: float = 0.0
    _trials: dict[str, Trial] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _again: set[str] = field(default_factory=set)
    _start: float = field(default_factory=time.monotonic)

    def read(self) -> list[str]:
        """Read what is there; return a line for each file that is no trial's, which is passed over.

        A trial that was running when the sweep ended is not over.
        """
        problems = []
        for path in sorted((self.folder / TRIALS).glob("*.json")):
            try:
                trial = _trial(read_json(path))
                if path.stem != trial.id:
                    raise ValueError(f"it is of trial {trial.id}")
            except (RequestError, ValueError, TypeError) as error:
                problems.append(f"{path}: is no trial's record, and is made again ({error})")
                continue
            self._trials[trial.id] = trial
        self._read_clock()
        return problems

    def _read_clock(self) -> None:
        """Take the hours from the records; what passed until one was written was of its role."""
        ends = [(one.hours, one.role) for one in self._trials.values() if one.hours is not None]
        self.hours_before = self.search_hours_before = 0.0
        for hours, role in sorted(ends):
            self.search_hours_before += (hours - self.hours_before) * (role == "trial")
            self.hours_before = hours

    @property
    def hours(self) -> float:
        """Hours that the sweep has run, in this process and before."""
        return self.hours_before + (time.monotonic() - self._start) / 3600

    @property
    def search_hours(self) -> float:
        """Hours of the search, while it runs."""
        return self.hours - self.hours_before + self.search_hours_before

    def try_again(self, *, hours: float | None) -> None:
        """Let trials of an earlier process begin anew.

        Those that its machine failed, and those that were stopped; but none of the search where its
        hours are over.
        """
        is_late = hours is not None and self.search_hours >= hours
        self._again = {
            one.id
            for one in self._trials.values()
            if (one.state == "stopped" or is_of_the_machine(one.error))
            and not (is_late and one.role == "trial")
        }

    def reopen(self, names: Iterable[str]) -> None:
        """Let trials begin anew, however they ended."""
        self._again |= set(names)

    def is_open(self, name: str) -> bool:
        """Tell whether a trial is still to be run, or to be run again."""
        trial = self._trials.get(name)
        return trial is None or not trial.is_over or name in self._again

    def trials(self, role: Role | None = None) -> list[Trial]:
        """Return the trials in the order of their numbers."""
        chosen = [one for one in self._trials.values() if role in (None, one.role)]
        return sorted(chosen, key=lambda trial: trial.number)

    def get(self, name: str) -> Trial | None:
        """Return a trial."""
        return self._trials.get(name)

    def begin(self, name: str, *, point: Point, seed: int, role: Role = "trial") -> Trial:
        """Write that a trial begins, anew if it began before."""
        before, now = self._trials.get(name), time.monotonic()
        lost = self._lost(name, now)
        self._again.discard(name)
        moment = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        trial = Trial(
            id=name,
            number=self._next_number if before is None else before.number,
            role=role,
            point=point,
            seed=seed,
            begun=moment,
            seconds=lost + (0.0 if before is None else before.seconds),
            attempts=1 if before is None else before.attempts + 1,
        )
        self._since[name] = now
        return self._keep(trial)

    @property
    def _next_number(self) -> int:
        return max((one.number for one in self._trials.values()), default=0) + 1

    def _lost(self, name: str, now: float) -> float:
        """Return the seconds of an attempt that died, as far as another process wrote of it."""
        if name in self._since:
            return now - self._since[name]
        before = self._trials.get(name)
        is_cut_off = before is not None and not before.is_over and before.curve
        return float(before.curve[-1]["seconds"]) if before and is_cut_off else 0.0

    def add(
        self, name: str, *, epoch: int, score: float, seconds: float, point: Point,
        gpu: str | None = None,
    ) -> Trial:  # fmt: skip
        """Write what an epoch of a trial scored, under which settings."""
        trial = self._trials[name]
        changed = None if point == trial.point else point
        row: dict[str, Any] = {"epoch": epoch, "seconds": seconds, "valid": score}
        row |= {} if changed is None else {"point": changed}
        trial = replace(trial, curve=[*trial.curve, row], gpu=gpu, hours=self.hours)
        if trial.best is None or self.is_better(score, trial.best):
            trial = replace(trial, best=score, best_epoch=epoch, best_point=changed)
        return self._keep(trial)

    def end(self, name: str, state: State, error: Mapping[str, str] | None = None) -> Trial:
        """Write how a trial ended."""
        trial, now = self._trials[name], time.monotonic()
        seconds = trial.seconds + now - self._since.pop(name, now)
        ended = replace(trial, state=state, error=error, seconds=seconds, hours=self.hours)
        return self._keep(ended)

    def close(self, *, is_late: bool) -> list[Trial]:
        """End what runs no more: stopped by the sweep's hours or a smaller budget, or lost.

        Returns:
            The trials that were ended.
        """
        ended = []
        for trial in self.trials("trial"):
            if not trial.is_over:
                is_lost = trial.id in self._since and not is_late
                ended.append(
                    self.end(trial.id, "failed", LOST) if is_lost else self.end(trial.id, "stopped")
                )
        return ended

    def is_better(self, score: float, other: float) -> bool:
        """Tell whether a score is strictly better than another."""
        return score > other if self.is_bigger_better else score < other

    def ranked(self, role: Role = "trial") -> list[Trial]:
        """Return the trials that have a score and did not fail, the best first."""
        scored = [
            (one.best if self.is_bigger_better else -one.best, one)
            for one in self.trials(role)
            if one.best is not None and one.is_over and one.state != "failed"
        ]
        return [one for _, one in sorted(scored, key=lambda pair: (-pair[0], pair[1].number))]

    def _keep(self, trial: Trial) -> Trial:
        write_json(self.folder / TRIALS / f"{trial.id}.json", {"schema": SCHEMA, **asdict(trial)})
        self._trials[trial.id] = trial
        return trial


def sound(ledger: Ledger) -> list[Trial]:
    """Return the trials of the search that have a score and did not fail, by number."""
    return sorted(ledger.ranked(), key=lambda trial: trial.number)


def _trial(facts: dict[str, Any]) -> Trial:
    if facts.pop("schema", None) != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    names = {one.name for one in fields(Trial)}
    if facts.keys() != names:
        raise ValueError(f"its keys differ by {sorted(facts.keys() ^ names)}")
    is_sound = (
        isinstance(facts["point"], dict)
        and isinstance(facts["curve"], list)
        and facts["state"] in get_args(State)
        and facts["role"] in get_args(Role)
        and (facts["best"] is None or math.isfinite(facts["best"]))
    )
    if not is_sound:
        raise ValueError("its values are not those of a trial")
    return Trial(**facts)


def write_lines(path: Path, trials: Iterable[Trial]) -> None:
    """Write trials to one file, a JSON a line, atomically."""
    with atomic_path(path) as partial:
        lines = (json.dumps(asdict(trial), ensure_ascii=False) for trial in trials)
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
