"""A run that was stopped goes on as if it had not been."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import run_recbole
from recbole_llm.errors import RequestError, RunDirError
from recbole_llm.run_dir import CONFIG, STATE, WEIGHTS
from recbole_llm.train.engine import Engine

EVERYTHING = {
    "ema_decay": 0.9, "lr_scheduler_type": "cosine", "warmup_steps": 3, "learner": "adamw",
    "gradient_accumulation_steps": 2, "clip_grad_norm": {"max_norm": 1.0}, "enable_amp": True,
    "propensity_weighting": "snips", "popularity_adjustment": 0.5,
}  # fmt: skip

BY_CHANCE = {  # what draws random numbers, or looks at more than an epoch
    "item_features": ["image", "id"], "modalities": {"image": "image.npy"}, "adaptor": "moe",
    "fusion": "gate", "interest_combination": "gate", "augmentation": ["drop", "mask", "crop"],
    "augmentation_rate": 0.4, "item_noise": 0.2, "adversarial_weight": 0.5,
    "contrastive_weight": 0.1, "contrastive_views": "same_target", "loss_type": "SCE",
    "num_negatives": 4, "MAX_ITEM_LIST_LENGTH": 3, "window_overlap": 1, "eval_step": 2,
}  # fmt: skip


class CrashError(Exception):
    """Stands in for a crash."""


@pytest.fixture(autouse=True)
def image() -> Path:
    """Return a file of item vectors, in the working directory."""
    np.save("image.npy", np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32))
    Path("image.ids").write_text("".join(f"i{k}\n" for k in range(9)))
    return Path("image.npy")


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


def ends_of(monkeypatch: pytest.MonkeyPatch) -> list[list[torch.Tensor]]:
    """Return a list to which the weights of the last epoch of each training are added."""
    ends, fit = [], Engine.fit

    def noting(self, *args, **kwargs):
        outcome = fit(self, *args, **kwargs)
        ends.append([weight.detach().clone() for weight in self.model.parameters()])
        return outcome

    monkeypatch.setattr(Engine, "fit", noting)
    return ends


@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("LLMInterestLSTM", {}),
        ("LLMInterestTransformer", EVERYTHING),
        ("LLMInterestLSTM", BY_CHANCE),
        pytest.param("GRU4Rec", {"training": "all_positions"}, marks=pytest.mark.slow),
        pytest.param("SASRec", {}, marks=pytest.mark.slow),
        pytest.param("BPR", {}, marks=pytest.mark.slow),
    ],
    ids=["ours", "everything", "by chance", "windows", "stock", "negatives"],
)
def test_a_resumed_run_ends_bit_for_bit_like_one_that_never_stopped(
    toy, numbers, monkeypatch, tmp_path, model: str, more: dict, epoch: int
) -> None:
    settings = {**toy, "epochs": 6, **more}
    if model == "BPR":
        del settings["item_features"]
    ends = ends_of(monkeypatch)
    whole = run_recbole(model, "toy", config_dict=settings)
    run_dir = crashed(monkeypatch, settings, model=model, epoch=epoch, folder=tmp_path / "run")
    assert (run_dir / STATE).exists() == (epoch > 0)
    torch.manual_seed(99)  # chance of this process must not matter
    resumed = run_recbole(resume=run_dir)
    assert numbers(resumed) == numbers(whole)
    assert all(map(torch.equal, *ends))  # the best epoch may lie before the crash
    one, other = load_file(run_dir / WEIGHTS), load_file(Path(whole["run_dir"]) / WEIGHTS)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert not (run_dir / STATE).exists()  # it holds nothing that a finished run needs


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("model", ["LLMInterestLSTM", "LLMInterestTransformer"])
def test_on_a_gpu_a_resumed_run_ends_near_one_that_never_stopped(
    toy, monkeypatch, tmp_path, model: str
) -> None:
    """Not bit for bit: kernels of a GPU add in any order."""
    settings = {**toy, "use_gpu": True, "epochs": 6}
    whole = run_recbole(model, "toy", config_dict=settings)
    crashed(monkeypatch, settings, model=model, epoch=3, folder=tmp_path / "run")
    resumed = run_recbole(resume=tmp_path / "run")
    assert resumed["epochs"] == whole["epochs"]
    other = load_file(Path(whole["run_dir"]) / WEIGHTS)
    for name, weights in load_file(tmp_path / "run" / WEIGHTS).items():
        torch.testing.assert_close(weights, other[name], rtol=1e-2, atol=1e-3)
    assert resumed["test_result"] == pytest.approx(whole["test_result"], abs=0.1)


def test_a_finished_run_is_not_trained_again(toy, monkeypatch) -> None:
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=toy)
    monkeypatch.setattr(Engine, "fit", lambda *_: pytest.fail("it trained"))
    again = run_recbole(resume=whole["run_dir"])
    assert again == json.loads(json.dumps(whole))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"metrics": ["NDCG", "ItemCoverage", "AveragePopularity"]},
        {"eval_args": {"mode": "uni1"}, "learning_rate": 1e-9},
    ],
    ids=["ranks", "lists", "drawn"],
)
def test_a_run_that_stopped_early_and_died_in_its_test_is_only_tested(
    toy, numbers, monkeypatch, tmp_path, more: dict
) -> None:
    settings = {**toy, "epochs": 50, "stopping_step": 2, "metrics": ["NDCG"], **more}
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
    torch.manual_seed(99)  # chance of this process must not matter
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


def test_other_columns_of_users_are_refused(toy, monkeypatch, tmp_path) -> None:
    """Where the run loads them; of runs made before nothing is known of them."""
    users = Path(toy["data_path"]) / "toy" / "toy.user"
    users.write_text("user_id:token\tage:float\nu0\t20\nu1\t30\n")
    settings, model = toy | {"load_col": None}, "LLMInterestLSTM"
    run_dir = crashed(monkeypatch, settings, model=model, epoch=1, folder=tmp_path / "run")
    users.write_text("user_id:token\tage:float\nu0\t50\nu1\t30\n")
    with pytest.raises(RunDirError, match=r"toy\.user: is not the file that the run read"):
        run_recbole(resume=run_dir)
    facts = json.loads((run_dir / CONFIG).read_text())
    assert set(facts.pop("more_sha256")) == {"toy.user"}
    (run_dir / CONFIG).write_text(json.dumps(facts))
    assert run_recbole(resume=run_dir)["epochs"] == 3


def test_other_item_vectors_are_refused(toy, monkeypatch, tmp_path, image) -> None:
    settings = {**toy, "item_features": ["image", "id"], "modalities": {"image": str(image)}}
    model = "LLMInterestLSTM"
    run_dir = crashed(monkeypatch, settings, model=model, epoch=1, folder=tmp_path / "run")
    kept = np.load(image)
    np.save(image, kept + 1)
    with pytest.raises(RunDirError, match="trained on other item vectors than are here now"):
        run_recbole(resume=run_dir)
    np.save(image, kept)
    assert run_recbole(resume=run_dir)["epochs"] == 3


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


@pytest.mark.parametrize(
    ("model", "why"), [("NCL", "trains in a loop of its own"), ("Popularity", "trains nothing")]
)
def test_what_trains_otherwise_says_what_it_cannot_do_before_data_is_read(toy, model, why) -> None:
    del toy["item_features"]
    settings = {**toy, "min_delta": 0.0, "warmup_steps": 2, "data_path": "nowhere"}
    with pytest.raises(RequestError, match=f"^warmup_steps: {model} {why}. Leave it out."):
        run_recbole(model, "toy", config_dict=settings)
