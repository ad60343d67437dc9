"""Records on disk: where a run's record lies, and reading what lies there.

A record's path is a pure function of what the run is. Reading never writes, and a file that is no
sound record is one line that names it. Neither torch, recbole nor ray is needed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recbole_llm.bench.schemas import Failure, Plan, Schema, Scores, Spec
from recbole_llm.errors import RequestError
from recbole_llm.validation import problem_lines, shown

SCHEMA = 1
SUITE = "suite.json"
FAILED = "failed"


def spec_id(spec: Mapping[str, Any]) -> str:
    """Return eight hex digits that change with model, dataset, seed or any setting."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def record_path(label: str, spec: Mapping[str, Any]) -> str:
    """Return where the record of a run lies below a folder of results."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", label)
    return f"{spec['dataset']}/{slug}--seed{spec['seed']}--{spec_id(spec)}.json"


def ranks_path(record: Path) -> Path:
    """Return where the ranks lie beside a record."""
    return record.with_name(f"{record.stem}.ranks.csv.gz")


def failure_path(record: Path) -> Path:
    """Return where a run's failure lies that has no such record."""
    return record.parent / FAILED / record.name


class RecordError(RequestError):
    """A file of results is damaged, foreign, or not where it belongs."""


@dataclass(frozen=True)
class Record:
    """One sound file of results: of a run that ended, or of one that failed.

    Attributes:
        path: The file.
        facts: All that it holds.
    """

    path: Path
    facts: Mapping[str, Any]

    @property
    def key(self) -> tuple[str | None, str, str, int]:
        """What may be there once: ruler, dataset, label and seed."""
        spec = self.facts["spec"]
        return self.facts.get("ruler"), spec["dataset"], self.facts["label"], spec["seed"]

    @property
    def ranks(self) -> Path | None:
        """The file of the run's ranks, if it has one."""
        path = ranks_path(self.path)
        return path if path.is_file() else None

    @property
    def seconds(self) -> float:
        """How long the run took, from preparing the data to the test."""
        taken = self.facts["seconds"]
        return float(sum(taken.get(part, 0) for part in ("prepare", "encode", "train", "evaluate")))


def record_problems(facts: Mapping[str, Any]) -> list[str]:
    """Return why something is no record of a run: what is missing, of a wrong kind, not finite."""
    return _problems(facts, Scores)


def read_record(root: Path, path: Path) -> Record:
    """Read the record of a run below a folder of results.

    Raises:
        RecordError: If it is damaged, foreign, of a newer schema, or not where its spec belongs.
    """
    return _read(root, path, schema=Scores, place=path)


def read_records(root: Path) -> tuple[list[Record], list[str]]:
    """Read all records below a folder, in order of their paths.

    Returns:
        The sound ones, and one line for each file that is not. Of records of one ruler, dataset,
        label and seed the one that ``suite.json`` names is sound; if it names none, none is.
    """
    records, problems = _read_all(root, "*/*.json", schema=Scores)
    try:
        plan = read_plan(root)
    except RecordError:
        plan = None  # whoever reads the plan says so
    wanted = {root / run["path"] for run in plan["runs"]} if plan else set()
    by_key: dict[Any, list[Record]] = {}
    for record in records:
        by_key.setdefault(record.key, []).append(record)
    sound = []
    for same in by_key.values():
        chosen = [record for record in same if len(same) == 1 or record.path in wanted]
        sound += chosen
        problems += [
            f"{record.path}: {len(same)} records have its label, dataset and seed, with other "
            "settings. Remove those of old ones."
            for record in same
            if record not in chosen
        ]
    return sorted(sound, key=lambda record: record.path), problems


def read_failures(root: Path) -> tuple[list[Record], list[str]]:
    """Read all failures below a folder: the sound ones, and one line for each that is not."""
    return _read_all(root, f"*/{FAILED}/*.json", schema=Failure)


def read_plan(root: Path) -> dict[str, Any] | None:
    """Read which runs a suite wants in a folder of results, or return None if none is said.

    Raises:
        RecordError: If the file is damaged or foreign.
    """
    path = root / SUITE
    if not path.exists():
        return None
    facts = _read_json(path)
    if problems := _problems(facts, Plan):
        raise RecordError(_one_line(path, problems))
    return facts


def _read_all(root: Path, pattern: str, *, schema: type[Schema]) -> tuple[list[Record], list[str]]:
    records, problems = [], []
    for path in sorted(root.glob(pattern)):
        is_failure = path.parent.name == FAILED
        place = path.parent.parent / path.name if is_failure else path
        try:
            records.append(_read(root, path, schema=schema, place=place))
        except RecordError as error:
            problems.append(str(error))
    return records, problems


def _read(root: Path, path: Path, *, schema: type[Schema], place: Path) -> Record:
    facts = _read_json(path)
    problems = _problems(facts, schema)
    if not problems:
        spec = facts["spec"]
        belongs = root / record_path(facts["label"], spec)
        problems = [
            f"{key} is {shown(facts[key])}, and its spec says {shown(spec[key])}."
            for key in ("model", "dataset", "seed")
            if facts.get(key, spec[key]) != spec[key]
        ]
        if belongs != place or facts["spec_id"] != spec_id(spec):
            problems.append(f"a record of its spec belongs at {belongs}. Run bench, do not copy.")
    if problems:
        raise RecordError(_one_line(path, problems))
    return Record(path, facts)


def _one_line(path: Path, problems: list[str]) -> str:
    return f"{path}: {' '.join(' '.join(problems).split())}"


def _problems(facts: Mapping[str, Any], schema: type[Schema]) -> list[str]:
    found = facts.get("schema")
    if type(found) is not int:
        return ["it has no schema: it is no result of recbole-llm."]
    if found > SCHEMA:
        return [f"schema {found} is newer than {SCHEMA}, which this version reads. Update it."]
    try:
        schema.model_validate(facts)
    except ValidationError as error:
        return problem_lines(error, known={"spec": Spec.model_fields})
    return []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not a readable JSON file ({error}).") from None
    if not isinstance(facts, dict):
        raise RecordError(f"{path}: must be a JSON object, received a {type(facts).__name__}.")
    return facts


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number that a result may hold")
