"""The runs that rows of a suite begin with, each trained once, before the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from recbole_llm.bench.plan import Planned, duration
from recbole_llm.bench.specs import SourceSpec
from recbole_llm.job import LOG, Job, Outcome

RUNS = Path("saved") / "bench"
LOCKS = ".locks"
Claimed = tuple[Any, Job]
"""What is run, and how; an executor gives the first back with what came of it."""
Executor = Callable[[Iterable[Claimed]], Iterator[tuple[Any, Outcome]]]


def folder_for(place: Path) -> Path:
    """Return the directory of a run whose record, but for its suffix, lies at a place."""
    place, here = place.resolve(), Path.cwd()
    parts = place.relative_to(here).parts if here in place.parents else place.parts[1:]
    return (RUNS / Path(*parts)).resolve()


def source_folder(root: Path, source: SourceSpec) -> Path:
    """Return the directory of a source of the suite whose results lie in ``root``."""
    return folder_for(root / "sources" / source.folder)


def needed_sources(planned: Iterable[Planned]) -> list[SourceSpec]:
    """Return the sources of runs, each once, in an order that all processes have."""
    found = {one.spec.source.folder: one.spec.source for one in planned if one.spec.source}
    return [found[folder] for folder in sorted(found)]


def source_lines(planned: Iterable[Planned]) -> list[str]:
    """Return which sources runs need, in words."""
    return [f"needed    {source.title}" for source in needed_sources(planned)]


def data_folder(dataset: str, folder: Path) -> str | None:
    """Return where a job finds its data; ml-100k lies in RecBole's wheel."""
    return None if dataset == "ml-100k" else str(folder.resolve())


@dataclass(frozen=True, kw_only=True)
class SourceRunner:
    """What trains sources; one that is finished, on this data, is not trained again.

    Attributes:
        root: The folder of results.
        data_path: The folder of datasets.
        is_forced: Whether they are trained from the beginning whatever is there.
        say: Hears a line of each event.
        executor: Where jobs run.
    """

    root: Path
    data_path: Path
    is_forced: bool
    say: Callable[[str], None]
    executor: Executor
    _locks: dict[str, FileLock] = field(default_factory=dict)

    def run(self, sources: Iterable[SourceSpec]) -> dict[str, dict[str, str]]:
        """Train sources; return what went wrong, by the name of the source's folder."""
        broken = {}
        try:
            for source, outcome in self.executor(self._claimed(sources)):
                if outcome.error is not None:
                    message = f"{source.title} failed: {outcome.error['message']}"
                    broken[source.folder] = {**outcome.error, "message": message}
                how = "ready" if outcome.error is None else outcome.error["message"]
                self.say(f"  {source.title}: {how} after {duration(outcome.seconds)}")
                self._locks.pop(source.folder).release()
        finally:
            for lock in self._locks.values():
                lock.release()
        return broken

    def _claimed(self, sources: Iterable[SourceSpec]) -> Iterator[Claimed]:
        """Yield sources; one that another process trains when that has done it."""
        for source in sources:
            folder = self.root / LOCKS
            folder.mkdir(exist_ok=True)
            lock = self._locks[source.folder] = FileLock(folder / f"source--{source.folder}.lock")
            lock.acquire()
            job = Job(
                model=source.model,
                dataset=source.dataset,
                seed=source.seed,
                settings=source.settings,
                run_dir=str(source_folder(self.root, source)),
                data_path=data_folder(source.dataset, self.data_path),
                folder=str(Path.cwd()),
                is_fresh=self.is_forced,
            )
            self.say(f"{source.title}: wanted first, log in {job.run_dir}/{LOG}")
            yield source, job
