"""A suite in YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from recbole_llm.bench.results import Role
from recbole_llm.errors import unknown_name
from recbole_llm.job import OF_A_MACHINE
from recbole_llm.parsing import load_yaml
from recbole_llm.validation import as_json, problem_lines

NO_SETTINGS = {
    **dict.fromkeys(("model", "dataset", "seed"), "the suite has a place of its own for it"),
    **dict.fromkeys(OF_A_MACHINE, "it is of one machine, and changes no number"),
    "init_from": "the row names a source of the suite by a key of its own",
}


def only_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON holds them.

    Raises:
        ValueError: If one is none that a suite may hold.
    """
    if wrong := [f"{key} ({why})" for key, why in NO_SETTINGS.items() if key in values]:
        raise ValueError(f"cannot hold {' and '.join(wrong)}")
    settings: dict[str, Any] = as_json(values)
    return settings


def _folder(name: str) -> str:
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError("must be the name of a folder, without a path")
    return name


def _files(best: Any) -> str | dict[str, str]:
    if isinstance(best, dict) and all(
        isinstance(word, str) for pair in best.items() for word in pair
    ):
        return best
    if isinstance(best, str):
        return best
    raise ValueError("must be the name of a YAML file, or one for each dataset")


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("must be distinct")
    return values


