"""How fast text encoders are, measured side by side and kept beside the records of a suite.

What a record says of the speed of its vectors is of one run, on whatever machine, beside whatever
else that did, or of the run that left them in the cache: numbers that no column may compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from recbole_llm.bench.results import Record, RecordError
from recbole_llm.validation import problem_lines

SPEEDS = "encoders.json"
NAME = "vectors_per_second"
Speeds = Mapping[str, Mapping[str, float]]
"""Distinct texts a second of one core, by dataset and label."""


class _Dataset(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    vectors_per_second: dict[str, FiniteFloat]


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    datasets: dict[str, _Dataset]


def read_speeds(folder: Path) -> Speeds:
    """Return what ``benchmarks/encoder_speed.py`` measured for a folder of results, if it did.

    Raises:
        RecordError: If the file is damaged or foreign.
    """
    path = folder / SPEEDS
    if not path.exists():
        return {}
    try:
        content = _File.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        lines = (
            problem_lines(error, known={}) if isinstance(error, ValidationError) else [str(error)]
        )
        raise RecordError(
            f"{path}: {' '.join(lines)} Measure again: benchmarks/encoder_speed.py."
        ) from None
    return {name: one.vectors_per_second for name, one in content.datasets.items()}


def side_by_side(record: Record, speeds: Speeds) -> Record:
    """Return a record whose vectors are as fast as measured beside others, or unknown."""
    text = record.facts.get("text")
    if text is None:
        return record
    speed = speeds.get(record.facts["dataset"], {}).get(record.facts["label"])
    return Record(record.path, {**record.facts, "text": {**text, NAME: speed}})
