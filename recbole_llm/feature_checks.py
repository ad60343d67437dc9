"""Rules of what an item is made of: item_features, modalities, fusion, text_encoder, its tuning."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_llm.errors import how_to_install, unknown_name
from recbole_llm.settings import FEATURES, WORD_COUNTS, Settings

OF_LANGUAGE_MODELS = (
    "text_revision", "text_pooling", "text_max_length", "text_prompt", "text_backend",
    "text_dtype", "text_tuning",
)  # fmt: skip

OURS_ALONE = (
    "modalities", "adaptor", "fusion", "text_tuning", "propensity_weighting", "propensity_power",
    "propensity_clip", "popularity_adjustment", "similarity_bias", "interest_combination",
    "interest_pooling", "compile_evolution", "label_smoothing", "num_negatives",
    "negative_sampling", "gbce_calibration", "augmentation_rate", "adversarial_epsilon",
    "contrastive_views", "contrastive_temperature", "adaptor_hidden_size", "adaptor_experts",
    "scoring", "temperature",
)  # fmt: skip
THEIRS_TOO = {"scoring": ("LastItemTextKNN",), "temperature": ("CORE", "KGIN", "MCCLK")}


def feature_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with item_features, as far as they are given, and what adapts them."""
    chosen = settings.get("item_features")
    if chosen is None:
        return []
    features = list(dict.fromkeys([chosen] if isinstance(chosen, str) else chosen))
    modalities = settings.get("modalities") or {}
    known = {*FEATURES, *modalities}
    problems = [
        f"modalities.{name}: {name} is a feature of its own. Give the file another name."
        for name in FEATURES
        if name in modalities
    ]
    problems += [
        f"item_features: {unknown_name('feature', name, known)} modalities gives a name its file."
        for name in features
        if name not in known
    ]
    problems += [
        f"modalities.{name}: item_features does not use it, received {features}. Add {name} there, "
        "or leave it out."
        for name in modalities
        if name not in (*FEATURES, *features)
    ]
    adaptor, fusion = settings.get("adaptor"), settings.get("fusion") or "sum"
    adapted = [name for name in features if name != "id"]
    problems += [
        f"adaptor.{name}: {unknown_name('feature with vectors', name, adapted)}"
        for name in (adaptor if isinstance(adaptor, Mapping) else ())
        if name not in adapted
    ]
    if fusion != "sum" and len(features) == 1:
        problems.append(
            f"fusion: {fusion} fuses two item_features or more, received {features}. Use sum."
        )
    return problems


def vector_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return which settings of given vectors would do nothing, or not what they say."""
    chosen = settings.get("item_features")
    features = {chosen} if isinstance(chosen, str) else set(chosen or ())
    problems = []
    if settings.get("text_control") not in (None, "none") and "text" not in features:
        problems.append(
            f"text_control: is for texts, which no item_features read here; received "
            f"{settings['text_control']}. Add text there, or leave it out."
        )
    if settings.get("whitening_dim") is None:
        return problems
    if not features - {"id"}:
        problems.append(
            "whitening_dim: is for vectors of texts or modalities, which no item_features read "
            "here. Leave it out."
        )
    elif (how := settings.get("whitening") or "zca") != "pca":
        problems.append(f"whitening_dim: is of whitening: pca, received {how}. Use pca.")
    return problems


def file_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return which files of modalities are not there, or of no kind that can be read."""
    problems = []
    for name, file in (settings.get("modalities") or {}).items():
        path = Path(file)
        if path.suffix not in (".npy", ".safetensors"):
            problems.append(
                f"modalities.{name}: must be a .npy or .safetensors file, received {file!r}."
            )
        elif not path.is_file():
            problems.append(f"modalities.{name}: {path} is no file. Name the file of its vectors.")
        elif not (ids := path.with_suffix(".ids")).is_file():
            problems.append(
                f"modalities.{name}: {ids} is no file. Write the raw item id of each row of "
                f"{path.name} to it, one a line."
            )
    return problems


def encoder_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return which settings of language models an encoder that counts words would not follow."""
    name = settings.get("text_encoder")
    if name not in WORD_COUNTS:
        return []
    plain = {key: Settings.model_fields[key].default for key in OF_LANGUAGE_MODELS}
    return [
        f"{key}: is for language models, and text_encoder {name} counts words; received "
        f"{settings[key]!r}. Leave it out, or write ./{name} for a folder of that name."
        for key in OF_LANGUAGE_MODELS
        if settings.get(key) not in (None, plain[key], "float32")  # which they compute in
    ]


def tuning_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return why the text encoder cannot be trained, if it is to be."""
    how = settings.get("text_tuning") or "frozen"
    if how == "frozen":
        return []
    chosen, backend = settings.get("item_features"), settings.get("text_backend") or "torch"
    features = [chosen] if isinstance(chosen, str) else chosen or ["text"]
    problems = []
    if "text" not in features:
        problems.append(
            f"text_tuning: {how} trains the encoder of a model that reads text; item_features is "
            f"{features}. Add text there, or leave it out."
        )
    if backend != "torch":
        problems.append(
            f"text_tuning: {how} needs gradients, which text_backend {backend} has not. Use "
            "text_backend: torch."
        )
    if (control := settings.get("text_control") or "none") != "none":
        problems.append(
            f"text_tuning: {how} needs vectors of the texts themselves, received text_control "
            f"{control}. Use frozen."
        )
    if how in ("lora", "prefix") and importlib.util.find_spec("peft") is None:
        problems.append(f"text_tuning: {how} needs peft. {how_to_install('lora')}")
    return problems