SettingsOf = Annotated[dict[str, Any], AfterValidator(only_settings)]
Folder = Annotated[str, AfterValidator(_folder)]
Label = Annotated[str, Field(min_length=1, max_length=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]


class Strict(BaseModel):
    """Base of what is written by hand: an unknown key, or a value of another type, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelRow(Strict):
    """A row of the table: a model and all that is set for it."""

    model: str
    """A model of ours or of RecBole's."""
    role: Role = "model"
    """What the row is there for: to be judged, to show what text or ids are worth, to be beaten."""
    seeds: Seeds | None = None
    """The suite's by default."""
    datasets: Annotated[list[str], Field(min_length=1)] | None = None
    """The suite's by default."""
    settings: SettingsOf = {}
    """What differs from the model's defaults."""
    settings_on: dict[str, SettingsOf] = {}
    """What differs on a dataset."""
    best: Annotated[Any, AfterValidator(_files)] = {}
    """A YAML of settings that a sweep chose, or one for each dataset."""
    init_from: str | None = None
    """One of the suite's sources, whose weights the row begins with."""
    skip: dict[str, str] = {}
    """Datasets left out, each with the reason that the table shall show."""
    rerank: Label | None = None
    """A row above, whose lists this one's classifier puts in order (docs/classifier.md)."""
    top: Annotated[int, Field(ge=2)] | None = None
    """Items of each list that it puts in order; 20 by default."""


class Head(Strict):
    """A recommender that reads what each of the suite's encoders makes; together they are rows."""

    model: str
    """A model of ours."""
    settings: SettingsOf = {}
    """What differs from the model's defaults."""
    settings_on: dict[str, SettingsOf] = {}
    """What differs on a dataset."""


class EncoderRow(Strict):
    """What makes vectors of texts, and how these are treated: a row under each head."""

    role: Role = "model"
    """What its rows are there for."""
    settings: SettingsOf = {}
    """What differs from the head's settings."""


class SourceRow(Strict):
    """A run that rows begin with; it has no place in a table."""

    model: str
    """A model of ours."""
    dataset: Folder
    """A dataset, which need not be one of the suite's."""
    seed: Seed = 2020
    """One for all rows and their seeds."""
    settings: SettingsOf = {}
    """What differs from the suite's settings."""


class Claim(Strict):
    """What the suite says of one row before it runs: better than others, most so on rare items."""

    row: Label
    """The row that is said to be better."""
    against: Annotated[list[Label], Field(min_length=1), AfterValidator(_distinct)]
    """The rows that it is said to be better than."""


class Suite(Strict):
    """What ``benchmarks/*.yaml`` hold."""

    about: str = ""
    """One sentence for the head of the table."""
    metric: str = "ndcg@10"
    """The metric that ranks the rows."""
    seeds: Seeds = [2020]
    """Seeds of every row that has none of its own."""
    settings: SettingsOf = {}
    """The protocol: settings of every run."""
    datasets: Annotated[dict[Folder, SettingsOf], Field(min_length=1)]
    """The datasets, each with settings of every run on it."""
    rulers: dict[Folder, SettingsOf] = {}
    """Several protocols, each with a table of its own."""
    sources: dict[Folder, SourceRow] = {}
    """Runs that rows can begin with, trained before the first row that does."""
    heads: dict[Label, Head] = {}
    """Recommenders, each of which makes a row of each encoder, called ``head, encoder``."""
    encoders: dict[Label, EncoderRow] = {}
    """Text encoders and treatments."""
    models: dict[Label, ModelRow] = {}
    """The other rows."""
    claim: Claim | None = None
    """What the table shall confirm or refute."""

    @cached_property
    def rows(self) -> dict[str, ModelRow]:
        """All rows by label, those of heads and encoders first."""
        return {label: row for label, row in [*self.crossed, *self.models.items()]}

    @property
    def crossed(self) -> list[tuple[str, ModelRow]]:
        """The rows of heads and encoders."""
        return [
            (
                f"{name}, {encoder}",
                ModelRow(
                    model=head.model,
                    role=row.role,
                    settings=head.settings | row.settings,
                    settings_on=head.settings_on,
                ),
            )
            for name, head in self.heads.items()
            for encoder, row in self.encoders.items()
        ]


def read_suite(path: Path) -> tuple[Suite | None, list[str]]:
    """Read a suite.

    Returns:
        The suite without its wrong parts, or None if nothing is left of it; what is wrong.

    Raises:
        RequestError: If the file cannot be read as YAML.
    """
    content = load_yaml(path)
    problems: list[str] = []
    for _ in range(2):
        try:
            suite = Suite.model_validate(content)
            problems += _name_problems(suite)
            return (suite if suite.rows else None), problems
        except ValidationError as error:
            known = {"": Suite.model_fields, "models.*": ModelRow.model_fields}
            known |= {"heads.*": Head.model_fields, "encoders.*": EncoderRow.model_fields}
            known["sources.*"] = SourceRow.model_fields
            known["claim"] = Claim.model_fields
            problems += problem_lines(error, known=known)
            for problem in error.errors():
                _drop(content, problem["loc"], is_missing=problem["type"] == "missing")
    return None, problems


def _drop(content: Any, place: tuple[Any, ...], *, is_missing: bool) -> None:
    """Take a wrong part out; what lacks a part goes whole, and so does a claim."""
    steps = [step for step in place if step != "[key]"][: -1 if is_missing else None]
    steps = steps[:1] if steps[:1] == ["claim"] else steps
    for step in steps:
        inner = content.get(step)
        if step == steps[-1] or not isinstance(inner, dict):
            content.pop(step, None)
            return
        content = inner


def _name_problems(suite: Suite) -> list[str]:
    """Return which names of datasets and rows the suite does not have."""
    problems = _row_problems(suite) + _claim_problems(suite) + _rerank_problems(suite)
    for label, row in suite.models.items():
        if row.init_from is not None and row.init_from not in suite.sources:
            known = unknown_name("source of the suite", row.init_from, suite.sources)
            problems.append(f"models.{label}.init_from: {known}")
        named = {"datasets": row.datasets or (), "settings_on": row.settings_on, "skip": row.skip}
        named |= {"best": row.best if isinstance(row.best, dict) else ()}
        for key, names in named.items():
            problems += _dataset_problems(suite, names, place=f"models.{label}.{key}")
    for name, head in suite.heads.items():
        place = f"heads.{name}.settings_on"
        problems += _dataset_problems(suite, head.settings_on, place=place)
    return problems


def _dataset_problems(suite: Suite, names: Iterable[str], *, place: str) -> list[str]:
    return [
        f"{place}: {unknown_name('dataset of the suite', name, suite.datasets)}"
        for name in names
        if name not in suite.datasets
    ]


def _row_problems(suite: Suite) -> list[str]:
    """Return what is wrong with heads and encoders together, and which rows have one label."""
    if not (suite.heads or suite.encoders or suite.models):
        return ["models: must hold a row, or heads and encoders must make rows."]
    if not suite.heads or not suite.encoders:
        one, other = ("heads", "encoders") if suite.heads else ("encoders", "heads")
        words = f"{one}: make rows with {other}, of which there are none. Write {other}, or a row "
        return [words + "in models."] * bool(suite.heads or suite.encoders)
    counts = Counter([*(label for label, _ in suite.crossed), *suite.models])
    return [
        f"heads, encoders: two rows would be called {label!r}. Change a label."
        for label, count in counts.items()
        if count > 1
    ]


def _claim_problems(suite: Suite) -> list[str]:
    if suite.claim is None:
        return []
    row, against = suite.claim.row, suite.claim.against
    named = {"row": [row], "against": against}
    return [f"claim.against: must not hold {row!r}, the row itself."] * (row in against) + [
        f"claim.{key}: {unknown_name('row of the suite', name, suite.rows)}"
        for key, names in named.items()
        for name in names
        if name not in suite.rows
    ]


def _rerank_problems(suite: Suite) -> list[str]:
    """Return which rows cannot re-rank the row that they name, for it has no such runs before."""
    problems: list[str] = []
    above: dict[str, ModelRow] = {}
    for label, row in suite.rows.items():
        place, base = f"models.{label}.rerank", above.get(row.rerank or "")
        if row.rerank is None:
            problems += [f"models.{label}.top: is for a row with rerank."] if row.top else []
            above[label] = row
        elif base is None:
            problems.append(f"{place}: {unknown_name('row above it', row.rerank, above)}")
        else:
            its = base.seeds or suite.seeds
            if row.seeds is not None and row.seeds != its[: len(row.seeds)]:
                problems.append(
                    f"{place}: {row.rerank} has the seeds {its}; use the first of them."
                )
            its_data = set(base.datasets or suite.datasets) - base.skip.keys()
            problems += [
                f"{place}: {row.rerank} has no run on {name}. Leave it out of datasets, or skip it."
                for name in row.datasets or suite.datasets
                if name not in its_data and name not in row.skip
            ]
    return problems
