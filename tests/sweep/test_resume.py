"""``recbole-llm tune --resume``: what goes on, what begins anew, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_llm.errors import NonFiniteError
from recbole_llm.sweep.trial import TrialTimeoutError, run_trial

pytestmark = pytest.mark.usefixtures("without_ray")
RESULTS = Path("results/tuning/toy")


@pytest.mark.slow
def test_it_is_rendered_to_the_same_bytes_again(tune, write_sweep) -> None:
    file = write_sweep()
    tune(file)
    names = ["report.html", "report.md", "outcome.json", "figures/curves.svg", "figures/curves.png"]
    before = [(RESULTS / name).read_bytes() for name in names]
    code, _, err = tune(file, "--resume")
    assert code == 0 and "7 trials are there, 0 begin anew." in err
    assert [(RESULTS / name).read_bytes() for name in names] == before


@pytest.mark.slow
def test_a_sweep_is_not_overwritten_by_mistake(tune, write_sweep) -> None:
    file = write_sweep()
    tune(file)
    code, _, err = tune(file)
    assert code == 2 and "holds 7 trials. Go on with --resume, or name another folder" in err


@pytest.mark.slow
def test_another_sweep_does_not_go_on_with_these_trials(tune, write_sweep) -> None:
    tune(write_sweep())
    changed = write_sweep(space={"num_layers": {"int": [1, 3]}}, seed=1)
    code, _, err = tune(changed, "--resume")
    assert code == 2 and "seed, space changed since the trials in" in err


@pytest.mark.slow
def test_other_data_does_not_go_on_with_these_trials(tune, write_sweep, toy_data) -> None:
    """Nor is a sweep of an earlier version lost, which did not say what its data was."""
    file = write_sweep()
    tune(file)
    data = toy_data / "toy" / "toy.inter"
    before = data.read_text()
    data.write_text(before + before.splitlines()[-1] + "\n")
    code, _, err = tune(file, "--resume")
    assert code == 2 and "toy.yaml: toy.inter changed since the trials in" in err
    data.write_text(before)
    facts = json.loads((RESULTS / "sweep.json").read_text())
    del facts["data_sha256"]
    (RESULTS / "sweep.json").write_text(json.dumps(facts))
    code, _, err = tune(file, "--resume")
    assert code == 0 and "says nothing of the data; is it what it was?" in err


@pytest.mark.slow
def test_other_vectors_do_not_go_on_with_these_trials(tune, write_sweep) -> None:
    np.save("img.npy", np.eye(9, dtype=np.float32))
    Path("img.ids").write_text("".join(f"i{k}\n" for k in range(9)))
    image = {"item_features": ["image"], "modalities": {"image": "img.npy"}, "epochs": 1}
    file = write_sweep(settings=image, budget={"trials": 1}, finalists={"top": 1, "seeds": [1]})
    assert tune(file)[0] == 0
    np.save("img.npy", 2 * np.eye(9, dtype=np.float32))
    code, _, err = tune(file, "--resume")
    assert code == 2 and "toy.yaml: image.npy changed since the trials in" in err


@pytest.mark.slow
def test_vectors_that_a_space_names_are_known_one_by_one(tune, write_sweep) -> None:
    for name in "ab":
        np.save(f"{name}.npy", np.eye(9, dtype=np.float32))
        Path(f"{name}.ids").write_text("".join(f"i{k}\n" for k in range(9)))
    choices = [{"image": "a.npy"}, {"image": "b.npy"}]
    file = write_sweep(
        settings={"item_features": ["image"], "epochs": 1},
        space={"modalities": {"choice": choices}},
        budget={"trials": 1},
        finalists={"top": 1, "seeds": [1]},
    )
    assert tune(file)[0] == 0
    np.save("b.npy", 2 * np.eye(9, dtype=np.float32))
    code, _, err = tune(file, "--resume")
    assert code == 2 and "toy.yaml: b.npy changed since the trials in" in err


@pytest.mark.slow
def test_a_larger_budget_goes_on(tune, write_sweep, trials) -> None:
    tune(write_sweep(budget={"trials": 2}))
    before = trials()
    code, _, _ = tune(write_sweep(budget={"trials": 4}), "--resume")
    assert code == 0 and trials()[:2] == before
    assert len(trials()) == 4


@pytest.fixture
def dies(trials) -> Callable[..., None]:
    """Return a stand-in for a trial that is interrupted in the sweep's second one."""

    def trial(task, point, *, report, **rest) -> None:
        def killed(epoch, trainer) -> None:
            report(epoch, trainer)
            if len(trials()) == 2:
                raise KeyboardInterrupt

        run_trial(task, point, report=killed, **rest)

    return trial