def similarity_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return why texts cannot be compared as similarity_bias would, if it is on."""
    if not settings.get("similarity_bias"):
        return []
    chosen = settings.get("item_features")
    features = [chosen] if isinstance(chosen, str) else chosen or ["text"]
    problems = []
    if "text" not in features:
        problems.append(
            f"similarity_bias: compares texts, and item_features is {features}. Add text there, or "
            "leave it out."
        )
    if not settings.get("repeat_bias"):
        problems.append(
            "similarity_bias: what is most like the last item is that item itself. Set "
            "repeat_bias: true, which learns whether it comes back."
        )
    if (how := settings.get("text_tuning") or "frozen") != "frozen":
        problems.append(
            f"similarity_bias: compares vectors that stay as they are, received text_tuning {how}. "
            "Use frozen."
        )
    if settings.get("loss_type") == "MSE":
        problems.append(
            "similarity_bias: is learned by comparing items, which loss_type MSE does not. Use "
            "another loss."
        )
    return problems


def foreign_problems(settings: Mapping[str, Any], *, model: str) -> list[str]:
    """Return which settings a model of RecBole's would not follow."""
    return [
        f"{key}: is for our models, which {model} is not; received {settings[key]!r}."
        for key in OURS_ALONE
        if model not in THEIRS_TOO.get(key, ())
        and settings.get(key) not in (None, Settings.model_fields[key].default)
    ]


def control_problems(settings: Mapping[str, Any], *, model: str) -> list[str]:
    """Return which item features a control would not follow."""
    chosen = settings.get("item_features")
    if model == "LastItemTextKNN":
        is_right, rule = chosen in ("text", ["text"]), "reads text alone"
    else:
        is_right, rule = chosen is None, "reads none"
    return (
        [] if is_right else [f"item_features: {model} {rule}, received {chosen!r}. Leave it out."]
    )


def classifier_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return what a classifier of purchases would not follow, and where its labels clash."""
    problems = [
        f"{key}: is for vectors of items, which a classifier has none of. Leave it out."
        for key in ("text_dim", "text_control", "whitening_dim")
        if settings.get(key) not in (None, "none")
    ]
    if (encoder := settings.get("text_encoder")) in WORD_COUNTS:
        problems.append(
            f"text_encoder: a classifier trains a language model, and {encoder} counts words. Name "
            "another."
        )
    if (backend := settings.get("text_backend") or "torch") != "torch":
        problems.append(
            f"text_backend: a classifier's encoder needs gradients, which {backend} has not. Use "
            "torch."
        )
    if settings.get("benchmark_filename"):
        problems.append(
            "benchmark_filename: a classifier finds histories in one .inter file. Leave it out."
        )
    args = settings["eval_args"]
    modes = args.get("mode", "full") if isinstance(args, Mapping) else "full"
    modes = set(modes.values()) if isinstance(modes, Mapping) else {modes}
    if "full" in modes:
        problems.append(
            "eval_args.mode: a classifier reads each pair of texts, which is too slow to rank all "
            "items. Use labeled, or uniN."
        )
    return problems + _label_problems(settings, modes=modes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _label_problems(settings: Mapping[str, Any], *, modes: set[Any]) -> list[str]:
    """Return where labels are made in no way, in two, or of a column that is needed for itself."""
    problems = []
    threshold, args = settings.get("threshold"), settings["eval_args"]
    if threshold is not None and not (isinstance(threshold, Mapping) and len(threshold) == 1):
        problems.append(f"threshold: must be one column and its value, received {threshold!r}.")
    elif threshold is not None and not all(map(_is_number, threshold.values())):
        problems.append(f"threshold: must be a number, as {{rating: 4}}; received {threshold!r}.")
    needed = {settings.get(f"{name}_FIELD") for name in ("USER_ID", "ITEM_ID", "TIME")}
    if isinstance(threshold, Mapping) and needed & set(threshold):
        problems.append(
            "threshold: takes the place of its column, and that of users, items or times is needed "
            f"for itself. Name another, or copy it; received {threshold!r}."
        )
    draws = settings.get("train_neg_sample_args") is not None or modes - {"full", "labeled"}
    if threshold is not None and draws:
        problems.append(
            "threshold: makes the labels, and so do drawn negatives (train_neg_sample_args, "
            f"eval_args.mode). Set threshold: ~ to draw them; received {threshold!r}."
        )
    if settings.get("classifier_history") == "bought":
        if isinstance(args, Mapping) and args.get("order") != "TO":
            problems.append(
                "classifier_history: of what was bought, a random order would show training the "
                "labels of the test. Use eval_args.order TO, or all."
            )
        if threshold is None:
            problems.append("classifier_history: bought needs threshold, received none.")
    return problems
