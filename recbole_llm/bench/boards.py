"""What a leaderboard shows: one board a dataset and ruler, one row a label."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from recbole_llm.bench.claims import Claim
from recbole_llm.bench.metrics import METRICS, OF_TEXT
from recbole_llm.bench.results import Record
from recbole_llm.bench.stats import Comparison, Summary, summarise

MOST_MEDIANS = 3
LEAST_PAUSE = 60


@dataclass(frozen=True)
class Absence:
    """A run that a row lacks.

    Attributes:
        seed: The run's seed.
        status: ``failed``, ``skipped`` on purpose, or ``missing``: not run yet.
        reason: Why, in words.
    """

    seed: int
    status: str
    reason: str


@dataclass
class Row:
    """One label of a suite: its runs in order of their seeds, and the runs that it lacks."""

    label: str
    role: str
    runs: list[Record] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)

    @property
    def seeds(self) -> str:
        """How many runs there are, of how many wanted where some are absent."""
        wanted = len(self.runs) + len(self.absences)
        return f"{len(self.runs)}/{wanted}" if self.absences else f"{wanted}"

    def names(self, *keys: str) -> list[str]:
        """Return the names that some run has under nested keys, in the order of the records."""
        found = (value_at(run.facts, *keys) for run in self.runs)
        return list(dict.fromkeys(name for names in found for name in names or ()))

    def summary(self, *keys: str) -> Summary | None:
        """Return mean and spread over seeds of a number that records hold under nested keys."""
        found = (value_at(run.facts, *keys) for run in self.runs)
        return summarise([float(value) for value in found if value is not None])

    def mean(self, *keys: str) -> float | None:
        """Return only the mean."""
        summary = self.summary(*keys)
        return None if summary is None else summary.mean

    @property
    def devices(self) -> list[str]:
        """What its runs were trained on; the model is not said by older records."""
        found = (run.facts.get("device_name") or run.facts.get("device") for run in self.runs)
        return sorted({str(device) for device in found if device is not None})

    @property
    def device(self) -> str | None:
        """What all of its runs were trained on; None where that differs."""
        return self.devices[0] if len(self.devices) == 1 else None

    @property
    def timed(self) -> list[Record]:
        """The runs whose seconds are those of training, for nothing held them up."""
        return [run for run in self.runs if not _was_held_up(run)]

    @property
    def train_seconds(self) -> Summary | None:
        """Mean and spread over timed seeds of the seconds of training; None if devices differ."""
        if self.device is None:
            return None
        found = (value_at(run.facts, "seconds", "train") for run in self.timed)
        return summarise([float(value) for value in found if value is not None])


@dataclass(frozen=True)
class Board:
    """The rows of a dataset that one ruler measured.

    Attributes:
        name: Its name in files and addresses: dataset, and ruler where there are several.
        title: The same for readers.
        dataset: The dataset's name.
        fingerprint: Eight hex digits of the ruler; empty where no run has ended.
        ruler: The ruler, flat: what must agree for numbers to stand in one table.
        differs: What other boards of the dataset have otherwise: here, under the ruler's keys.
        metric: The metric that sorts the rows.
        metrics: The columns of accuracy.
        rows: The best mean first; rows without a run last, in the suite's order.
        reference: The label that others are compared with, where a run has ended.
        comparisons: By label and metric: reference against the row, or why that was not tested.
        claim: What the suite claims of one row, and what was found, if it claims anything here.
    """

    name: str
    title: str
    dataset: str
    fingerprint: str
    ruler: Mapping[str, Any]
    differs: Mapping[str, Any]
    metric: str
    metrics: Sequence[str]
    rows: Sequence[Row]
    reference: str | None
    comparisons: Mapping[tuple[str, str], Comparison | str]
    claim: Claim | None

    def comparison(self, label: str, metric: str) -> Comparison | None:
        """Return the comparison of a row with the reference, or None where there was no test."""
        found = self.comparisons.get((label, metric))
        return found if isinstance(found, Comparison) else None

    def tests(self) -> list[Comparison]:
        """Return the comparisons of all rows and metrics: the family of Holm's correction."""
        return [one for one in self.comparisons.values() if isinstance(one, Comparison)]

    def detectable(self, metric: str) -> float | None:
        """Return the median over comparisons of the smallest difference that can be detected."""
        found = [self.comparison(row.label, metric) for row in self.rows]
        values = [one.detectable for one in found if one is not None]
        return statistics.median(values) if values else None

    def distinct(self, *keys: str) -> list[str]:
        """Return the different values that records hold under nested keys, sorted as text."""
        found = (value_at(run.facts, *keys) for row in self.rows for run in row.runs)
        return sorted({str(value) for value in found if value is not None})

    def devices(self) -> list[str]:
        """Return what its runs were trained on, sorted as text."""
        return sorted({device for row in self.rows for device in row.devices})

    def held_up(self) -> list[str]:
        """Return the runs that something held up, as a row's label and the run's seed."""
        return [
            f"{row.label}, seed {run.facts['seed']}"
            for row in self.rows
            for run in row.runs
            if _was_held_up(run)
        ]

    def num_cases(self) -> int | None:
        """Return the number of test cases, as some run's slices count them."""
        return max(
            (sum(one.values()) for cuts in self._cuts().values() for one in cuts), default=None
        )

    def slices(self) -> dict[str, list[str]]:
        """Return the groups of each slice that all runs cut alike, in the order of the records."""
        return {name: list(cuts[0]) for name, cuts in self._cuts().items() if _are_equal(cuts)}

    def unlike_slices(self) -> list[str]:
        """Return the slices whose groups hold other numbers of test cases in other runs.

        Popularity is counted in what a run was trained on, so that runs of other ``train_share``
        call other items tail: their groups are other test cases.
        """
        return [name for name, cuts in self._cuts().items() if not _are_equal(cuts)]

    def _cuts(self) -> dict[str, list[dict[str, int]]]:
        """Return by slice the test cases of each group, one mapping a run that has the slice."""
        found: dict[str, list[dict[str, int]]] = {}
        for run in (run for row in self.rows for run in row.runs):
            for name, groups in (run.facts.get("slices") or {}).items():
                cases = {group: one["cases"] for group, one in groups.items()}
                found.setdefault(name, []).append(cases)
        return found

    def lists(self) -> list[str]:
        """Return the metrics of top-k lists that some record has and ``METRICS`` knows."""
        names = dict.fromkeys(name for row in self.rows for name in row.names("lists"))
        return [name for name in names if name.partition("@")[0] in METRICS]

    def text_facts(self) -> list[str]:
        """Return what some record says of its text vectors; those of older versions do not."""
        return [
            name for name in OF_TEXT if any(row.mean("text", name) is not None for row in self.rows)
        ]


@dataclass(frozen=True)
class Boards:
    """All boards of a folder of results.

    Attributes:
        suite: The suite's name.
        about: What it says of itself.
        boards: One a dataset and ruler.
        left_out: Files of records that the suite no longer names.
    """

    suite: str
    about: str
    boards: Sequence[Board]
    left_out: Sequence[str]


def _was_held_up(run: Record) -> bool:
    """Return whether an epoch took far longer than the run's others, as where a machine slept.

    The first may: what is prepared in it belongs to training.
    """
    times = [point["seconds"] for point in run.facts.get("curve") or ()]
    took = [later - earlier for earlier, later in pairwise(times)]
    return bool(took) and max(took) > MOST_MEDIANS * statistics.median(took) + LEAST_PAUSE


def _are_equal(cuts: Sequence[Mapping[str, int]]) -> bool:
    return all(cut == cuts[0] for cut in cuts)


def value_at(facts: Mapping[str, Any], *keys: str) -> Any:
    """Return what nested mappings hold under keys, or None where one is missing."""
    value: Any = facts
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
