"""Rules of settings: which keys there are, and what must hold among values once all are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import recbole
import yaml
from recbole.utils import ModelType
from recbole.utils import argument_list as recbole_arguments

from recbole_llm.errors import RequestError, all_problems, unknown_name
from recbole_llm.eval_checks import eval_problems, protocol_problems
from recbole_llm.feature_checks import (
    classifier_problems,
    control_problems,
    encoder_problems,
    feature_problems,
    file_problems,
    foreign_problems,
    similarity_problems,
    tuning_problems,
    vector_problems,
)
from recbole_llm.hardware import has_compiler
from recbole_llm.metric_checks import metric_problems
from recbole_llm.parsing import load_yaml
from recbole_llm.plugin import CLASSIFIERS, CONTROLS, MODELS, OURS
from recbole_llm.recbole_bounds import RecBoleBounds
from recbole_llm.settings import Settings, find_problems
from recbole_llm.transfer_checks import transfer_problems
from recbole_llm.unread_checks import unread_problems

RECBOLE_FOLDER = Path(recbole.__file__).parent
CAUSAL = ("GRU4Rec", "SASRec")  # RecBole's models that can learn every position of a window
LOSSES = ("CE", "SCE", "BCE", "GBCE", "BPR", "MSE")
SAMPLED = ("SCE", "BCE", "GBCE", "BPR")
OF_LOSSES = {
    "label_smoothing": ("CE",), "num_negatives": SAMPLED, "negative_sampling": SAMPLED,
    "gbce_calibration": ("GBCE",),
}  # fmt: skip
PICKLES = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")
PRETRAINED = ("RaCT", "S3Rec")  # their stages hand over a pickle
ROBUST = ("item_noise", "augmentation", "adversarial_weight", "contrastive_weight")
# Keys that RecBole's code reads and none of its YAML files names.
READ_BY_RECBOLE = frozenset(
    {"L1_flag", "benchmark_filename", "cin", "contrast", "convert_token_to_onehot", "dataset",
     "encoding", "eta", "eval_type", "feature_num", "fields", "ft_ratio", "has_residual",
     "hide_item", "k", "mask_ratio", "model", "neg_sampling", "norm", "order_len", "save_step",
     "selected_features", "sim", "step", "tail_ratio", "token_num_threshold",
     "training_neg_sample_num", "type", "use_filter", "xgb_early_stopping_rounds"}
)  # fmt: skip
SET_BY_RECBOLE = {
    "device": "it follows from use_gpu and gpu_id",
    "nproc": "write --nproc=K on the command line, or call run_recbole(nproc=K)",
    **dict.fromkeys(
        ("ip", "local_rank", "offset", "port", "world_size"),
        "--nproc=K runs several processes on this machine and needs none of it",
    ),
}


@lru_cache(maxsize=1)
def recbole_models() -> tuple[str, ...]:
    """Return the names of RecBole's own models; Random is the one without a YAML file."""
    files = (RECBOLE_FOLDER / "properties/model").glob("*.yaml")
    return tuple(sorted({file.stem for file in files} | {"Random"}))


@lru_cache(maxsize=1)
def known_keys() -> frozenset[str]:
    """Return every setting that RecBole or we read."""
    keys = set(READ_BY_RECBOLE) | set(Settings.model_fields) | set(RecBoleBounds.model_fields)
    for file in (RECBOLE_FOLDER / "properties").glob("**/*.yaml"):
        if file.stem not in ("url", "kg_url"):
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            keys |= set(content or {})
    for name in ("general", "training", "evaluation", "dataset"):
        keys |= set(getattr(recbole_arguments, f"{name}_arguments"))
    return frozenset(keys)


