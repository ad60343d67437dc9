"""A suite in YAML, and its runs: models × datasets × seeds, under one protocol or more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from recbole_llm.bench.results import Role, record_path, spec_id
from recbole_llm.errors import RequestError, unknown_name
from recbole_llm.job import OF_A_MACHINE
from recbole_llm.parsing import load_yaml
from recbole_llm.validation import as_json, problem_lines

NO_SETTINGS = {
    **dict.fromkeys(("model", "dataset", "seed"), "the suite has a place of its own for it"),
    **dict.fromkeys(OF_A_MACHINE, "it is of one machine, and changes no number"),
}


def _settings(values: dict[str, Any]) -> dict[str, Any]:
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


SettingsOf = Annotated[dict[str, Any], AfterValidator(_settings)]
Folder = Annotated[str, AfterValidator(_folder)]
Label = Annotated[str, Field(min_length=1, max_length=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelRow(_Strict):
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
    skip: dict[str, str] = {}
    """Datasets left out, each with the reason that the table shall show."""


class Claim(_Strict):
    """What the suite says of one row before it runs: better than others, most so on rare items."""

    row: Label
    """The row that is said to be better."""
    against: Annotated[list[Label], Field(min_length=1), AfterValidator(_distinct)]
    """The rows that it is said to be better than."""


class Suite(_Strict):
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
    models: Annotated[dict[Label, ModelRow], Field(min_length=1)]
    """The rows."""
    claim: Claim | None = None
    """What the table shall confirm or refute."""


class RunSpec(_Strict):
    """One run: all that can change its numbers, and where it stands in the tables."""

    suite: str
    ruler: str | None
    label: str
    role: Role
    model: str
    dataset: str
    seed: int
    settings: dict[str, Any]
    skip: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What can change the numbers."""
        return {key: getattr(self, key) for key in ("model", "dataset", "seed", "settings")}

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
        """The run in words."""
        return " ".join((*([self.ruler] if self.ruler else ()), self.dataset, self.label))


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
            return suite, problems + _name_problems(suite)
        except ValidationError as error:
            known = {"": Suite.model_fields, "models.*": ModelRow.model_fields}
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
    problems = _claim_problems(suite)
    for label, row in suite.models.items():
        named = {"datasets": row.datasets or (), "settings_on": row.settings_on, "skip": row.skip}
        named |= {"best": row.best if isinstance(row.best, dict) else ()}
        problems += [
            f"models.{label}.{key}: {unknown_name('dataset of the suite', name, suite.datasets)}"
            for key, names in named.items()
            for name in names
            if name not in suite.datasets
        ]
    return problems


def _claim_problems(suite: Suite) -> list[str]:
    if suite.claim is None:
        return []
    row, against = suite.claim.row, suite.claim.against
    named = {"row": [row], "against": against}
    return [f"claim.against: must not hold {row!r}, the row itself."] * (row in against) + [
        f"claim.{key}: {unknown_name('row of the suite', name, suite.models)}"
        for key, names in named.items()
        for name in names
        if name not in suite.models
    ]


def expand(suite: Suite, path: Path) -> tuple[list[RunSpec], list[str]]:
    """Return the runs of a suite, seed by seed so that all rows fill evenly, and what is wrong.

    What is more special wins: the suite's settings, a ruler's, a dataset's, those that a sweep
    chose, a row's, a row's on a dataset.
    """
    runs, problems = [], []
    for ruler in suite.rulers or [None]:
        for dataset in suite.datasets:
            rows = []
            for label, row in suite.models.items():
                best, problem = _best(row, dataset, path)
                problems += [f"models.{label}.best: {problem}"] if problem else []
                common = suite.settings | suite.rulers.get(ruler or "", {})
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
    for place in range(max(len(row.seeds or suite.seeds) for row in suite.models.values())):
        for label, row, settings in rows:
            seeds = row.seeds or suite.seeds
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
                skip=row.skip.get(dataset),
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
        return _settings(settings), None
    except (RequestError, ValueError) as error:
        return {}, str(error)
