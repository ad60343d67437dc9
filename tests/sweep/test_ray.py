"""Sweeps on real Ray: what is cut, what dies, what is shared, and what is left of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from recbole_llm.data import dataset
from recbole_llm.errors import RecBoleLLMError
from recbole_llm.sweep.ledger import Trial
from recbole_llm.sweep.ray_parts import GIB, LedgerCallback
from recbole_llm.sweep.ray_tuner import OWN, TRIAL
from recbole_llm.sweep.search import place_of
from recbole_llm.sweep.specs import Sweep
from recbole_llm.sweep.trial import run_trial
from recbole_llm.sweep.variants import prepare_all

pytestmark = pytest.mark.slow
SMALL = {
    "item_features": "id", "embedding_size": 8, "hidden_size": 8, "train_batch_size": 8,
    "stopping_step": 1000,
}  # fmt: skip
RATES = {"learning_rate": {"choice": [0.01, 1e-6, 0.02, 2e-6, 0.03, 3e-6]}}
ANY = {"model": "LLMInterestLSTM", "dataset": "toy", "space": RATES, "budget": {"trials": 1}}
SHARE = {"cpus": 1, "gpus": 0.25}  # of a GPU where there are any: here are none
GRID = {"searcher": "grid", "budget": {}, "space": RATES}


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Return Ray, connected to a cluster that all tests here share."""
    with place_of(Sweep.model_validate(ANY), address=None) as connected:
        yield connected


@pytest.fixture
def run(runner, ray) -> Callable[[Sweep], list[Trial]]:
    """Return a function that runs the search of a sweep on Ray and returns its trials."""
    return partial(runner, ray=ray)


def settings(**parts: Any) -> dict[str, Any]:
    return SMALL | {"epochs": 9} | parts


def states(trials: list[Trial]) -> dict[Any, str]:
    return {one.point["learning_rate"]: one.state for one in trials}


def test_asha_cuts_trials_and_the_best_epoch_counts(
    sweep, run, runner, toy_data, tmp_path, monkeypatch
) -> None:
    """From data that was prepared once: it is gone when the first trial begins."""

    def forget() -> None:
        shutil.rmtree(toy_data)
        shutil.rmtree(tmp_path / "cache")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asha = {"kind": "asha", "grace_epochs": 1, "reduction": 3}
    one = sweep(
        **GRID, settings=settings(item_features=["text", "id"]), scheduler=asha, resources=SHARE
    )
    task, data = runner.search(one, None).task, None
    data = prepare_all(one, task, say=lambda _: None)["{}"]
    encoded = []
    item_vectors = dataset.item_vectors
    monkeypatch.setattr(
        dataset, "item_vectors", lambda *a, **k: encoded.append(1) or item_vectors(*a, **k)
    )
    runner.when_prepared = forget
    trials = run(one)
    assert len(encoded) == 1
    assert sum(line.startswith("prepared") for line in runner.heard) == 1
    assert not toy_data.exists()
    assert {one.state for one in trials} == {"done", "pruned"} and len(trials) == 6
    assert all(len(one.curve) < 9 for one in trials if one.state == "pruned")
    for trial in trials:
        scores = [row["valid"] for row in trial.curve]
        assert trial.best == max(scores) and trial.best_epoch == scores.index(max(scores))
    best = runner.ledger.ranked()[0]
    assert best.best_epoch < len(best.curve) - 1
    here: list[float] = []
    run_trial(
        task, best.point, seed=best.seed, data=data, report=lambda at, _: here.append(at.score)
    )
    assert here == [row["valid"] for row in best.curve]  # as without Ray, to the last bit


def test_median_stopping_cuts_trials(sweep, run, runner) -> None:
    median = {"kind": "median", "grace_epochs": 2}
    trials = run(sweep(**GRID, settings=settings(), scheduler=median, concurrency=1))
    assert "pruned" in states(trials).values() and "done" in states(trials).values()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_trial_whose_process_is_killed_harms_no_other(
    sweep, run, runner, retries, until, is_trial
) -> None:
    """It is told of, and begins again where that is allowed; the others end well."""
    space = {"learning_rate": {"choice": [0.01, 0.02, 0.03]}, "temperature": {"choice": [1.0]}}
    space["label_smoothing"] = {"choice": [0.0]}
    one = sweep(
        searcher="grid", budget={}, space=space, settings=settings(epochs=60), concurrency=1,
        retries=retries,
    )  # fmt: skip
    killed = []

    def kill() -> None:
        until(lambda: [one for one in runner.ledger.trials() if one.curve])
        for process in psutil.Process().children(recursive=True):  # of this cluster alone
            if is_trial(process):
                killed.append(process.pid)
                process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    trials = run(one)
    thread.join()
    assert len(killed) == 1 and len(trials) == 3
    first, *others = trials
    assert {one.state for one in others} == {"done"}
    if retries:
        assert (first.state, first.attempts, len(first.curve)) == ("done", 2, 60)
        assert any("died and begins again" in line for line in runner.heard)
    else:
        assert first.state == "failed" and "died" in first.error["message"].lower(), first.error


