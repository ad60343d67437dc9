"""Runs that another suite has made: one of the same spec is the same run, and is not made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_llm.bench.plan import Planned
from recbole_llm.bench.results import Record, failure_path, read_records
from recbole_llm.bench.runner import facts_of, keep_record, lock_of
from recbole_llm.bench.specs import RunSpec
from recbole_llm.errors import RequestError


def runs_elsewhere(
    planned: Sequence[Planned], folders: Sequence[Path], *, specs: Sequence[RunSpec]
) -> tuple[dict[Path, Record], list[str]]:
    """Return the records of planned runs that other folders of results hold.

    A run that another one re-ranks is made anew, since its model is needed. One that was run again
    and failed has no record that counts.

    Args:
        planned: The runs that are to be run.
        folders: Folders of results; what a former one holds is taken from there.
        specs: All runs of the suite.

    Returns:
        Where the record of a run belongs, with the record of the same model, dataset, seed and
        settings; and a line for each file that is no sound record.

    Raises:
        RequestError: If a folder is not there.
    """
    if lost := [str(folder) for folder in folders if not folder.is_dir()]:
        raise RequestError(
            f"--from: {', '.join(lost)} is not there. Name folders of results, as results/ml-100k."
        )
    found = [read_records(folder) for folder in folders]
    made = [
        record
        for records, _ in reversed(found)
        for record in records
        if not failure_path(record.path).exists()
    ]
    by_spec = {record.facts["spec_id"]: record for record in made}
    needed = {spec.reranked.path for spec in specs if spec.reranked is not None}
    taken = {
        one.record: by_spec[one.spec.spec_id]
        for one in planned
        if one.spec.spec_id in by_spec and one.spec.path not in needed
    }
    return taken, [problem for _, problems in found for problem in problems]


def take_over(planned: Sequence[Planned], taken: Mapping[Path, Record]) -> None:
    """Write the records of runs that are made, with their ranks, as those of this suite's rows."""
    for one in planned:
        if (record := taken.get(one.record)) is not None:
            ranks = None if record.ranks is None else record.ranks.read_bytes()
            origin = {"taken_from": record.path.as_posix()}
            with lock_of(one):
                keep_record(one, {**record.facts, **facts_of(one.spec), **origin}, ranks)
