"""A sweep in YAML: which settings of a model are tried, how they are drawn, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from recbole_llm.cluster import is_share
from recbole_llm.job import OF_A_MACHINE
from recbole_llm.parsing import load_yaml
from recbole_llm.validation import as_json, problem_lines

NO_SETTINGS = {
    **dict.fromkeys(("model", "dataset", "seed"), "the sweep has a place of its own for it"),
    "valid_metric": "the sweep's metric is it",
    **dict.fromkeys(
        (*OF_A_MACHINE, "use_gpu", "nproc"), "it is of one machine, and changes no number"
    ),
    "init_from": "a sweep's trials begin anew",
}
KINDS = ("uniform", "loguniform", "int", "choice")


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    if wrong := [f"{key} ({why})" for key, why in NO_SETTINGS.items() if key in values]:
        raise ValueError(f"cannot hold {' and '.join(wrong)}")
    settings: dict[str, Any] = as_json(values)
    return settings


def _ends(bounds: list[Any]) -> list[Any]:
    low, high = bounds
    if low >= high:
        raise ValueError("must be [low, high], low below high")
    return bounds


def _distinct(values: list[Any]) -> list[Any]:
    known: list[str] = [repr(value) for value in as_json(values)]
    if len(set(known)) < len(known):
        raise ValueError("must be distinct")
    return values


def _share(number: float) -> float:
    if not is_share(number):
        raise ValueError("must be whole above 1: a share is of one")
    return number


Finite = Annotated[float, Field(allow_inf_nan=False)]
Two = Field(min_length=2, max_length=2)
Ends = AfterValidator(_ends)
SettingsOf = Annotated[dict[str, Any], AfterValidator(_settings)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, given: Any) -> Any:
        if not isinstance(given, Mapping | BaseModel):
            keys = ", ".join(one.alias or name for name, one in cls.model_fields.items())
            raise ValueError(f"must be a mapping of {keys}, as {{key: value}}")
        return given


class Dimension(_Strict):
    """One setting of the space; exactly one of the four kinds is given."""

    uniform: Annotated[list[Finite], Two, Ends] | None = None
    """Between two numbers."""
    loguniform: Annotated[list[Annotated[Finite, Field(gt=0)]], Two, Ends] | None = None
    """Between two numbers above 0, each power of ten as likely as the next."""
    integers: Annotated[list[int], Two, Ends] | None = Field(default=None, alias="int")
    """A whole number between two, both of which can be drawn."""
    choice: Annotated[list[Any], Field(min_length=1), AfterValidator(_distinct)] | None = None
    """One of a list."""
    when: dict[str, Any] = {}
    """Choices above it, one or a list, that must be drawn for this one to be drawn at all."""

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        given = [kind for kind in KINDS if self.of_kind(kind) is not None]
        if len(given) != 1:
            raise ValueError(f"must hold one of {', '.join(KINDS)}")
        return self

    def of_kind(self, kind: str) -> list[Any] | None:
        """Return what a kind holds."""
        values: list[Any] | None = getattr(self, "integers" if kind == "int" else kind)
        return values

    def allows(self, parent: str, value: Any) -> bool:
        """Tell whether it is drawn under a value of a setting above it."""
        wanted = self.when[parent]
        return bool(value == wanted or (isinstance(wanted, list) and value in wanted))

    @property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(kind for kind in KINDS if self.of_kind(kind) is not None)

    @property
    def ends(self) -> list[Any]:
        """The values that bound it: both ends, or all choices."""
        return self.of_kind(self.kind) or []

    @property
    def values(self) -> Sequence[Any] | None:
        """All values, or None where they are a continuum."""
        if self.integers is not None:
            return range(self.integers[0], self.integers[1] + 1)
        return self.choice

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one that can be drawn."""
        if self.choice is not None:
            return repr(value) in map(repr, as_json(self.choice))  # 1 is not True, nor 1.0
        low, high = self.ends
        kinds = (int, float) if self.integers is None else (int,)
        return type(value) in kinds and low <= value <= high

    def meanings(self, wanted: Any) -> int:
        """Count what a ``when`` may mean: one of its values, a list of some, or neither."""
        is_list = isinstance(wanted, list) and wanted != [] and all(map(self.holds, wanted))
        return 0 if self.values is None else self.holds(wanted) + is_list


class Budget(_Strict):
    """When a sweep ends, and what a trial may cost."""

    trials: Annotated[int, Field(ge=1)] | None = None
    """How many points are tried."""
    hours: Hours | None = None
    """Of the search; trials that run then are stopped, and count as far as they came."""
    trial_hours: Hours | None = None
    """Of one trial, after which it has failed; looked at after every epoch. On Ray the process of
    one whose epoch takes twice as many is ended."""
    disk_gb: Annotated[float, Field(gt=0)] = 5.0
    """What the sweep's folder of work may hold."""