def problems_of(given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with each setting given: unknown, not for users, of a wrong value."""
    problems = [
        f"{key}: cannot be set; {why}." for key, why in SET_BY_RECBOLE.items() if key in given
    ]
    problems += [
        f"{key}: RecBole would write or read a pickle, which can run code. Leave it out."
        for key in PICKLES
        if given.get(key)
    ]
    rest = {key: value for key, value in given.items() if key not in SET_BY_RECBOLE}
    return problems + find_problems(rest, known_keys=known_keys())


def without_bad(settings: Mapping[str, Any], problems: Sequence[str]) -> dict[str, Any]:
    """Return the settings of which no problem speaks, so that more rules can be checked."""
    bad = {problem.partition(":")[0].partition(".")[0] for problem in problems}
    return {key: value for key, value in settings.items() if key not in bad}


def problems_among(settings: Mapping[str, Any], *, model: str) -> list[str]:
    """Return what is wrong with merged settings taken together.

    Args:
        settings: RecBole's defaults with all that was given; with the model's ``MODEL_TYPE``.
        model: The model's name.
    """
    problems = metric_problems(settings) + eval_problems(settings)
    if settings["MODEL_TYPE"] != ModelType.SEQUENTIAL and settings.get("item_features") is not None:
        problems.append(f"item_features: is for sequence models, which {model} is not.")
    is_sequential = settings["MODEL_TYPE"] == ModelType.SEQUENTIAL
    problems += protocol_problems(settings, model=model, is_sequential=is_sequential)
    if model not in (*MODELS, *CAUSAL) and settings.get("training") == "all_positions":
        problems.append(
            f"training: all_positions is for our models, {' and '.join(CAUSAL)}, which are causal; "
            f"received it for {model}."
        )
    if learns_windows(model, settings.get("training")):
        problems += _window_problems(settings)
        if settings["loss_type"] != "CE":
            problems.append("training: all_positions of RecBole's models needs loss_type CE.")
    size, heads = settings.get("hidden_size"), settings.get("n_heads")
    if isinstance(size, int) and isinstance(heads, int):
        least = 2 * heads if model in MODELS else heads  # rotary positions turn pairs of entries
        if size % least:
            problems.append(f"hidden_size: must be divisible by {least}, received {size}.")
    problems += feature_problems(settings)
    problems += transfer_problems(settings, model=model, is_sequential=is_sequential)
    problems += unread_problems(settings, model=model)
    if model not in CLASSIFIERS:  # which read texts otherwise
        problems += encoder_problems(settings) + vector_problems(settings)
    if model in MODELS:
        problems += _our_problems(settings) + file_problems(settings) + _robust_problems(settings)
        problems += tuning_problems(settings) + similarity_problems(settings)
        problems += _compile_problems(settings)
    else:
        problems += foreign_problems(settings, model=model)
        has_windows = learns_windows(model, settings.get("training"))
        problems += [
            f"{key}: is for our models and, with training: all_positions and no benchmark_filename,"
            f" for {' and '.join(CAUSAL)}; received it for {model}. Leave it out."
            for key in ("repeat_bias", "window_overlap")
            if settings.get(key) and (not has_windows or settings.get("benchmark_filename"))
        ]
        problems += control_problems(settings, model=model) if model in CONTROLS else []
        problems += classifier_problems(settings) if model in CLASSIFIERS else []
        problems += [
            f"{key}: is for our models, which {model} is not. Leave it out."
            for key in ROBUST
            if settings.get(key)
        ]
    if model in PRETRAINED and "train_stage" in settings:
        problems.append(
            f"model: the training stages of {model} hand over a pickle, which can run code, and "
            "this command writes and reads none. Use recbole.quick_start.run_recbole for it."
        )
    return problems


def learns_windows(model: str, training: str | None) -> bool:
    """Tell whether one of RecBole's models is to learn every position of a window."""
    return model in CAUSAL and training == "all_positions"


def _our_problems(settings: Mapping[str, Any]) -> list[str]:
    problems = []
    if settings["loss_type"] not in LOSSES:
        problems.append(f"loss_type: {unknown_name('loss', str(settings['loss_type']), LOSSES)}")
    problems += [
        f"{key}: is of loss_type {', '.join(losses)}; received {settings['loss_type']}. Leave it "
        "out."
        for key, losses in OF_LOSSES.items()
        if settings["loss_type"] in LOSSES
        and settings["loss_type"] not in losses
        and settings.get(key) not in (None, Settings.model_fields[key].default)
    ]
    if settings.get("threshold"):
        problems.append(
            "threshold: makes labels, and our sequence models read none. Leave it out; val_interval"
            " leaves rows out."
        )
    if settings.get("propensity_weighting") in (None, "none"):
        problems += [
            f"{key}: is of propensity_weighting ips and snips, received none. Leave it out."
            for key in ("propensity_power", "propensity_clip")
            if settings.get(key) not in (None, Settings.model_fields[key].default)
        ]
    return problems + _window_problems(settings)


def _window_problems(settings: Mapping[str, Any]) -> list[str]:
    overlap = settings.get("window_overlap") or 0  # RecBole's models have no default of it
    length = settings["MAX_ITEM_LIST_LENGTH"]
    if overlap >= length:
        place = f"must be below MAX_ITEM_LIST_LENGTH ({length})"
        return [f"window_overlap: {place}, received {overlap}."]
    if overlap and (settings.get("training") == "prefixes" or settings.get("benchmark_filename")):
        return [
            "window_overlap: is of windows, and training on prefixes has none. Use training: "
            "all_positions, without benchmark_filename, or leave it out."
        ]
    return []


def _robust_problems(settings: Mapping[str, Any]) -> list[str]:
    chosen = Settings.from_config(settings)
    problems = []
    if chosen.training == "prefixes" or settings.get("benchmark_filename"):
        in_use = {
            "augmentation": bool(chosen.augmentation),
            "contrastive_views: augmented": chosen.has_augmented_views,
        }
        problems += [
            f"{key}: changes windows, and training on prefixes has none. Use training: "
            "all_positions, without benchmark_filename."
            for key, is_used in in_use.items()
            if is_used
        ]
    by_dropout = chosen.contrastive_weight > 0 and chosen.contrastive_views == "dropout"
    if by_dropout and not (chosen.dropout_prob or chosen.item_noise):
        problems.append(
            "contrastive_views: dropout compares two readings that are the same where dropout_prob "
            "and item_noise are 0. Set one of them, or other views."
        )
    return problems


def _compile_problems(settings: Mapping[str, Any]) -> list[str]:
    chosen = Settings.from_config(settings)
    if not chosen.compile_evolution:
        return []
    problems = []
    if not has_compiler():
        problems.append(
            "compile_evolution: needs a C++ compiler (g++, or what CXX names). Install one, or "
            "leave it out."
        )
    if chosen.adversarial_weight > 0:
        problems.append(
            "compile_evolution: what is compiled forgets its first gradients, which "
            "adversarial_weight needs twice. Leave one of them out."
        )
    return problems


def model_problems(model: str) -> list[str]:
    """Return why a model is none that we know."""
    known = [*OURS, *recbole_models()]
    return [] if model in known else [unknown_name("model", model, known, list_known=False)]


def check_file(path: Path) -> None:
    """Check a YAML file of settings.

    Raises:
        RequestError: If it cannot be read or a setting is wrong; all problems at once.
    """
    settings = load_yaml(path)
    settings.pop("about", None)
    problems = problems_of(settings)
    model = settings.get("model")
    problems += [] if model is None else model_problems(str(model))
    sound = without_bad(settings, problems)
    problems += metric_problems(sound) + feature_problems(sound)
    problems += encoder_problems(sound) + tuning_problems(sound)
    problems += similarity_problems(sound) if model is None or model in MODELS else []
    problems += eval_problems(sound) if "eval_args" in sound else []
    if model is not None and model not in MODELS:
        problems += foreign_problems(sound, model=str(model))
    if problems:
        raise RequestError(all_problems(str(path), problems))
