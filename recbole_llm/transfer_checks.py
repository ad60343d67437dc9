"""Rules of transfer: which runs may begin with the weights of another, and of which other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recbole_llm.plugin import MODELS
from recbole_llm.settings import WORD_COUNTS, Settings

# Settings that say what the weights, or the vectors that they were trained on, are.
SHAPES = (
    "embedding_size", "hidden_size", "num_layers", "n_heads", "adaptor", "adaptor_hidden_size",
    "adaptor_experts", "fusion", "interest_pooling", "interest_combination", "scoring",
    "whitening", "whitening_dim", "similarity_bias",
)  # fmt: skip
READING = (
    "text_encoder", "text_revision", "text_pooling", "text_max_length", "text_prompt",
    "text_dtype", "text_dim", "text_backend",
)  # fmt: skip
TUNING = ("text_tuning", "text_tuning_layers", "lora_rank", "lora_alpha", "prefix_length")


def transfer_problems(settings: Mapping[str, Any], *, model: str, is_sequential: bool) -> list[str]:
    """Return what is wrong with init_from, and with epochs: 0 and train_share."""
    problems = []
    if settings.get("init_from") is not None:
        problems += _reader_problems(settings, model=model, place="init_from")
        if (encoder := settings.get("text_encoder")) in WORD_COUNTS:
            problems.append(
                f"init_from: text_encoder {encoder} counts words. Begin with a run that a language "
                "model reads for, and set text_encoder to that."
            )
    elif settings.get("epochs") == 0:
        problems.append(
            "epochs: 0 trains nothing, which only a model with weights has use for. Set init_from, "
            "or at least 1."
        )
    share = settings.get("train_share")
    if share is not None and share < 1 and not is_sequential:
        problems.append(f"train_share: is for sequence models, which {model} is not. Leave it out.")
    elif share is not None and share < 1 and settings.get("benchmark_filename"):
        problems.append(
            "train_share: benchmark_filename comes split. Leave users out of its training file."
        )
    return problems


def source_problems(
    source: Mapping[str, Any], settings: Mapping[str, Any], *, source_model: str, model: str
) -> list[str]:
    """Return why a model cannot begin with the weights of another.

    Args:
        source: All settings of the one that has them.
        settings: All settings of the one that begins with them.
        source_model: The first one's name.
        model: The other's.
    """
    if source_model not in MODELS:
        return _reader_problems(source, model=source_model, place="the source's model")
    problems = _reader_problems(source, model=source_model, place="the source's item_features")
    if source_model != model:
        problems.append(
            f"model: the source is {source_model}, this is {model}. Run {source_model}."
        )
    theirs, ours = Settings.from_config(source), Settings.from_config(settings)
    tuning = TUNING if theirs.text_tuning != "frozen" else ()
    problems += _differences(theirs, ours, (*SHAPES, *tuning))
    if theirs.text_control != "none":
        problems.append(
            f"text_control: the source read {theirs.text_control} text, of which nothing can be "
            "carried over."
        )
    if theirs.fusion != "sum" and theirs.features != ours.features:
        problems.append(
            f"item_features: fusion {theirs.fusion} has weights for {theirs.features}, received "
            f"{ours.features}."
        )
    return problems


def reading_problems(source: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return which settings of the text encoder differ, before there are vectors to compare.

    Args:
        source: All settings of the run that another begins with.
        settings: All settings of the other.
    """
    return _differences(Settings.from_config(source), Settings.from_config(settings), READING)


def _differences(theirs: Settings, ours: Settings, names: Iterable[str]) -> list[str]:
    return [
        f"{name}: the source has {getattr(theirs, name)!r}, received {getattr(ours, name)!r}."
        for name in names
        if getattr(theirs, name) != getattr(ours, name)
    ]


def _reader_problems(settings: Mapping[str, Any], *, model: str, place: str) -> list[str]:
    """Return why a model has no weights that know items by text alone."""
    if model not in MODELS:
        return [f"{place}: is for {', '.join(MODELS)}; received {model}."]
    features = Settings.from_config(settings).features
    if "text" in features and set(features) <= {"text", "id"}:
        return []
    return [f"{place}: items must be text, or text and id, to be known elsewhere; not {features}."]
