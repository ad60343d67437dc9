"""Runs that train their text encoder: what they write, and that they go on exactly."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import feature_checks, load_run, run_recbole
from recbole_llm.errors import RequestError
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.run_dir import WEIGHTS
from recbole_llm.train.engine import Engine
from recbole_llm.train.trainer import InterestTrainer

TITLES = [
    "toy story", "golden eye", "four film", "toy film", "golden story", "four eye", "toy eye",
    "golden film", "four story",
]  # fmt: skip


class CrashError(Exception):
    """Stands in for a crash."""


@pytest.fixture
def tuning(write_dataset, tiny_bert) -> dict[str, Any]:
    """Return settings that train a small model with its encoder; users walk a circle of items."""
    walks = [(f"u{user}", f"i{(user + k) % 9}", float(k)) for user in range(12) for k in range(7)]
    folder = write_dataset(walks, {f"i{k}": title for k, title in enumerate(TITLES)})
    return {
        "data_path": str(folder), "item_features": "text", "embedding_size": 8, "hidden_size": 8,
        "epochs": 3, "train_batch_size": 4, "show_progress": False, "topk": [3],
        "valid_metric": "NDCG@3", "text_encoder": str(tiny_bert), "text_dtype": "float32",
        "text_tuning": "lora", "text_learning_rate": 0.01, "text_tuning_items": 4,
    }  # fmt: skip


def frozen(tuning: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without those of an encoder that is trained."""
    of_tuning = ("text_tuning", "text_learning_rate", "text_tuning_items")
    return {name: value for name, value in tuning.items() if name not in of_tuning}


def weights(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(result["run_dir"]) / WEIGHTS)


@pytest.mark.parametrize("how", ["last_layers", "lora", "prefix", "full"])
def test_a_checkpoint_holds_what_was_trained_and_loads(tuning, how) -> None:
    own = {"text_tuning": how} | ({"text_tuning_layers": 1} if how == "last_layers" else {})
    result = run_recbole("LLMInterestLSTM", "toy", config_dict=tuning | own)
    saved = weights(result)
    of_encoder = [name for name in saved if ".encoder." in name]
    marks = {"last_layers": "/layer/0/", "lora": "lora_", "full": "0/model/"}
    marks["prefix"] = "prompt_encoder"
    assert of_encoder
    assert all(marks[how] in name for name in of_encoder)
    if how == "lora":  # they began at zero
        assert all(saved[name].abs().max() > 0 for name in of_encoder if "lora_B" in name)
    config, model, *_, test_data = load_run(result["run_dir"])
    trainer = InterestTrainer(config, model)
    trainer.eval_collector.data_collect(test_data)
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]


@pytest.mark.parametrize("more", [{}, {"ema_decay": 0.9, "gradient_accumulation_steps": 2}])
def test_a_resumed_run_ends_bit_for_bit_like_one_that_never_stopped(
    tuning, monkeypatch, tmp_path, more
) -> None:
    whole = run_recbole("LLMInterestLSTM", "toy", config_dict=tuning | more)
    run_epoch = Engine._run_epoch

    def crashing(self, train_data, epoch_idx, *args, **kwargs):
        loss = run_epoch(self, train_data, epoch_idx, *args, **kwargs)
        if epoch_idx == 2:
            raise CrashError
        return loss

    run_dir = str(tmp_path / "run")
    with monkeypatch.context() as context:
        context.setattr(Engine, "_run_epoch", crashing)
        with pytest.raises(CrashError):
            run_recbole(
                "LLMInterestLSTM", "toy", config_dict={**tuning, **more, "run_dir": run_dir}
            )
    resumed = run_recbole(resume=run_dir)
    assert resumed["test_result"] == whole["test_result"]
    one, other = weights(resumed), weights(whole)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_tuned_model_begins_as_the_frozen_one(tuning, monkeypatch) -> None:
    scores = []

    def look(self, *_, **__):
        self.model.eval()
        with torch.no_grad():
            scores.append(self.model.items.table())
        raise CrashError

    monkeypatch.setattr(Engine, "fit", look)
    for settings in (frozen(tuning), tuning):
        with pytest.raises(CrashError):
            run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)