def test_a_trial_that_hangs_in_an_epoch_is_ended(sweep, run, monkeypatch) -> None:
    """It is not tried again, and the others go on."""

    def sleeps(config, **parts) -> None:
        from recbole_llm.sweep import ray_tuner, trial

        def attempt(task, point, **rest):
            if point["learning_rate"] == 0.02:
                time.sleep(600)
            return trial.attempt(task, point, **rest)

        ray_tuner.attempt = attempt
        hours = 1 if config[TRIAL]["point"]["learning_rate"] != 0.02 else parts["task"].trial_hours
        parts["task"] = replace(parts["task"], trial_hours=hours)  # however slow a machine may be
        ray_tuner.train_on_ray(config, **parts)

    monkeypatch.setattr("recbole_llm.sweep.ray_tuner.train_on_ray", sleeps)
    space = {"learning_rate": {"choice": [0.01, 0.02, 0.03]}}
    budget = {"trial_hours": 5 / 3600}
    trials = run(sweep(searcher="grid", budget=budget, space=space, concurrency=1))
    assert [one.state for one in trials] == ["done", "failed", "done"]
    error = trials[1].error
    assert (error["type"], trials[1].attempts) == ("TrialTimeoutError", 1)
    assert error["message"] == "budget.trial_hours: 0.00138889 are over, and no epoch ended."
    assert 10 < trials[1].seconds < 300


def test_a_watch_ends_a_process_only_while_it_watches() -> None:
    code = (
        "import time; from recbole_llm.sweep.ray_tuner import Watch\n"
        "watch = Watch(0.25 / 3600)\n"  # it ends what takes half a second
        "with watch:\n"
        "    with watch.off(): time.sleep(1)\n"
        "time.sleep(1); print('alive', flush=True)\n"
        "with watch:\n"
        "    with watch.off(): pass\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (1, "alive\n") and "Timeout" in done.stderr


def test_what_goes_wrong_in_a_trial_is_its_own(sweep, run, runner, monkeypatch) -> None:
    """It is told of once, and no other trial begins in what its process has become."""
    process: dict[str, int] = {}
    on_result = LedgerCallback.on_trial_result

    def heard(self, iteration, trials, trial, result, **info) -> None:
        process.setdefault(self._wanted(trial).id, result["pid"])
        on_result(self, iteration, trials, trial, result, **info)

    monkeypatch.setattr(LedgerCallback, "on_trial_result", heard)
    space = {"temperature": {"choice": [1.0, 1e-44, 0.5, 0.7]}}
    one = sweep(searcher="grid", budget={}, space=space, settings=settings(epochs=2), concurrency=1)
    trials = run(one)
    assert [one.state for one in trials] == ["done", "failed", "done", "done"]
    failed = trials[1]
    assert failed.error["type"] == "NonFiniteError" and failed.attempts == 1
    assert "Lower learning_rate" in failed.error["message"]
    assert sum(failed.id in line for line in runner.heard) == 1
    first, second, third, last = (process[one.id] for one in trials)
    assert first == second and third == last and second != third


def test_hours_stop_what_runs(sweep, run, monkeypatch) -> None:
    late = property(lambda ledger: 2.0 * any(one.curve for one in ledger.trials()))
    monkeypatch.setattr("recbole_llm.sweep.ledger.Ledger.hours", late)
    trials = run(
        sweep(**GRID | {"budget": {"hours": 1.0}}, settings=settings(epochs=10**6), concurrency=1)
    )
    assert trials and {one.state for one in trials} == {"stopped"}
    assert all(one.curve and one.best is not None for one in trials)


def test_population_based_training_exchanges_settings_within_bounds(
    sweep, run, runner, monkeypatch
) -> None:
    """By states of training, which go when no trial can begin from them."""
    from recbole_llm.sweep import states

    kept: list[list[str]] = []
    on_result = states.States.on_trial_result

    def heard(self, iteration, trials, trial, result, **info) -> None:
        on_result(self, iteration, trials, trial, result, **info)
        kept.append(sorted(one.name for one in Path(trial.path).glob("checkpoint_*")))

    monkeypatch.setattr(states.States, "on_trial_result", heard)
    monkeypatch.setattr(states, "KEPT", 1)
    space = {
        "learning_rate": {"loguniform": [1e-4, 1e-1]},
        "dropout_prob": {"uniform": [0.0, 0.5]},
        "item_noise": {"choice": [0.0, 0.1, 0.2]},
    }
    pbt = {"kind": "pbt", "grace_epochs": 3}
    trials = run(
        sweep(space=space, settings=settings(epochs=9), scheduler=pbt, budget={"trials": 4})
    )
    assert {one.state for one in trials} == {"done"} and len(trials) == 4
    changes = [row["point"] for one in trials for row in one.curve if "point" in row]
    assert changes
    assert all(1e-4 <= point["learning_rate"] <= 1e-1 for point in changes)
    assert {point["item_noise"] for point in changes} <= {0.0, 0.1, 0.2}
    assert all(0.0 <= point["dropout_prob"] <= 0.5 for point in changes)
    assert not Path("work/.recbole-llm-ray").exists()  # no checkpoint is left
    assert ["checkpoint_000000"] in kept and "checkpoint_000000" not in kept[-1]


def test_a_full_disk_budget_ends_the_sweep_and_loses_nothing(sweep, run, runner) -> None:
    """Population-based training keeps states of training, which soon hold too much."""
    space = {"learning_rate": {"loguniform": [1e-4, 1e-1]}}
    large = settings(epochs=10**6, embedding_size=128, hidden_size=128)
    one = sweep(
        space=space, settings=large, scheduler={"kind": "pbt", "grace_epochs": 1},
        budget={"trials": 2, "disk_gb": 1e-3},
    )  # fmt: skip
    with pytest.raises(RecBoleLLMError, match=r"budget.disk_gb: work held .* more than 0.001"):
        run(one)
    assert {one.state for one in runner.ledger.trials()} == {"running"}  # --resume runs them anew


def test_what_a_killed_process_left_counts_for_no_disk(sweep, run) -> None:
    left = Path("work") / OWN / "ray" / "state"
    left.parent.mkdir(parents=True)
    with left.open("wb") as file:
        file.truncate(2 * GIB)
    trials = run(sweep(budget={"trials": 2, "disk_gb": 1.0}, settings=settings(epochs=2)))
    assert {one.state for one in trials} == {"done"} and not left.exists()
