"""The process of one run: ``python -m recbole_llm.job_child``, the job as JSON on its stdin."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from recbole_llm.errors import RequestError
from recbole_llm.files import write_json
from recbole_llm.job import ERROR, RECORDED, Job, failure
from recbole_llm.ranks import RANKS
from recbole_llm.run_dir import CONFIG, RESULT, STATE, WEIGHTS

CLASSIFIER = "classifier"  # the directory of a re-ranking job's own run
PATIENCE = 60  # seconds for a process before this one to leave the directory


def main() -> None:
    """Run the job, or leave what went wrong in the run's directory."""
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    run_dir = Path(job.run_dir)
    try:
        with FileLock(run_dir.with_name(f"{run_dir.name}.lock"), timeout=PATIENCE):
            train(job) if job.rerank is None else train_and_rerank(job, Path(job.rerank))
    except Exception as error:
        write_json(run_dir / ERROR, failure(error, traceback=traceback.format_exc()))
        raise


def _end_with_parent() -> None:
    """End when stdin closes, since then nobody waits for the result; whole epochs are kept."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def train(job: Job) -> None:
    """Go on with the run that the directory holds, or begin one."""
    from recbole_llm.quick_start import run_recbole

    run_dir = Path(job.run_dir)
    settings: dict[str, Any] = {**job.settings, "seed": job.seed, "show_progress": False}
    settings |= {"data_path": job.data_path} if job.data_path else {}
    if not job.is_fresh and _can_go_on(job, settings):
        run_recbole(job.model, job.dataset, config_dict=settings, resume=run_dir)
        return
    for name in (RECORDED, RESULT, STATE, WEIGHTS, RANKS, CONFIG):
        (run_dir / name).unlink(missing_ok=True)
    settings["run_dir"] = str(run_dir)
    run_recbole(job.model, job.dataset, config_dict=settings)


def train_and_rerank(job: Job, lists: Path) -> None:
    """Train a classifier in a directory inside the job's own, and put another run's lists in order.

    Raises:
        RequestError: If that run is not there.
    """
    run_dir = Path(job.run_dir)
    if not (lists / RESULT).is_file():
        raise RequestError(
            f"rerank: {lists} holds no finished run on this machine. Run the row that makes the "
            "lists first, with --force where only its record is here."
        )
    for name in (RECORDED, RESULT, RANKS):
        (run_dir / name).unlink(missing_ok=True)
    own = replace(job, run_dir=str(run_dir / CLASSIFIER), rerank=None)
    train(own)
    from recbole_llm.rerank import write_reranked

    write_reranked(lists, by=own.run_dir, top=job.top, out=run_dir)


def _can_go_on(job: Job, settings: Mapping[str, Any]) -> bool:
    """Tell whether the directory holds this run, of the same data and of today's defaults."""
    from recbole_llm.resume import stored_run

    try:
        stored_run(Path(job.run_dir)).config_for(
            model=job.model, dataset=job.dataset, files=(), values=settings, arguments={}
        )
    except RequestError:
        return False
    return True


if __name__ == "__main__":
    main()
