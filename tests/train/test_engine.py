"""What is set reaches the loop; averaged weights are what is validated, kept and tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_llm import run_recbole
from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.model.base import InterestModel
from recbole_llm.train.engine import Engine
from recbole_llm.train.optim import Steps

NAME = "LLMInterestLSTM"


def weights_of(model: torch.nn.Module) -> list[Tensor]:
    """Return a copy of a model's weights."""
    return [weight.detach().clone() for weight in model.parameters()]


@pytest.fixture
def trainers(monkeypatch) -> list[Engine]:
    """Return a list to which each trainer that is made is added."""
    made: list[Engine] = []
    init = Engine.__init__

    def noting(self, *args: Any) -> None:
        init(self, *args)
        made.append(self)

    monkeypatch.setattr(Engine, "__init__", noting)
    return made


@pytest.mark.parametrize("amp", [False, True])
def test_the_settings_of_training_reach_it(toy, monkeypatch, trainers, amp: bool) -> None:
    schedules, precisions = [], []
    init, calculate_loss = Steps.__init__, InterestModel.calculate_loss

    def beginning(self, *, schedule, **parts):
        schedules.append(schedule)
        init(self, schedule=schedule, **parts)

    def computing(self, batch):
        is_mixed = torch.is_autocast_enabled("cpu")
        precisions.append(torch.get_autocast_dtype("cpu") if is_mixed else torch.float32)
        assert self.loss.label_smoothing == 0.3
        return calculate_loss(self, batch)

    monkeypatch.setattr(Steps, "__init__", beginning)
    monkeypatch.setattr(InterestModel, "calculate_loss", computing)
    settings = {
        "train_batch_size": 5, "gradient_accumulation_steps": 2, "enable_amp": amp,
        "clip_grad_norm": {"max_norm": 0.5}, "lr_scheduler_type": "cosine", "warmup_steps": 1,
        "ema_decay": 0.75, "learner": "adamw", "weight_decay": 0.1, "label_smoothing": 0.3,
    }  # fmt: skip
    name = "LLMInterestGRU" if amp else NAME  # not each processor has an LSTM in bf16
    run_recbole(name, "toy", config_dict=toy | settings)
    steps, taken = trainers[0].steps, 3 * 2  # of 5, 5 and 2 windows each epoch has two
    assert schedules == [{"kind": "cosine", "warmup": 1, "total": taken}]
    assert steps.schedule.last_epoch == steps.average.num_updates == taken
    assert steps.optimizer.param_groups[0]["lr"] == 0  # the cosine has ended
    assert (steps.accumulation, steps.clip) == (2, {"max_norm": 0.5})
    assert steps.average.decay == 0.75 and not steps.scaler.is_enabled()
    assert type(steps.optimizer) is torch.optim.AdamW
    assert steps.optimizer.param_groups[0]["weight_decay"] == 0.1
    assert precisions == [torch.bfloat16 if amp else torch.float32] * 9


@pytest.mark.parametrize(
    ("name", "training"), [(NAME, "all_positions"), (NAME, "prefixes"), ("GRU4Rec", "prefixes")]
)
def test_the_step_of_small_batches_is_that_of_a_large_one(
    write_dataset, small, trainers, name: str, training: str
) -> None:
    """Though a batch has more targets than another, and the last fewer cases than others."""
    events = [(f"u{user}", f"i{(user + k) % 9}", k) for user in range(12) for k in range(4 + user)]
    settings = {
        **small, "data_path": str(write_dataset(events)), "item_features": "id", "epochs": 1,
        "learner": "sgd", "learning_rate": 1.0, "enable_amp": False, "dropout_prob": 0.0,
        "training": training, "train_neg_sample_args": None,
    }  # fmt: skip
    if name != NAME:
        del settings["item_features"]
    for batches in ({"train_batch_size": 100}, {"train_batch_size": 5}):
        more = {"gradient_accumulation_steps": 100, "MAX_ITEM_LIST_LENGTH": 30, **batches}
        run_recbole(name, "toy", config_dict=settings | more, saved=False)
    one, other = (weights_of(trainer.model) for trainer in trainers)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("amp", "dtype"), [(False, "float16"), (True, "bfloat16"), (True, "float16")]
)
def test_gradients_are_scaled_in_float16_alone(toy, monkeypatch, amp: bool, dtype: str) -> None:
    monkeypatch.setattr("recbole_llm.train.engine.amp_dtype", lambda _: getattr(torch, dtype))
    config = LLMConfig(NAME, "toy", None, {**toy, "enable_amp": amp})
    model = build_model(config, prepare(config)[1])
    steps = trainer_class(config)(config, model)._build_steps(1)
    assert steps.scaler.is_enabled() == (amp and dtype == "float16")


def test_a_warm_up_longer_than_the_training_is_warned_of(toy) -> None:
    for steps, is_warned_of in ((5, False), (6, True)):  # of six
        run_dir = run_recbole(NAME, "toy", config_dict=toy | {"warmup_steps": steps})["run_dir"]
        log = next(Path(run_dir).glob("*.log")).read_text()
        assert ("warmup_steps: 6 are all of the 6 steps" in log) == is_warned_of


@pytest.mark.parametrize("saved", [True, False])
def test_averaged_weights_are_validated_kept_and_tested(
    toy, monkeypatch, trainers, saved: bool
) -> None:
    raw, run_epoch = [], Engine._run_epoch

    def training(self, *args: Any, **kwargs: Any) -> float:
        loss = run_epoch(self, *args, **kwargs)
        raw.extend(weights_of(self.model))
        return loss

    monkeypatch.setattr(Engine, "_run_epoch", training)
    more = {"epochs": 1, "ema_decay": 0.9, "learning_rate": 0.1}  # the average is far behind
    result = run_recbole(NAME, "toy", config_dict=toy | more, saved=saved)
    (trainer,) = trainers
    average = trainer.steps.average.average
    assert all(map(torch.equal, weights_of(trainer.model), average))
    _, _, *parts = prepare(trainer.config)
    found = []
    for weights in (average, raw):
        torch.nn.utils.vector_to_parameters(
            torch.cat([weight.flatten() for weight in weights]), trainer.model.parameters()
        )
        found.append([trainer.evaluate(part, load_best_model=False) for part in parts])
    assert found[0] == [result["best_valid_result"], result["test_result"]]
    assert all(one != other for one, other in zip(*found, strict=True))
