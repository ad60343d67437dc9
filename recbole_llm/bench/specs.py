"""The runs of a suite: models × datasets × seeds, under one protocol or more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole_llm.bench.results import record_path, spec_id
from recbole_llm.bench.schemas import Role
from recbole_llm.bench.suite import ModelRow, Strict, Suite, only_settings
from recbole_llm.errors import RequestError
from recbole_llm.parsing import load_yaml

FACTS = ("model", "dataset", "seed", "settings")
TOP = 20  # items of a list that are re-ranked


class SourceSpec(Strict):
    """A run that others begin with: all that can change its weights."""

    name: str
    model: str
    dataset: str
    seed: int
    settings: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What can change the weights."""
        return {key: getattr(self, key) for key in FACTS}

    @property
    def folder(self) -> str:
        """The name of its directory."""
        return f"{self.name}--seed{self.seed}--{spec_id(self.facts)}"

    @property
    def title(self) -> str:
        """The run in words."""
        return f"source {self.name}: {self.model} on {self.dataset}, seed {self.seed}"


class Reranked(Strict):
    """The run of the same seed whose lists a run puts in order."""

    label: str
    model: str
    settings: dict[str, Any]
    top: int
    source: SourceSpec | None = None


class RunSpec(Strict):
    """One run: all that can change its numbers, and where it stands in the tables."""

    suite: str
    ruler: str | None
    label: str
    role: Role
    model: str
    dataset: str
    seed: int
    settings: dict[str, Any]
    source: SourceSpec | None = None
    skip: str | None = None
    rerank: Reranked | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What can change the numbers."""
        found = {key: getattr(self, key) for key in FACTS}
        found |= {} if self.source is None else {"source": self.source.facts}
        if self.rerank is not None:
            found["rerank"] = self.rerank.model_dump(exclude={"source"})
            if self.rerank.source is not None:
                found["rerank"]["source"] = self.rerank.source.facts
        return found

    @property
    def reranked(self) -> RunSpec | None:
        """The run whose lists this one puts in order, if it does so."""
        if self.rerank is None:
            return None
        its = {key: getattr(self.rerank, key) for key in ("label", "model", "settings", "source")}
        return self.model_copy(update={**its, "rerank": None})

    @property
    def spec_id(self) -> str:
        """Eight hex digits of the facts."""
        return spec_id(self.facts)

    @property
    def path(self) -> str:
        """Where the record lies below the folder of its table."""
        return record_path(self.label, self.facts)

    @property
    def title(self) -> str:
        """The run in words, but for its seed."""
        return " ".join((*([self.ruler] if self.ruler else ()), self.dataset, self.label))

    @property
    def seeded_title(self) -> str:
        """The run in words, which ``--plan`` shows and ``--only`` searches."""
        return f"{self.title}, seed {self.seed}"


def expand(suite: Suite, path: Path) -> tuple[list[RunSpec], list[str]]:
    """Return the runs of a suite, seed by seed so that all rows fill evenly, and what is wrong.

    What is more special wins: the suite's settings, a ruler's, a dataset's, those that a sweep
    chose, a row's, a row's on a dataset. A row that re-ranks another has that one's protocol, and
    none of the settings of suite and ruler for its own training.
    """
    runs, problems = [], []
    for ruler in suite.rulers or [None]:
        for dataset in suite.datasets:
            rows = []
            for label, row in suite.rows.items():
                if row.rulers is not None and ruler not in row.rulers:
                    continue
                is_run = dataset in (row.datasets or suite.datasets) and dataset not in row.skip
                best, problem = _best(row, dataset, path) if is_run else ({}, None)
                problems += [f"models.{label}.best: {problem}"] if problem else []
                common = suite.settings | suite.rulers.get(ruler or "", {})
                common = common if row.rerank is None else {}
                settings = common | suite.datasets[dataset] | best
                rows.append(
                    (label, row, settings | row.settings | row.settings_on.get(dataset, {}))
                )
            runs += list(_runs(suite, rows, ruler=ruler, dataset=dataset, name=path.stem))
    return runs, [*dict.fromkeys(problems), *_twice(runs)]


def _runs(
    suite: Suite,
    rows: list[tuple[str, ModelRow, dict[str, Any]]],
    *,
    ruler: str | None,
    dataset: str,
    name: str,
) -> Iterator[RunSpec]:
    by_label = {label: (row, settings) for label, row, settings in rows}
    for place in range(max(len(row.seeds or suite.seeds) for row in suite.rows.values())):
        for label, row, settings in rows:
            base, its = by_label.get(row.rerank or "", (None, {}))
            seeds = row.seeds or (base and base.seeds) or suite.seeds
            if place >= len(seeds) or dataset not in (row.datasets or suite.datasets):
                continue
            yield RunSpec(
                suite=name,
                ruler=ruler,
                label=label,
                role=row.role,
                model=row.model,
                dataset=dataset,
                seed=seeds[place],
                settings=settings,
                source=_source(suite, row.init_from),
                skip=row.skip.get(dataset),
                rerank=None if base is None else _reranked(suite, row, base, its),
            )


def _source(suite: Suite, name: str | None) -> SourceSpec | None:
    row = suite.sources.get(name or "")
    if name is None or row is None:
        return None
    return SourceSpec(
        name=name,
        model=row.model,
        dataset=row.dataset,
        seed=row.seed,
        settings=suite.settings | row.settings,
    )


def _reranked(suite: Suite, row: ModelRow, base: ModelRow, settings: dict[str, Any]) -> Reranked:
    return Reranked(
        label=str(row.rerank),
        model=base.model,
        settings=settings,
        top=row.top or TOP,
        source=_source(suite, base.init_from),
    )


def _twice(runs: list[RunSpec]) -> list[str]:
    """Return which rows, or rulers, would share a record."""
    first: dict[str, RunSpec] = {}
    problems = []
    for run in runs:
        other = first.setdefault(run.path.casefold(), run)  # for disks that know no case
        if other is not run:
            problems.append(
                f"models.{run.label}: {run.title!r} and {other.title!r} have the same letters and "
                "settings, so that one record would be both. Change one."
            )
    return list(dict.fromkeys(problems))


def _best(row: ModelRow, dataset: str, suite: Path) -> tuple[dict[str, Any], str | None]:
    """Return the settings that a sweep chose for a row on a dataset, and what is wrong."""
    name = row.best.get(dataset) if isinstance(row.best, dict) else row.best
    if name is None:
        return {}, None
    beside, above = suite.parent / name, suite.parent.parent / name
    try:
        settings = load_yaml(beside if beside.is_file() else above)
        settings.pop("about", None)
        said = {
            "model": settings.pop("model", row.model),
            "dataset": settings.pop("dataset", dataset),
        }
        if said != {"model": row.model, "dataset": dataset}:
            return {}, f"{name} is of {said['model']} on {said['dataset']}, not of this row."
        return only_settings(settings), None
    except (RequestError, ValueError) as error:
        return {}, str(error)
