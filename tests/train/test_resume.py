"""A run that was stopped goes on as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import run_recbole
from recbole_llm.cli import run_recbole_command
from recbole_llm.errors import RecBoleLLMError, RequestError, RunDirError
from recbole_llm.run_dir import CONFIG, RESULT, STATE, WEIGHTS
from recbole_llm.train.engine import Engine

EVERYTHING = {
    "ema_decay": 0.9, "lr_scheduler_type": "cosine", "warmup_steps": 3, "learner": "adamw",
    "gradient_accumulation_steps": 2, "clip_grad_norm": {"max_norm": 1.0}, "enable_amp": True,
    "propensity_weighting": "snips", "popularity_adjustment": 0.5,
}  # fmt: skip


class CrashError(Exception):
    """Stands in for a crash."""


def crash_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Let the trainer crash at the end of an epoch, before it is validated."""
    run_epoch = Engine._run_epoch

    def crashing(self, train_data, epoch_idx, *args, **kwargs):
        loss = run_epoch(self, train_data, epoch_idx, *args, **kwargs)
        if epoch_idx == epoch:
            raise CrashError
        return loss

    monkeypatch.setattr(Engine, "_run_epoch", crashing)


def crashed(monkeypatch, settings: dict, *, model: str, epoch: int, folder: Path) -> Path:
    """Train until a crash and return the run's directory."""
    with monkeypatch.context() as context:
        crash_in(context, epoch)
        with pytest.raises(CrashError):
            run_recbole(model, "toy", config_dict={**settings, "run_dir": str(folder)})
    return folder


def numbers(result: dict[str, Any]) -> tuple:
    return tuple(result[k] for k in ("best_valid_result", "test_result", "epochs", "best_epoch"))


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("LLMInterestLSTM", {}),
        ("LLMInterestTransformer", EVERYTHING),
        pytest.param("GRU4Rec", {"training": "all_positions"}, marks=pytest.mark.slow),
        pytest.param("SASRec", {}, marks=pytest.mark.slow),
        pytest.param("BPR", {}, marks=pytest.mark.slow),
    ],
    ids=["ours", "everything", "windows", "stock", "negatives"],
)
def test_a_resumed_run_ends_bit_for_bit_like_one_that_never_stopped(
    toy, monkeypatch, tmp_path, model: str, more: dict, epoch: int
) -> None:
    settings = {**toy, "epochs": 6, **more}
    if model == "BPR":
        del settings["item_features"]
    whole = run_recbole(model, "toy", config_dict=settings)
    run_dir = crashed(monkeypatch, settings, model=model, epoch=epoch, folder=tmp_path / "run")
    assert (run_dir / STATE).exists() == (epoch > 0)
    torch.manual_seed(99)  # chance of this process must not matter
    resumed = run_recbole(resume=run_dir)
    assert numbers(resumed) == numbers(whole)
    one, other = load_file(run_dir / WEIGHTS), load_file(Path(whole["run_dir"]) / WEIGHTS)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert not (run_dir / STATE).exists()  # it holds nothing that a finished run needs


def test_a_finished_run_is_not_trained_again(toy, monkeypatch) -> None:
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=toy)
    monkeypatch.setattr(Engine, "fit", lambda *_: pytest.fail("it trained"))
    again = run_recbole(resume=whole["run_dir"])
    assert again == json.loads(json.dumps(whole))


def test_a_run_that_stopped_early_and_died_in_its_test_is_only_tested(
    toy, monkeypatch, tmp_path
) -> None:
    settings = {**toy, "epochs": 50, "stopping_step": 2}
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    assert whole["epochs"] < 50
    run_dir = tmp_path / "run"
    with monkeypatch.context() as context:
        evaluate = Engine.evaluate

        def die(self, data, load_best_model=True, **more):
            if load_best_model:
                raise CrashError
            return evaluate(self, data, load_best_model=False, **more)

        context.setattr(Engine, "evaluate", die)
        with pytest.raises(CrashError):
            run_recbole("LLMInterestLSTM", "toy", config_dict={**settings, "run_dir": str(run_dir)})
    monkeypatch.setattr(Engine, "_run_epoch", lambda *_: pytest.fail("it trained"))
    assert numbers(run_recbole(resume=run_dir)) == numbers(whole)


@pytest.fixture(params=["stopped", "finished"])
def left(request, toy, monkeypatch, tmp_path) -> Path:
    """Return the directory of a run that was stopped, or that has finished."""
    run_dir: Path = tmp_path / "run"
    if request.param == "stopped":
        return crashed(monkeypatch, toy, model="LLMInterestLSTM", epoch=1, folder=run_dir)
    run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "run_dir": str(run_dir)})
    return run_dir


