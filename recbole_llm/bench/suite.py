"""What a suite says."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from recbole_llm.bench.results import FAILED
from recbole_llm.bench.schemas import Role
from recbole_llm.job import OF_A_MACHINE
from recbole_llm.validation import as_json

NO_SETTINGS = {
    **dict.fromkeys(("model", "dataset", "seed"), "the suite has a place of its own for it"),
    **dict.fromkeys(OF_A_MACHINE, "it is of one machine, and changes no number"),
    "metric_decimal_place": "records keep all digits",
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
    if name == FAILED:
        raise ValueError("is where results keep failures; name it otherwise")
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
LONGEST = 100  # characters of a label, which is part of the names of files
Label = Annotated[str, Field(min_length=1, max_length=LONGEST)]
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
    rulers: Annotated[list[str], Field(min_length=1)] | None = None
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
                    settings_on={on: its | row.settings for on, its in head.settings_on.items()},
                ),
            )
            for name, head in self.heads.items()
            for encoder, row in self.encoders.items()
        ]
