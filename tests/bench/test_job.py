"""Runs in processes of their own: results, deaths, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_llm.bench.results import read_failures, read_records
from recbole_llm.job import ERROR, LOG, Job, execute

LSTM = {"model": "LLMInterestLSTM"}


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, and is no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def a_job(small) -> Callable[..., Job]:
    """Return a function that makes a job."""

    def make(run_dir: Path, data: Path, **settings: Any) -> Job:
        return Job(
            model="LLMInterestLSTM", dataset="toy", seed=1, settings=small | settings,
            run_dir=str(run_dir), data_path=str(data), folder=str(Path.cwd()), is_fresh=False,
        )  # fmt: skip

    return make


@pytest.fixture
def stand_in(monkeypatch, tmp_path) -> Callable[[str], None]:
    """Return a function that gives the process of a run another program."""

    def give(code: str) -> None:
        package = tmp_path / "stand-in" / "recbole_llm"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "job_child.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.chdir(package.parent)

    return give


@pytest.mark.parametrize(
    ("code", "kind", "words", "trace"),
    [
        ("import os; print('so far', flush=True); os.kill(os.getpid(), 9)", "SIGKILL",
         "the process was ended by SIGKILL; out of memory?", "so far"),
        ("import faulthandler; faulthandler._sigsegv()", "SIGSEGV",
         "the process was ended by SIGSEGV", "Segmentation fault"),
        ("import sys; sys.exit(7)", "Exit", "the process ended with exit code 7", ""),
        ("1 / 0", "Exit", "exit code 1", "ZeroDivisionError"),
        ("pass", "RunDirError", "result.json: no such file", ""),
    ],
    ids=["killed", "segfault", "exit", "raised", "no result"],
)  # fmt: skip
def test_a_death_is_told_with_its_cause(
    a_job, tmp_path, stand_in, code, kind, words, trace
) -> None:
    stand_in(code)
    outcome = execute(a_job(tmp_path / "run", tmp_path))
    assert outcome.result is None and outcome.ranks is None and outcome.error is not None
    assert outcome.error["type"] == kind and words in outcome.error["message"]
    assert trace in outcome.error["traceback"]


def test_an_old_error_is_not_told_again(a_job, tmp_path, stand_in) -> None:
    stand_in("import sys; sys.exit(7)")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / ERROR).write_text('{"type": "Old", "message": "old", "traceback": ""}')
    assert execute(a_job(run_dir, tmp_path)).error["type"] == "Exit"


def test_a_process_gets_the_whole_job(a_job, tmp_path, stand_in) -> None:
    stand_in("import sys; print(sys.stdin.readline())")
    job = a_job(tmp_path / "run", tmp_path, text_template="中 {a}\n")
    execute(job)
    assert Job(**json.loads((tmp_path / "run" / LOG).read_text())) == job


@pytest.mark.slow
def test_a_run_s_own_error_is_told(a_job, tmp_path, toy_data) -> None:
    job = a_job(tmp_path / "run", toy_data, item_features="text", text_encoder="/no/such")
    outcome = execute(job)
    assert outcome.error["type"] == "EncoderError" and "/no/such" in outcome.error["message"]
    assert "raise EncoderError" in outcome.error["traceback"]


@pytest.mark.slow
def test_a_run_is_the_same_wherever_it_runs(tmp_path, toy_data, write_suite, start, small) -> None:
    """Faults 82 and 85: folders with spaces and accents, hash seeds, locales."""
    suite = write_suite(settings=small, models={"A": LSTM})
    facts = []
    for seed, folder in (("1", "one"), ("2", "zweiter Versuch, übel")):
        env = {"PYTHONHASHSEED": seed, "LC_ALL": "C" if seed == "1" else "C.UTF-8"}
        process = start(suite, "--results", str(tmp_path / folder), "--seeds=1", **env)
        assert process.wait(240) == 0, process.stderr.read()
        (record,), problems = read_records(tmp_path / folder)
        assert problems == []
        facts.append({key: record.facts[key] for key in record.facts.keys() - MEASURED})
        assert record.ranks is not None
    assert facts[0] == facts[1]


MEASURED = {"seconds", "peak_memory_mib", "peak_gpu_memory_mib", "curve"}


@pytest.mark.slow
def test_a_killed_run_is_a_failure_and_the_next_goes_on(
    write_suite, begin, tmp_path, small, until
) -> None:
    settings = small | {"epochs": 100_000, "stopping_step": 100_000}
    models = {"A": LSTM | {"settings": settings}, "B": LSTM | {"settings": small}}
    process, printed = begin(write_suite(seeds=[1], settings={}, models=models))
    until(lambda: list(tmp_path.glob("saved/bench/results/toy/toy/A--*/training.safetensors")))
    (child,) = until(lambda: children(process.pid))
    os.kill(child, signal.SIGKILL)
    process.join(240)
    told = printed.read_text()
    assert process.exitcode == 1 and "ended by SIGKILL" in told and "1 of 2 runs failed" in told
    (failure,), _ = read_failures(tmp_path / "results/toy")
    assert failure.facts["label"] == "A" and failure.facts["error"]["type"] == "SIGKILL"
    (record,), _ = read_records(tmp_path / "results/toy")
    assert record.facts["label"] == "B"


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stopped_bench_ends_its_run_and_keeps_nothing(
    write_suite, begin, tmp_path, small, until, how: str, code: int
) -> None:
    suite = write_suite(seeds=[1], settings=small | {"epochs": 100_000, "stopping_step": 100_000})
    process, _ = begin(suite)
    until(lambda: list(tmp_path.glob("saved/bench/**/training.safetensors")))
    (child,) = until(lambda: children(process.pid))
    os.kill(process.pid, signal.Signals[how])
    process.join(240)
    assert process.exitcode == code
    assert not is_alive(child)
    assert read_records(tmp_path / "results/toy") == ([], [])
    assert read_failures(tmp_path / "results/toy") == ([], [])


@pytest.mark.slow
def test_a_killed_bench_loses_no_epoch(write_suite, begin, tmp_path, small, until) -> None:
    """Its run ends with it, and the next call goes on with that run, bit for bit."""
    settings = small | {"epochs": 40, "stopping_step": 40}
    suite = write_suite(seeds=[1], settings=settings, models={"A": LSTM})
    process, _ = begin(suite)
    until(lambda: list(tmp_path.glob("saved/bench/**/training.safetensors")))
    (child,) = until(lambda: children(process.pid))
    process.kill()
    until(lambda: not is_alive(child))
    assert read_records(tmp_path / "results/toy") == ([], [])
    for options in ([], ["--results=whole"]):
        again, printed = begin(suite, *options)
        again.join(240)
        assert again.exitcode == 0, printed.read_text()
    (resumed,), _ = read_records(tmp_path / "results/toy")
    (unbroken,), _ = read_records(tmp_path / "whole")
    for key in ("best_valid_result", "test_result", "epochs", "best_epoch"):
        assert resumed.facts[key] == unbroken.facts[key]
    (log,) = tmp_path.glob("saved/bench/results/toy/toy/A--*/output.log")
    assert log.read_text().count("epoch 0 training") == 1


@pytest.mark.slow
def test_two_drivers_at_once_share_the_work(write_suite, begin, tmp_path, small) -> None:
    suite = write_suite(seeds=[1, 2, 3], settings=small, models={"A": LSTM})
    drivers, outs = [], ""
    for driver, printed in [begin(suite), begin(suite)]:
        driver.join(240)
        drivers.append(driver)
        outs += printed.read_text()
    assert [driver.exitcode for driver in drivers] == [0, 0]
    assert outs.count(": running, log in") == 3
    assert outs.count("  done in ") == 3
    records, problems = read_records(tmp_path / "results/toy")
    assert len(records) == 3 and problems == []