def test_other_settings_are_refused_all_at_once(left, tmp_path) -> None:
    run_dir = left
    file = tmp_path / "more.yaml"
    file.write_text("dropout_prob: 0.4\n")
    with pytest.raises(RequestError, match="other settings") as caught:
        run_recbole(
            config_file_list=[str(file)], arguments={"learning_rate": "0.5"}, resume=run_dir
        )
    assert "dropout_prob: the run has 0.2, received 0.4." in str(caught.value)
    assert "learning_rate: the run has 0.002, received 0.5." in str(caught.value)
    with pytest.raises(RequestError, match="model: the run has 'LLMInterestLSTM'"):
        run_recbole("LLMInterestGRU", resume=run_dir)
    same = {"learning_rate": "0.002", "show_progress": "True"}
    assert run_recbole(arguments=same, resume=run_dir)["epochs"] == 3


def test_other_data_is_refused(toy, left) -> None:
    run_dir = left
    file = Path(toy["data_path"]) / "toy" / "toy.inter"
    file.write_text(file.read_text().replace("u0\ti3", "u0\ti4"))
    with pytest.raises(RunDirError, match=r"toy\.inter: is not the file that the run read"):
        run_recbole(resume=run_dir)


@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_a_damaged_state_is_named(toy, monkeypatch, tmp_path, content: bytes | None) -> None:
    run_dir = crashed(monkeypatch, toy, model="LLMInterestLSTM", epoch=1, folder=tmp_path / "run")
    state = run_dir / STATE
    state.write_bytes((run_dir / WEIGHTS).read_bytes() if content is None else content)
    with pytest.raises(RunDirError, match=r"training\.safetensors: .*safetensors file"):
        run_recbole(resume=run_dir)


def test_what_is_no_run_is_refused(tmp_path) -> None:
    with pytest.raises(RunDirError, match="no such run directory"):
        run_recbole(resume=tmp_path / "nowhere")
    with pytest.raises(RunDirError, match=rf"{CONFIG}: no such file"):
        run_recbole(resume=tmp_path)


def test_a_trainer_with_a_loop_of_its_own_says_what_it_cannot_do(toy) -> None:
    with pytest.raises(RequestError, match="warmup_steps: NCL trains in a loop of its own"):
        del toy["item_features"]
        run_recbole("NCL", "toy", config_dict={**toy, "warmup_steps": 2})


@pytest.mark.slow
@pytest.mark.parametrize("nproc", [1, 2])
def test_kill_9_and_resume(toy, tmp_path, capfd, until, nproc: int) -> None:
    settings = {**toy, **EVERYTHING, "epochs": 40, "stopping_step": 40}
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=settings, nproc=nproc)
    run_dir = tmp_path / "run"
    words = [f"--{key}={value}" for key, value in {**settings, "run_dir": run_dir}.items()]
    code = "import sys; from recbole_llm.cli import *; sys.exit(run_recbole_command())"
    command = [sys.executable, "-c", code, "--model=LLMInterestLSTM", "--dataset=toy"]
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen(
            [*command, f"--nproc={nproc}", *words], stderr=log, stdout=log, start_new_session=True
        )
    until((run_dir / STATE).exists)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and not (run_dir / RESULT).exists()
    capfd.readouterr()
    assert run_recbole_command([f"--resume={run_dir}"]) == 0
    out, err = capfd.readouterr()
    assert "Resumed: training goes on with epoch" in err
    assert numbers(json.loads(out.splitlines()[-1])) == numbers(json.loads(json.dumps(whole)))


def test_several_processes_are_refused_where_they_cannot_be(toy) -> None:
    with pytest.raises(RequestError, match="need training: all_positions; SASRec has prefixes"):
        run_recbole("SASRec", "toy", config_dict=toy, nproc=2)
    with pytest.raises(RequestError, match="nproc: must be at least 1, received 0"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=toy, nproc=0)


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["none", "snips"])
def test_two_processes_train_and_evaluate_as_one_does(toy, tmp_path, weighting: str) -> None:
    settings = {**toy, "dropout_prob": 0.0, "enable_amp": False, "epochs": 4}
    settings |= {"propensity_weighting": weighting, "propensity_power": 4.0, "propensity_clip": 0.0}
    settings |= {"train_batch_size": 5}  # the last of three batches has two windows
    one = run_recbole("LLMInterestGRU", "toy", config_dict=settings)
    two = run_recbole("LLMInterestGRU", "toy", config_dict=settings, nproc=2)
    alone, together = (load_file(Path(r["run_dir"]) / WEIGHTS) for r in (one, two))
    for name in alone:
        assert torch.allclose(alone[name], together[name], atol=1e-5), name
    assert two["test_result"] == pytest.approx(one["test_result"], abs=1e-9)
    stored = json.loads((Path(two["run_dir"]) / CONFIG).read_text())
    assert stored["processes"] == 2
    assert list(Path(two["run_dir"]).glob("*.log"))
    with pytest.raises(RequestError, match="was trained by 2; received 1"):
        (Path(two["run_dir"]) / RESULT).unlink()
        run_recbole(resume=two["run_dir"], nproc=1)


@pytest.mark.slow
def test_the_failure_of_one_process_is_one_clear_message(toy) -> None:
    with pytest.raises(RecBoleLLMError, match="topk: at most the number of items, 9; received 30"):
        settings = {**toy, "topk": [30], "valid_metric": "NDCG@30"}
        run_recbole("LLMInterestLSTM", "toy", config_dict=settings, nproc=2)
