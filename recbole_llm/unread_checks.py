"""Rules of settings that a model, or the others of its settings, would leave unread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import recbole
import yaml

from recbole_llm.plugin import CLASSIFIERS, CONTROLS, MODELS, OURS
from recbole_llm.settings import Settings

MODEL_FILES = Path(recbole.__file__).parent / "properties" / "model"
# What some models call one way, and some another.
SAME = (("dropout_prob", "hidden_dropout_prob", "attn_dropout_prob"), ("num_layers", "n_layers"))
SIZES = frozenset({"embedding_size", "hidden_size", "inner_size", "n_heads"}.union(*SAME))
NEEDS: Mapping[str, tuple[str, Callable[[Settings], bool]]] = {
    **dict.fromkeys(
        ("contrastive_views", "contrastive_temperature"),
        ("contrastive_weight above 0", lambda chosen: chosen.contrastive_weight > 0),
    ),
    "adversarial_epsilon": (
        "adversarial_weight above 0", lambda chosen: chosen.adversarial_weight > 0
    ),
    "augmentation_rate": (
        "augmentation, or contrastive_views: augmented",
        lambda chosen: bool(chosen.augmentation) or chosen.has_augmented_views,
    ),
    "adaptor_experts": ("adaptor: moe", lambda chosen: _adapts(chosen, "moe")),
    "adaptor_hidden_size": ("adaptor: mlp", lambda chosen: _adapts(chosen, "mlp")),
    **dict.fromkeys(
        ("text_learning_rate", "text_warmup_steps", "text_tuning_items", "text_checkpointing"),
        ("a text_tuning that trains", lambda chosen: chosen.text_tuning != "frozen"),
    ),
    "text_tuning_layers": (
        "text_tuning: last_layers", lambda chosen: chosen.text_tuning == "last_layers"
    ),
    **dict.fromkeys(
        ("lora_rank", "lora_alpha"),
        ("text_tuning: lora", lambda chosen: chosen.text_tuning == "lora"),
    ),
    "prefix_length": ("text_tuning: prefix", lambda chosen: chosen.text_tuning == "prefix"),
    "temperature": ("a loss that compares items", lambda chosen: chosen.loss_type != "MSE"),
    "train_share_seed": ("train_share below 1", lambda chosen: chosen.train_share < 1),
}  # fmt: skip


def _adapts(chosen: Settings, kind: str) -> bool:
    return kind in (
        chosen.adaptor.values() if isinstance(chosen.adaptor, dict) else [chosen.adaptor]
    )


def unread_problems(settings: Mapping[str, Any], *, model: str) -> list[str]:
    """Return which settings would do nothing, though they are given."""
    problems = []
    for names in SAME:
        read = [name for name in names if name not in unread(model)]
        problems += [
            f"{name}: {model} reads none." + (f" It has {' and '.join(read)}." if read else "")
            for name in names
            if name not in read and settings.get(name) is not None
        ]
    if model not in MODELS:
        return problems
    chosen = Settings.from_config(settings)
    return problems + [
        f"{name}: is of {what}, received {settings[name]!r} without. Leave it out."
        for name, (what, is_met) in NEEDS.items()
        if settings.get(name) not in (None, Settings.model_fields[name].default)
        and not is_met(chosen)
    ]


@cache
def unread(model: str) -> frozenset[str]:
    """Return the sizes and dropouts of models, ours and RecBole's, that a model does not read.

    Controls, which train nothing, may stand beside models with any.
    """
    if model in CONTROLS:
        return frozenset()
    if model not in OURS:
        return SIZES - _names(MODEL_FILES / f"{model}.yaml")
    read = {"embedding_size", "hidden_size", "num_layers", "dropout_prob"}
    if model in CLASSIFIERS:
        read = {"dropout_prob"}
    elif model == "LLMInterestLinear":
        read = {"embedding_size", "dropout_prob"}
    elif model == "LLMInterestTransformer":
        read |= {"n_heads"}
    return SIZES - read


def _names(file: Path) -> frozenset[str]:
    text = file.read_text(encoding="utf-8") if file.is_file() else ""  # Random has no file
    return frozenset(yaml.load(text, Loader=yaml.SafeLoader) or ())
