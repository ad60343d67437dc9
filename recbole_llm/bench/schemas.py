"""What files of results must hold; what they hold beyond it is kept as it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Role = Literal["model", "control", "baseline"]


class Schema(BaseModel):
    """Base of all: a value of another type is an error, one that is not named is kept."""

    model_config = ConfigDict(extra="allow", strict=True)


class Spec(BaseModel):
    """All that can change the numbers of a run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    dataset: str
    seed: int
    settings: dict[str, Any]
    source: dict[str, Any] | None = None
    rerank: dict[str, Any] | None = None


class Facts(Schema):
    """What a suite says of a run."""

    suite: str
    label: str
    role: Role
    spec_id: str
    spec: Spec
    command: str
    ruler: str | None = None


class Group(Schema):
    """A group of test cases."""

    cases: int
    metrics: dict[str, FiniteFloat]


class Point(Schema):
    """A point of a learning curve."""

    epoch: int
    seconds: FiniteFloat
    valid: FiniteFloat


class Text(Schema):
    """What is said of text vectors; older records do not say all."""

    anisotropy: FiniteFloat | None = None
    treated_anisotropy: FiniteFloat | None = None
    vectors_per_second: FiniteFloat | None = None


class Scores(Facts):
    """The record of a run; what boards can do without may be absent or null."""

    model: str
    dataset: str
    seed: int
    best_valid_result: dict[str, FiniteFloat]
    test_result: dict[str, FiniteFloat] = Field(min_length=1)
    seconds: dict[str, FiniteFloat]
    protocol: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    slices: dict[str, dict[str, Group]] | None = None
    lists: dict[str, FiniteFloat | None] | None = None
    curve: list[Point] | None = None
    parameters: dict[str, int] | None = None
    text: Text | None = None


class Error(Schema):
    """What went wrong."""

    type: str
    message: str
    traceback: str


class Failure(Facts):
    """The record of a run that failed."""

    error: Error


class Run(Schema):
    """A run that a suite wants."""

    ruler: str | None = None
    label: str
    role: Role
    dataset: str
    seed: int
    spec_id: str
    path: str
    skip: str | None


class Claim(Schema):
    """What a suite says of one row."""

    row: str
    against: list[str]


class Plan(Schema):
    """What a suite wants."""

    suite: str
    about: str
    metric: str
    claim: Claim | None = None
    runs: list[Run]