def test_the_encoder_has_a_rate_and_a_warmup_of_its_own(tuning, monkeypatch) -> None:
    seen = []
    step = torch.optim.AdamW.step

    def looking(self, *args, **kwargs):
        seen.append([group["lr"] for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", looking)
    own = {"learner": "adamw", "learning_rate": 0.5, "text_learning_rate": 0.09, "epochs": 1}
    own |= {"text_warmup_steps": 2, "warmup_steps": 1}
    run_recbole("LLMInterestLSTM", "toy", config_dict=tuning | own)
    assert [pytest.approx(rates) for rates in seen[:3]] == [[0.25, 0.03], [0.5, 0.06], [0.5, 0.09]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"item_features": "id"}, "Add text there"),
        ({"text_control": "random"}, "received text_control random"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tuning, settings, words) -> None:
    with pytest.raises(RequestError, match=words):
        run_recbole("LLMInterestLSTM", "toy", config_dict=tuning | settings)


def test_a_model_of_recboles_tunes_no_encoder(tuning) -> None:
    with pytest.raises(RequestError, match="text_tuning: is for our models, which SASRec is not"):
        run_recbole("SASRec", "toy", config_dict=tuning)


def test_lora_without_peft_says_what_to_install(tuning, monkeypatch) -> None:
    find = importlib.util.find_spec
    absent = lambda name, *more: None if name == "peft" else find(name, *more)  # noqa: E731
    monkeypatch.setattr(feature_checks.importlib.util, "find_spec", absent)
    with pytest.raises(RequestError, match=r"text_tuning: lora needs peft.*uv sync --extra lora"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=tuning)


@pytest.mark.slow
def test_two_processes_train_one_encoder(tuning) -> None:
    own = {"use_gpu": False, "gradient_accumulation_steps": 2, "text_checkpointing": True}
    result = run_recbole("LLMInterestLSTM", "toy", config_dict=tuning | own, nproc=2)
    saved = weights(result)
    assert all(saved[name].abs().max() > 0 for name in saved if "lora_B" in name)
    assert result["epochs"] == tuning["epochs"]


@pytest.mark.slow
def test_lora_trains_the_real_encoder_on_a_part_of_real_data(ml_100k, tmp_path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    head, *events = (ml_100k / "ml-100k.inter").read_text().splitlines()
    some = [event for event in events if int(event.split("\t")[0]) <= 30]
    kept = [head, *sorted(some, key=lambda event: float(event.split("\t")[3]))[-400:]]
    (folder / "ml-100k.inter").write_text("\n".join(kept) + "\n")
    shutil.copy(ml_100k / "ml-100k.item", folder)
    settings = {
        "data_path": str(folder), "item_features": "text", "epochs": 2, "train_batch_size": 8,
        "MAX_ITEM_LIST_LENGTH": 20, "show_progress": False, "text_tuning": "lora",
        "text_tuning_items": 16, "text_checkpointing": True, "text_learning_rate": 1e-3,
    }  # fmt: skip
    result = run_recbole("LLMInterestLSTM", "ml-100k", config_dict=settings)
    saved = weights(result)
    assert sum(value.numel() for name, value in saved.items() if "lora_" in name) == 331_776
    assert all(value.abs().max() > 0 for name, value in saved.items() if "lora_B" in name)
    assert (Path(result["run_dir"]) / WEIGHTS).stat().st_size < 4 * 2**20  # MiniLM's has 87 MiB
    recommender = Recommender.load(result["run_dir"])
    found = recommender.for_texts(["Star Wars (1977), Action Adventure Romance Sci-Fi War"], k=5)
    assert len({one.item for one in found}) == 5


def test_weights_of_a_tuned_encoder_go_along(tuning) -> None:
    first = run_recbole("LLMInterestLSTM", "toy", config_dict=tuning | {"epochs": 1})
    begun = tuning | {"init_from": first["run_dir"], "epochs": 0}
    ours, theirs = weights(run_recbole("LLMInterestLSTM", "toy", config_dict=begun)), weights(first)
    assert any(".encoder." in name for name in ours) and ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(RequestError, match="text_tuning: the source has 'lora', received 'frozen'"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=frozen(begun))


def test_a_tuned_encoder_begins_as_a_frozen_source_read_it(tuning) -> None:
    first = run_recbole("LLMInterestLSTM", "toy", config_dict=frozen(tuning) | {"epochs": 1})
    begun = tuning | {"init_from": first["run_dir"], "epochs": 0}
    second = run_recbole("LLMInterestLSTM", "toy", config_dict=begun)
    ours, theirs = weights(second), weights(first)
    assert all(".encoder." in name for name in ours.keys() - theirs.keys())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert second["test_result"] == pytest.approx(first["test_result"], abs=1e-4)
