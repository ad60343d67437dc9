"""Running what a plan wants, and keeping what comes of it: a record, or a failure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_llm.bench.plan import Planned, duration
from recbole_llm.bench.results import (
    SCHEMA,
    SUITE,
    RecordError,
    ranks_path,
    read_plan,
    read_record,
    record_problems,
)
from recbole_llm.bench.rulers import fingerprint, ruler_of
from recbole_llm.bench.sources import (
    LOCKS,
    Claimed,
    Executor,
    SourceRunner,
    data_folder,
    folder_for,
    needed_sources,
    source_folder,
)
from recbole_llm.bench.specs import RunSpec, SourceSpec
from recbole_llm.bench.suite import Suite
from recbole_llm.errors import RecBoleLLMError, RequestError
from recbole_llm.files import atomic_path, write_json
from recbole_llm.job import LOG, RECORDED, Job, Outcome, execute, of_all_machines
from recbole_llm.parsing import parse_value
from recbole_llm.ranks import pack, under_digests, unpack

OF_A_RECORD = {"text_diversity": True}  # unless a row says otherwise


def run_here(jobs: Iterable[Claimed]) -> Iterator[tuple[Any, Outcome]]:
    """Run jobs one after another on this machine."""
    for one, job in jobs:
        yield one, execute(job)


@dataclass(frozen=True, kw_only=True)
class Runner:
    """What runs runs.

    Attributes:
        suite: Their suite.
        data_path: The folder of datasets.
        is_forced: Whether what is there is run again, from the beginning.
        say: Hears a line of each event.
        executor: Where jobs run.
    """

    suite: Suite
    data_path: Path
    is_forced: bool
    say: Callable[[str], None]
    executor: Executor = run_here
    _locks: dict[Path, FileLock] = field(default_factory=dict)

    def run(self, planned: Sequence[Planned]) -> None:
        """Run what is planned and keep what comes of it.

        What runs begin with is trained first, then the runs whose lists others put in order.

        Raises:
            RecBoleLLMError: At the end, if a run failed.
        """
        broken = self._broken(planned)
        failures = [one.failure for one in broken]
        rest = [one for one in planned if one not in broken]
        bases = {one.spec.reranked.path for one in rest if one.spec.reranked is not None}
        first = [one for one in rest if one.spec.path in bases]
        then = [one for one in rest if one not in first]
        try:
            for number, stage in ((1, first), (1 + len(first), then)):
                for one, outcome in self.executor(self._claimed(stage, number, len(rest))):
                    if not self._keep(one, outcome):
                        failures.append(one.failure)
                    self._locks.pop(one.record).release()
        finally:
            for lock in self._locks.values():
                lock.release()
        if failures:
            files = "\n".join(f"  {file}" for file in failures)
            raise RecBoleLLMError(
                f"{len(failures)} of {len(planned)} runs failed, and are tried again at the next "
                f"call. What went wrong is in\n{files}"
            )

    def _broken(self, planned: Sequence[Planned]) -> list[Planned]:
        """Train the sources of runs; keep and return the runs whose source failed."""
        if not (sources := needed_sources(planned)):
            return []
        errors = SourceRunner(
            root=planned[0].root,
            data_path=self.data_path,
            is_forced=self.is_forced,
            say=self.say,
            executor=self.executor,
        ).run(sources)
        broken = []
        for one in planned:
            if one.spec.source is not None and one.spec.source.folder in errors:
                self.say(f"{one.spec.seeded_title}: not run")
                self._keep(one, Outcome(None, None, errors[one.spec.source.folder], 0.0))
                broken.append(one)
        return broken

    def _claimed(self, planned: Sequence[Planned], first: int, total: int) -> Iterator[Claimed]:
        """Yield the runs that no other process runs, each with its lock held."""
        for number, one in enumerate(planned, first):
            title = f"[{number}/{total}] {one.spec.seeded_title}"
            lock = lock_of(one)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                self.say(f"{title}: another process is at it")
                continue
            self._locks[one.record] = lock
            if not self.is_forced and _is_done(one):
                self.say(f"{title}: another process has done it")
                self._locks.pop(one.record).release()
                continue
            job = self._job(one)
            self.say(f"{title}: running, log in {job.run_dir}/{LOG}")
            yield one, job

    def _job(self, one: Planned) -> Job:
        spec, run_dir, base = one.spec, run_folder(one.record), one.spec.reranked
        source = None if spec.source is None else source_folder(one.root, spec.source)
        return Job(
            model=spec.model,
            dataset=spec.dataset,
            seed=spec.seed,
            settings=OF_A_RECORD
            | spec.settings
            | ({} if source is None else {"init_from": str(source)}),
            run_dir=str(run_dir),
            data_path=data_folder(spec.dataset, self.data_path),
            folder=str(Path.cwd()),
            is_fresh=self.is_forced or (run_dir / RECORDED).exists(),
            rerank=None if base is None else str(run_folder(one.root / base.path)),
            top=spec.rerank.top if spec.rerank else 0,
        )

    def _keep(self, one: Planned, outcome: Outcome) -> bool:
        """Write the record or the failure of a run, and tell whether it is a record."""
        facts = facts_of(one.spec)
        error = outcome.error
        if outcome.result is not None:
            record = {**of_all_machines(outcome.result), **facts}
            if not (problems := record_problems(record)):
                keep_record(one, record, _public(outcome.ranks, one.spec.dataset))
                score = record["test_result"][self.suite.metric]
                self.say(f"  done in {duration(outcome.seconds)}: {self.suite.metric} {score:.4f}")
                return True
            error = {"type": "RecordError", "message": " ".join(problems), "traceback": ""}
        one.failure.parent.mkdir(parents=True, exist_ok=True)
        failure = {"schema": SCHEMA, **facts, "error": error, "seconds": outcome.seconds}
        write_json(one.failure, failure)
        message = (error or {}).get("message", "")
        self.say(f"  failed after {duration(outcome.seconds)}: {message}")
        return False


def write_plan(root: Path, suite: Suite, specs: Sequence[RunSpec]) -> list[str]:
    """Write what a folder of results shall hold into it; return what the user should know.

    Raises:
        RequestError: If it belongs to another suite, or cannot be written.
    """
    before = read_plan(root)
    if before is not None and before["suite"] != specs[0].suite:
        raise RequestError(
            f"results: {root} holds those of the suite {before['suite']!r}. Name another folder "
            "with --results."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / SUITE, plan_facts(suite, specs))
    except OSError as error:
        raise RequestError(
            f"results: {root} cannot be written ({error.strerror}). Name another with --results."
        ) from None
    lost = [] if before is None else [root / run["path"] for run in before["runs"]]
    lost = [path for path in lost if path.exists()]
    if not lost or {root / spec.path for spec in specs} & set(lost):
        return []
    return [
        f"{root} holds {len(lost)} records of another suite of this name, or of other settings, "
        "which its leaderboard now leaves out. --results=FOLDER keeps two suites apart."
    ]


def plan_facts(suite: Suite, runs: Sequence[RunSpec]) -> dict[str, Any]:
    """Return what ``suite.json`` says: which runs there shall be, in their order."""
    keys = ("ruler", "label", "role", "dataset", "seed", "spec_id", "path", "skip")
    return {
        "schema": SCHEMA,
        "suite": runs[0].suite,
        "about": suite.about,
        "metric": suite.metric,
        "claim": None if suite.claim is None else suite.claim.model_dump(),
        "runs": [{key: getattr(run, key) for key in keys} for run in runs],
    }


def run_folder(place: Path) -> Path:
    """Return the directory of a run, a function of its record's path, so that it can be resumed."""
    return folder_for(place.with_suffix(""))