@pytest.mark.slow
def test_what_was_running_is_run_again_and_nothing_else(
    tune, write_sweep, monkeypatch, trials, dies
) -> None:
    """Killed in the middle of the second trial."""
    with monkeypatch.context() as patch:
        patch.setattr("recbole_llm.sweep.trial.run_trial", dies)
        assert tune(write_sweep())[0] == 130
    first, second = trials()
    assert (first["state"], second["state"], len(second["curve"])) == ("done", "running", 1)
    code, _, err = tune(write_sweep(), "--resume")
    assert code == 0 and "1 trials are there, 1 begin anew." in err
    assert trials()[0] == first
    assert (trials()[1]["attempts"], trials()[1]["state"]) == (2, "done")
    assert trials()[1]["id"] == second["id"]


@pytest.mark.slow
def test_a_smaller_budget_leaves_nothing_running(
    tune, write_sweep, monkeypatch, trials, dies
) -> None:
    """A trial that was stopped and is wanted no more is stopped for good."""
    with monkeypatch.context() as patch:
        patch.setattr("recbole_llm.sweep.trial.run_trial", dies)
        assert tune(write_sweep())[0] == 130
    code, _, _ = tune(write_sweep(budget={"trials": 1}), "--resume")
    assert code == 0 and [one["state"] for one in trials()] == ["done", "stopped"]


@pytest.mark.slow
def test_a_damaged_record_is_run_again(tune, write_sweep, trials) -> None:
    tune(write_sweep())
    before = {one["id"]: one["best"] for one in trials()}
    victim = RESULTS / "trials" / f"{trials()[1]['id']}.json"
    victim.write_text(victim.read_text()[:40])
    code, _, err = tune(write_sweep(), "--resume")
    assert code == 0 and f"{victim.name}: is no trial's record, and is made again" in err
    assert {one["id"]: one["best"] for one in trials()} == before


def fails(error: Exception, *, when: Callable[[dict], bool]) -> Callable[..., None]:
    """Return a stand-in for a trial that fails after an epoch of the points that are meant."""

    def trial(task, point, *, report, **rest) -> None:
        def told(epoch, trainer) -> None:
            report(epoch, trainer)
            if when(rest | point):
                raise error

        run_trial(task, point, report=told, **rest)

    return trial


GRID = {"searcher": "grid", "budget": {}, "space": {"num_layers": {"choice": [1, 2]}}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), TrialTimeoutError("budget.trial_hours: over")],
    ids=["memory", "time"],
)
def test_what_the_machine_failed_harms_no_other_and_is_tried_again_by_resume(
    tune, write_sweep, monkeypatch, error, trials
) -> None:
    file = write_sweep(**GRID, finalists={"top": 1, "seeds": [1]})
    with monkeypatch.context() as patch:
        stand_in = fails(error, when=lambda at: at["num_layers"] == 1)
        patch.setattr("recbole_llm.sweep.trial.run_trial", stand_in)
        assert tune(file)[0] == 0
    first, second = trials()
    assert (first["state"], second["state"]) == ("failed", "done")
    assert first["error"]["type"] == type(error).__name__
    code, _, err = tune(file, "--resume")
    assert code == 0 and "1 trials are there, 1 begin anew." in err
    assert [one["state"] for one in trials()] == ["done", "done"]
    assert trials()[0]["attempts"] == 2 and trials()[1] == second


@pytest.mark.slow
def test_where_all_finalists_fail_nothing_wins_and_resume_tries_again(
    tune, write_sweep, monkeypatch, trials
) -> None:
    file = write_sweep(**GRID)
    with monkeypatch.context() as patch:
        stand_in = fails(NonFiniteError("nan"), when=lambda at: at["seed"] != 2020)
        patch.setattr("recbole_llm.sweep.trial.run_trial", stand_in)
        code, _, err = tune(file)
    assert code == 1 and "none of 4 finalists has a score. The first: nan" in err
    assert "--resume tries them again" in err
    assert not Path("tuning/best").exists() and not (RESULTS / "outcome.json").exists()
    with monkeypatch.context() as patch:
        stand_in = fails(
            NonFiniteError("nan"), when=lambda at: at["seed"] == 1 and at["num_layers"] == 1
        )
        patch.setattr("recbole_llm.sweep.trial.run_trial", stand_in)
        code, said, err = tune(file, "--resume")
    assert code == 0 and "has 1 of 2 seeds" in err and said["point"] == {"num_layers": 2}
    assert {one["attempts"] for one in trials("finalist")} == {2}


