"""Settings that would do nothing are refused, of runs and of sweeps."""

from __future__ import annotations

from typing import Any

import pytest

from recbole_llm.checks import recbole_models
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RequestError
from recbole_llm.plugin import MODELS
from recbole_llm.settings import Settings
from recbole_llm.unread_checks import NEEDS, SIZES, unread

VALUES: dict[str, Any] = {
    "contrastive_views": "dropout", "text_checkpointing": True, "text_learning_rate": 0.5,
}  # fmt: skip
MET: dict[str, dict[str, Any]] = {
    "contrastive_views": {"contrastive_weight": 0.1},
    "contrastive_temperature": {"contrastive_weight": 0.1},
    "adversarial_epsilon": {"adversarial_weight": 0.1},
    "augmentation_rate": {"contrastive_weight": 0.1},
    "adaptor_experts": {"adaptor": {"text": "moe"}},
    "adaptor_hidden_size": {"adaptor": "mlp"},
    "text_tuning_layers": {"text_tuning": "last_layers"},
    "lora_rank": {"text_tuning": "lora"},
    "lora_alpha": {"text_tuning": "lora"},
    "prefix_length": {"text_tuning": "prefix"},
    "temperature": {},
    "train_share_seed": {"train_share": 0.5},
}
TUNED = {"text_tuning": "last_layers"}


def problems(model: str, **settings: Any) -> str:
    """Return what is wrong with the settings of a run, or nothing."""
    try:
        LLMConfig(model, "ml-100k", None, {"use_gpu": False, **settings})
    except RequestError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", NEEDS)
def test_a_setting_of_another_needs_it(name: str) -> None:
    number = 0.5 if name.endswith(("temperature", "epsilon", "rate")) else 3
    own = {name: VALUES.get(name, number)}
    without = {"loss_type": "MSE"} if name == "temperature" else {}
    assert f"{name}: is of {NEEDS[name][0]}, received" in problems(
        "LLMInterestLSTM", **own, **without
    )
    assert problems("LLMInterestLSTM", **own, **MET.get(name, TUNED)) == ""
    plain = {name: Settings.model_fields[name].default}
    assert problems("LLMInterestLSTM", **plain, **without) == ""


@pytest.mark.parametrize(
    ("model", "setting", "words"),
    [
        ("LLMInterestLSTM", "hidden_dropout_prob", "reads none. It has dropout_prob."),
        ("LLMInterestTransformer", "n_layers", "reads none. It has num_layers."),
        ("SASRec", "dropout_prob", "It has hidden_dropout_prob and attn_dropout_prob."),
        ("SASRec", "num_layers", "reads none. It has n_layers."),
        ("GRU4Rec", "n_layers", "reads none. It has num_layers."),
        ("LLMInterestLinear", "num_layers", "LLMInterestLinear reads none."),
    ],
)
def test_the_names_of_other_models_are_refused(model: str, setting: str, words: str) -> None:
    value = 0.5 if "dropout" in setting else 2
    assert words in problems(model, **{setting: value})


def test_every_model_reads_what_its_class_asks_for() -> None:
    assert set(MODELS) == {
        name for name in MODELS if {"embedding_size", "dropout_prob"}.isdisjoint(unread(name))
    }
    assert "hidden_size" in unread("LLMInterestLinear") and "n_heads" in unread("LLMInterestLSTM")
    assert "n_heads" not in unread("LLMInterestTransformer") | unread("SASRec")
    assert all(unread(model) <= SIZES for model in recbole_models())