def command_of(spec: RunSpec) -> str:
    """Return the command line that runs a run again, behind those of the runs that it needs."""
    return _commands(spec)


def _commands(spec: RunSpec, **more: str) -> str:
    base = spec.reranked
    if spec.rerank is not None and base is not None:
        rerank = f"recbole-llm rerank lists --by=classifier --top={spec.rerank.top}"
        run = _command(spec, run_dir="classifier")
        return f"{_commands(base, run_dir='lists')} && {run} && {rerank}"
    if spec.source is None:
        return _command(spec, **more)
    source = f"saved/{spec.source.folder}"
    first = _command(spec.source, run_dir=source)
    return f"{first} && {_command(spec, init_from=source, **more)}"


def _command(spec: RunSpec | SourceSpec, **more: str) -> str:
    given = {"model": spec.model, "dataset": spec.dataset, "seed": spec.seed}
    given |= (OF_A_RECORD if isinstance(spec, RunSpec) else {}) | spec.settings
    words = [f"--{key}={_word(key, value)}" for key, value in (given | more).items()]
    return shlex.join(["run_recbole", *words])


def _word(key: str, value: Any) -> str:
    """Return the word that :func:`parse_value` turns into a value."""
    if isinstance(value, str):
        return value if parse_value(key, value) == value else repr(value)
    if value is None or isinstance(value, bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def facts_of(spec: RunSpec) -> dict[str, Any]:
    """Return what the suite says of a run."""
    keys = ("suite", "ruler", "label", "role", "spec_id")
    facts = {key: getattr(spec, key) for key in keys}
    return facts | {"spec": spec.facts, "command": command_of(spec)}


def _public(ranks: bytes | None, dataset: str) -> bytes | None:
    """Return a run's ranks as a record has them, which may be published."""
    return None if ranks is None else pack(under_digests(unpack(ranks), dataset=dataset))


def keep_record(one: Planned, record: Mapping[str, Any], ranks: bytes | None) -> None:
    """Write ranks, then the record; only then is the run done."""
    one.record.parent.mkdir(parents=True, exist_ok=True)
    ranks_file = ranks_path(one.record)
    if ranks is None:
        ranks_file.unlink(missing_ok=True)
    else:
        with atomic_path(ranks_file) as partial:
            partial.write_bytes(ranks)
    write_json(one.record, {**record, "fingerprint": fingerprint(ruler_of(record))})
    one.failure.unlink(missing_ok=True)
    run_dir = run_folder(one.record)
    if run_dir.is_dir():  # on a cluster it may be another machine's
        (run_dir / RECORDED).touch()


def lock_of(one: Planned) -> FileLock:
    """Return the lock of a run, which whoever writes its record holds."""
    folder = one.root / LOCKS
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"{one.spec.dataset}--{one.record.stem}.lock")


def _is_done(one: Planned) -> bool:
    """Tell whether a run's record has come since the plan was made."""
    try:
        read_record(one.root, one.record)
    except RecordError:
        return False
    return not one.failure.exists()