class Scheduler(_Strict):
    """Which trials go on; its kind alone stands for the kind with its defaults."""

    kind: Literal["asha", "median", "pbt", "none"] = "asha"
    """asha (Li et al., 2020, arXiv 1810.05934); median stopping (Golovin et al., 2017); pbt,
    population-based training (Jaderberg et al., 2017, arXiv 1711.09846); or all of them."""
    grace_epochs: Annotated[int, Field(ge=1)] = 3
    """Epochs before a trial may be stopped; of pbt, epochs between two exchanges."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in how many trials passes a rung of asha."""

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, given: Any) -> Any:
        return given if isinstance(given, Mapping | BaseModel) else {"kind": given}


class Resources(_Strict):
    """What a trial has."""

    cpus: Annotated[float, Field(gt=0), AfterValidator(_share)] = 1.0
    """Cores."""
    gpus: Annotated[float, Field(ge=0), AfterValidator(_share)] | None = None
    """A share of a GPU, or whole ones; 0 is the CPU. By default one, where Ray has any."""


class Finalists(_Strict):
    """The points that are tried again under other seeds before one is chosen."""

    top: Annotated[int, Field(ge=1)] = 3
    """How many."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)] = [
        2020,
        2021,
        2022,
    ]
    """Their seeds; the winner is trained and tested once under each."""


class Sweep(_Strict):
    """What ``tuning/*.yaml`` hold."""

    about: str = ""
    """One sentence for the head of the report."""
    model: str
    """A model of ours or of RecBole's."""
    dataset: str
    """The dataset."""
    metric: Annotated[str, AfterValidator(str.lower)] = "ndcg@10"
    """The validation metric by which is chosen."""
    protocol: SettingsOf = {}
    """Settings that say how is measured; the best YAML does not hold them."""
    settings: SettingsOf = {}
    """Settings of every trial."""
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    """Settings that are tried."""
    points_to_evaluate: Annotated[list[SettingsOf], AfterValidator(_distinct)] = []
    """Points of the space that are tried first, of the budget's trials; the defaults, say."""
    searcher: Literal["random", "grid", "tpe"] = "random"
    """How points are drawn: at random, every one of a grid, or by Optuna's TPE."""
    scheduler: Scheduler = Scheduler()
    """Which trials go on."""
    budget: Budget
    """When it ends."""
    resources: Resources = Resources()
    """What a trial has."""
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """How many trials run at a time; as many as fit by default."""
    retries: Annotated[int, Field(ge=0)] = 1
    """How often a trial whose process or machine died begins anew."""
    seed: Seed = 2020
    """Of every trial, and of the points that are drawn."""
    finalists: Finalists = Finalists()
    """What is tried again under other seeds."""

    @property
    def fixed(self) -> dict[str, Any]:
        """The settings that all trials share."""
        return {**self.protocol, **self.settings, "valid_metric": self.metric}

    @property
    def facts(self) -> dict[str, Any]:
        """What decides which points there are and what they score."""
        names = ("model", "dataset", "metric", "protocol", "settings", "searcher", "seed",
                 "points_to_evaluate")  # fmt: skip
        space = {name: dimension.model_dump(exclude_defaults=True, by_alias=True)
                 for name, dimension in self.space.items()}  # fmt: skip
        facts = {name: getattr(self, name) for name in names}
        return {**facts, "space": space, "scheduler": self.scheduler.model_dump()}


def read_sweep(path: Path) -> tuple[Sweep | None, list[str]]:
    """Read a sweep.

    Returns:
        The sweep, or None if it is malformed; what is wrong.

    Raises:
        RequestError: If the file cannot be read as YAML.
    """
    try:
        sweep = Sweep.model_validate(load_yaml(path))
    except ValidationError as error:
        known = {
            "": Sweep.model_fields,
            "space.*": [*KINDS, "when"],
            "budget": Budget.model_fields,
            "scheduler": Scheduler.model_fields,
            "resources": Resources.model_fields,
            "finalists": Finalists.model_fields,
        }
        return None, problem_lines(error, known=known)
    return sweep, list(_problems(sweep))


def _problems(sweep: Sweep) -> Iterator[str]:
    """Yield what is wrong among the parts of a sweep."""
    for key, why in NO_SETTINGS.items():
        if key in sweep.space:
            yield f"space.{key}: cannot be tried; {why}."
    for key in sweep.space.keys() & sweep.fixed.keys():
        yield f"space.{key}: is set for all trials too. Keep one."
    budget = sweep.budget
    if sweep.searcher == "grid":
        for name, dimension in sweep.space.items():
            if dimension.values is None:
                yield (
                    f"space.{name}: a grid needs values it can visit one by one, choice or int, "
                    f"received {dimension.kind}."
                )
        if sweep.points_to_evaluate:
            yield "points_to_evaluate: a grid visits all points. Leave them out."
    elif budget.trials is None and (budget.hours is None or sweep.scheduler.kind == "pbt"):
        needs = "trials" if sweep.scheduler.kind == "pbt" else "trials or hours"
        yield f"budget: must hold {needs}, else the sweep has no end."
    if sweep.scheduler.kind == "pbt" and sweep.searcher == "grid":
        yield "scheduler: pbt moves through the space by itself. Use searcher random or tpe."
    if sweep.scheduler.kind == "pbt":
        for name in (name for name, its in sweep.space.items() if its.when):
            yield f"space.{name}: pbt moves all settings at once. Leave when out."