def test_a_gpu_that_answers_no_more_ends_a_sweep_in_one_process(
    tune, write_sweep, monkeypatch, trials
) -> None:
    """All later trials there would fail; --resume goes on in another process."""
    error = RuntimeError("CUDA error: device-side assert triggered")
    with monkeypatch.context() as patch:
        stand_in = fails(error, when=lambda at: at["num_layers"] == 1)
        patch.setattr("recbole_llm.sweep.trial.run_trial", stand_in)
        patch.setattr("recbole_llm.sweep.local.give_memory_back", lambda: False)
        code, _, err = tune(write_sweep(**GRID))
    assert code == 1 and "a GPU that answers no more" in err and "--resume" in err
    assert [one["state"] for one in trials()] == ["failed"]


@pytest.mark.slow
def test_larger_hours_let_stopped_trials_begin_anew(tune, write_sweep, monkeypatch, trials) -> None:
    late = property(lambda ledger: 2.0 * any(one.curve for one in ledger.trials()))
    one_seed = {"top": 1, "seeds": [1]}
    with monkeypatch.context() as patch:
        patch.setattr("recbole_llm.sweep.ledger.Ledger.hours", late)
        tune(write_sweep(budget={"hours": 1.0, "trials": 2}, finalists=one_seed))
    (before,) = trials()
    assert (before["state"], len(before["curve"])) == ("stopped", 1)
    code, _, err = tune(
        write_sweep(budget={"hours": 9.0, "trials": 2}, finalists=one_seed), "--resume"
    )
    assert code == 0 and "0 trials are there, 1 begin anew." in err
    assert [(one["state"], len(one["curve"])) for one in trials()] == [("done", 3)] * 2
    assert trials()[0]["point"] == before["point"]


def test_another_order_of_the_space_is_another_sweep(tune, write_sweep) -> None:
    """Points are drawn in it."""
    space = {"dropout_prob": {"uniform": [0.0, 0.5]}, "num_layers": {"int": [1, 2]}}
    parts = {"budget": {"trials": 1}, "finalists": {"top": 1, "seeds": [1]}}
    assert tune(write_sweep(space=space, **parts))[0] == 0
    code, _, err = tune(write_sweep(space=dict(reversed(space.items())), **parts), "--resume")
    assert code == 2 and "the order of space changed since the trials in" in err


@pytest.mark.slow
def test_a_lost_file_of_the_sweep_is_made_again_from_the_trials(tune, write_sweep) -> None:
    parts = {"budget": {"trials": 1}, "finalists": {"top": 1, "seeds": [1]}}
    assert tune(write_sweep(**parts))[0] == 0
    file = RESULTS / "sweep.json"
    before = file.read_text()
    for damage in (file.unlink, lambda: file.write_text("{"), lambda: file.write_text("{}")):
        damage()
        code, _, err = tune(write_sweep(**parts), "--resume")
        assert code == 0 and "sweep.json is lost or damaged, and is made again" in err
        assert file.read_text() == before
    file.unlink()
    code, _, err = tune(write_sweep(**parts, seed=1), "--resume")
    assert code == 2 and "settings or seed changed since the trials" in err


@pytest.mark.slow
def test_a_failed_test_run_is_tried_again_by_resume(tune, write_sweep, monkeypatch, trials) -> None:
    from recbole_llm.job import Outcome

    broken = {"type": "X", "message": "the disk is on fire", "traceback": ""}
    with monkeypatch.context() as patch:
        patch.setattr("recbole_llm.sweep.outcome.execute", lambda _: Outcome(None, None, broken, 1))
        code, _, err = tune(write_sweep())
    assert code == 1 and "the disk is on fire" in err and "--resume tries them again" in err
    before = trials() + trials("finalist")
    code, _, _ = tune(write_sweep(), "--resume")
    assert code == 0 and trials() + trials("finalist") == before
