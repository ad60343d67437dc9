"""One run in a process of its own, so that whatever happens to it happens to it alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from recbole_llm.errors import RecBoleLLMError
from recbole_llm.ranks import RANKS
from recbole_llm.run_dir import RESULT, read_json

ERROR = "error.json"
LOG = "output.log"
RECORDED = "recorded"  # the run's record has been written: there is nothing to go on with
PATIENCE = 10  # seconds that a process has to end when it is asked to
LAST_LINES = 30
# Settings that say where or how loudly a run runs; they change no number; what
# init_from names does, and a run keeps its digest.
OF_A_MACHINE = (
    "run_dir", "data_path", "checkpoint_dir", "text_cache_dir", "gpu_id", "show_progress", "state",
    "log_wandb", "wandb_project", "init_from",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What a process needs to run a run, on this machine or another.

    Attributes:
        model: A model's name.
        dataset: A dataset's name.
        seed: The seed.
        settings: All other settings.
        run_dir: The run's directory; what was stopped there goes on.
        data_path: The folder of datasets, or None for ml-100k, which RecBole's wheel holds.
        folder: The working directory, to which paths in settings are relative.
        is_fresh: Whether to begin anew, whatever the directory holds.
        rerank: The directory of another run whose lists this one, a classifier's, puts in order.
        top: Items of each list that it does so with.
    """

    model: str
    dataset: str
    seed: int
    settings: Mapping[str, Any]
    run_dir: str
    data_path: str | None
    folder: str
    is_fresh: bool
    rerank: str | None = None
    top: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a job: a result, or what went wrong.

    Attributes:
        result: The run's ``result.json``, or None.
        ranks: Its file of ranks, or None.
        error: Type, message and traceback of what went wrong, or None.
        seconds: How long it took, here and now.
    """

    result: dict[str, Any] | None
    ranks: bytes | None
    error: dict[str, str] | None
    seconds: float


def execute(job: Job) -> Outcome:
    """Run a job in a new process, which ends when this one does, and return what came of it."""
    begin = time.perf_counter()
    run_dir = Path(job.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / ERROR).unlink(missing_ok=True)
    with (run_dir / LOG).open("ab") as log:
        code = _run_process(job, log)
    seconds = time.perf_counter() - begin
    if code != 0:
        return Outcome(None, None, _what_went_wrong(run_dir, code), seconds)
    try:
        result = read_json(run_dir / RESULT)
    except RecBoleLLMError as error:
        return Outcome(None, None, failure(error, traceback=_end_of_log(run_dir)), seconds)
    ranks = run_dir / RANKS
    return Outcome(result, ranks.read_bytes() if ranks.exists() else None, None, seconds)


def of_all_machines(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's result without what names folders of this machine."""
    kept = {key: value for key, value in result.items() if key != "run_dir"}
    settings = kept.get("settings")
    if isinstance(settings, dict):
        kept["settings"] = {k: value for k, value in settings.items() if k not in OF_A_MACHINE}
    return kept


def failure(error: Exception, *, traceback: str) -> dict[str, str]:
    """Return what a record of a failure says of an error."""
    return {"type": type(error).__name__, "message": str(error), "traceback": traceback}


def death(error: Exception) -> Outcome:
    """Return the outcome of a job whose worker died before it could say anything."""
    first, *_ = str(error).splitlines() or [""]
    what = {"type": type(error).__name__, "message": first, "traceback": str(error)}
    return Outcome(None, None, what, 0.0)


def _run_process(job: Job, log: BinaryIO) -> int:
    with subprocess.Popen(
        [sys.executable, "-m", "recbole_llm.job_child"],
        cwd=job.folder,
        stdin=subprocess.PIPE,  # open while this process lives: the child ends when it closes
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"},
        start_new_session=True,  # the terminal's Ctrl-C is for this process, which ends the child
    ) as child:
        try:
            stdin = cast(BinaryIO, child.stdin)
            stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            stdin.flush()
            return child.wait()
        except BrokenPipeError:  # it died before it read; its exit code says of what
            return child.wait()
        finally:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _what_went_wrong(run_dir: Path, code: int) -> dict[str, str]:
    if code < 0:
        name = signal.Signals(-code).name
        memory = "; out of memory?" if name == "SIGKILL" else ""
        error = {"type": name, "message": f"the process was ended by {name}{memory}"}
        return error | {"traceback": _end_of_log(run_dir)}
    try:
        found = read_json(run_dir / ERROR)
        return {key: str(found[key]) for key in ("type", "message", "traceback")}
    except (RecBoleLLMError, KeyError):
        error = {"type": "Exit", "message": f"the process ended with exit code {code}"}
        return error | {"traceback": _end_of_log(run_dir)}


def _end_of_log(run_dir: Path) -> str:
    text = (run_dir / LOG).read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-LAST_LINES:])
