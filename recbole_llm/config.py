"""RecBole's configuration, without its hazards.

No string is evaluated, ``sys.argv`` is not read, unknown keys and bad values are refused before any
data is loaded, and the environment's choice of GPU stands. Precedence, low to high: RecBole's
defaults, the model's YAML, the dataset's YAML, configuration files, dictionary, arguments.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import recbole
import torch
import yaml
from recbole.config import Config
from recbole.evaluator.register import metric_types
from recbole.utils import ModelType, get_model
from recbole.utils import argument_list as recbole_arguments

import recbole_llm
from recbole_llm import compat
from recbole_llm.errors import RequestError, all_problems, unknown_name
from recbole_llm.plugin import MODELS
from recbole_llm.settings import (
    RecBoleBounds,
    Settings,
    StrictLoader,
    find_problems,
    load_yaml,
    parse_value,
)

logger = logging.getLogger()  # RecBole's log is the root logger's

RECBOLE_FOLDER = Path(recbole.__file__).parent
PICKLES = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")
NESTED = {
    "eval_args": {"split", "order", "group_by", "mode"},
    "train_neg_sample_args": {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"},
}
# Keys that RecBole's code reads and none of its YAML files names.
READ_BY_RECBOLE = frozenset(
    {"L1_flag", "benchmark_filename", "cin", "contrast", "convert_token_to_onehot", "dataset",
     "device", "encoding", "eta", "eval_type", "feature_num", "fields", "ft_ratio", "has_residual",
     "hide_item", "ip", "k", "local_rank", "mask_ratio", "model", "neg_sampling", "norm", "nproc",
     "offset", "order_len", "port", "save_step", "selected_features", "sim", "step", "tail_ratio",
     "token_num_threshold", "training_neg_sample_num", "type", "use_filter", "world_size",
     "xgb_early_stopping_rounds"}
)  # fmt: skip


class LLMConfig(Config):
    """A RecBole ``Config`` that any RecBole code can read.

    Args:
        model: Name of a model, ours or RecBole's.
        dataset: Name of a dataset.
        config_file_list: YAML files.
        config_dict: Settings as values; strings stay strings.
        arguments: Settings as raw words, such as a command line's; ``eval_args.mode`` sets a nested
            key.

    Attributes:
        resolved: All settings before RecBole derives anything from them, fit for JSON:
            ``LLMConfig(model, dataset, config_dict=resolved)`` is this configuration again.

    Raises:
        RequestError: If anything about the request is wrong; all that is wrong at once.
    """

    def __init__(
        self,
        model: str | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        *,
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        compat.require_recbole()
        self._arguments = {
            key: parse_value(key, text) for key, text in dict(arguments or {}).items()
        }
        self.resolved: dict[str, Any] = {}
        try:
            super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            reason = error.args[0] if error.args else error
            raise RequestError(f"settings: {reason}") from None

    def compatibility_settings(self) -> None:
        """Apply our work-arounds in place of RecBole's."""
        compat.apply()

    parameters: dict[str, list[str]]

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()  # the lists are RecBole's own: copy before they grow
        shared: dict[str, list[str]] = self.parameters
        self.parameters = {name: list(keys) for name, keys in shared.items()}

    def _build_yaml_loader(self) -> type:
        return StrictLoader

    def _load_config_files(self, file_list: Sequence[str] | None) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for name in file_list or ():
            merged |= load_yaml(Path(name))
        return merged

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return config_dict  # RecBole evaluates each string here

    def _load_cmd_line(self) -> dict[str, Any]:
        return {key: value for key, value in self._arguments.items() if "." not in key}

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        given = self.external_config_dict
        problems = []
        name = model or given.get("model")
        if name is None:
            problems.append("model: not given. Write --model=LLMInterestLSTM.")
        elif isinstance(name, str) and name not in MODELS and name not in recbole_models():
            known = [*MODELS, *recbole_models()]
            problems.append(unknown_name("model", name, known, list_known=False))
        if not (dataset or given.get("dataset")):
            problems.append("dataset: not given. Write --dataset=ml-100k.")
        if problems:
            raise RequestError(all_problems("settings", problems))
        model_class = get_model(name) if isinstance(name, str) else name
        compat.adapt_model(model_class)
        return model_class.__name__, model_class, str(dataset or given["dataset"])

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        self.internal_config_dict["metric_decimal_place"] = 10  # RecBole: 4, before it compares
        own: dict[str, Any] = {}
        if model in MODELS:
            own |= load_yaml(Path(recbole_llm.properties_file(model)))
        if (file := dataset_config_file(dataset)) is not None:
            own |= load_yaml(file)
        own.pop("about", None)
        self.internal_config_dict |= own

    def _get_final_config_dict(self) -> dict[str, Any]:
        given = self.external_config_dict
        final = copy.deepcopy({**self.internal_config_dict, **given})
        problems = find_problems(given, known_keys=known_keys())
        problems += self._set_nested(final)
        problems += [
            f"{key}: RecBole would write or read a pickle, which can run code. Leave it out."
            for key in PICKLES
            if given.get(key)
        ]
        problems += metric_problems(final)
        if needs_no_negatives(final) and given.get("train_neg_sample_args") is not None:
            problems.append(
                "train_neg_sample_args: must be None where loss_type is CE, which scores all items;"
                f" received {given['train_neg_sample_args']!r}."
            )
        if problems:
            raise RequestError(all_problems("settings", problems))
        self._drop_default_negatives(final)
        self._load_times(final)
        final["data_path"] = str(Path(final["data_path"]).resolve())
        self.resolved = copy.deepcopy(final) | {"model": self.model, "dataset": self.dataset}
        del self.resolved["MODEL_TYPE"]
        if self.dataset == "ml-100k" and "data_path" not in given:
            del self.resolved["data_path"]  # it lies in RecBole's wheel, wherever that is
        return final

    def _set_nested(self, final: dict[str, Any]) -> list[str]:
        """Merge dotted arguments into the settings they belong to; return what is wrong."""
        problems = []
        for key, value in self._arguments.items():
            parent, dot, child = key.partition(".")
            if not dot:
                continue
            if parent not in known_keys():
                problems.append(unknown_name("setting", parent, known_keys(), list_known=False))
            elif parent in NESTED and child.split(".")[0] not in NESTED[parent]:
                problems.append(unknown_name(f"key of {parent}", child, NESTED[parent]))
            else:
                *between, last = child.split(".")
                place = final[parent] = dict(final.get(parent) or {})
                for step in between:
                    inner = place.get(step)
                    place[step] = place = dict(inner) if isinstance(inner, dict) else {}
                place[last] = value
        return problems

    def _drop_default_negatives(self, final: dict[str, Any]) -> None:
        """Take RecBole's default negatives away where the loss has all items."""
        if needs_no_negatives(final) and final.get("train_neg_sample_args") is not None:
            logger.info("loss_type CE scores all items: train_neg_sample_args is set to None.")
            final["train_neg_sample_args"] = None

    def _load_times(self, final: dict[str, Any]) -> None:
        """Load the times that an order by time needs; RecBole's default leaves them out."""
        is_default = final["load_col"] == {"inter": ["user_id", "item_id"]}
        if is_default and "load_col" not in self.external_config_dict:
            fields = [final["USER_ID_FIELD"], final["ITEM_ID_FIELD"]]
            times = [final["TIME_FIELD"]] if final["eval_args"].get("order") == "TO" else []
            final["load_col"] = {"inter": fields + times}

    def _set_default_parameters(self) -> None:
        super()._set_default_parameters()
        if "data_path" in self.resolved:
            folder = Path(self.resolved["data_path"])
            is_here = (folder / f"{self.dataset}.inter").is_file()
            self.final_config_dict["data_path"] = str(folder if is_here else folder / self.dataset)

    def _init_device(self) -> None:
        """Choose among the visible GPUs; ``CUDA_VISIBLE_DEVICES`` is the user's and stays."""
        final = self.final_config_dict
        final["gpu_id"] = ",".join(map(str, _as_list(final["gpu_id"])))
        if "local_rank" in final:
            super()._init_device()
            return
        final["single_spec"], final["local_rank"] = True, 0
        chosen = final["gpu_id"].split(",")[0].strip()
        if not (final["use_gpu"] and chosen and torch.cuda.is_available()):
            final["device"] = torch.device("cpu")
            return
        count = torch.cuda.device_count()
        if not chosen.isdigit() or int(chosen) >= count:
            raise RequestError(
                f"gpu_id: must be below {count}, the number of visible GPUs "
                f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}), received "
                f"{chosen!r}."
            )
        final["device"] = torch.device("cuda", int(chosen))


def needs_no_negatives(settings: Mapping[str, Any]) -> bool:
    """Tell whether a sequential model's loss is a softmax over all items."""
    return settings["MODEL_TYPE"] == ModelType.SEQUENTIAL and settings.get("loss_type") == "CE"


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def dataset_config_file(dataset: str) -> Path | None:
    """Return our YAML of a dataset, in a checkout or in an installed wheel, or None."""
    package = Path(recbole_llm.__file__).parent
    for folder in (package.parent / "dataset_configs", package / "dataset_configs"):
        file = folder / f"{dataset}.yaml"
        if file.is_file():
            return file
    return None


@lru_cache(maxsize=1)
def recbole_models() -> tuple[str, ...]:
    """Return the names of RecBole's own models."""
    return tuple(sorted(file.stem for file in (RECBOLE_FOLDER / "properties/model").glob("*.yaml")))


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


def metric_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with metrics, topk and valid_metric taken together."""
    metrics, topk = _as_list(settings["metrics"]), _as_list(settings["topk"])
    problems = [
        unknown_name("metric", str(name), metric_types, list_known=True)
        for name in metrics
        if str(name).lower() not in metric_types
    ]
    chosen = str(settings["valid_metric"]).lower()
    name, _, cutoff = chosen.partition("@")
    measured = {str(metric).lower() for metric in metrics}
    has_cutoff = cutoff in {str(k) for k in topk} if cutoff else True
    if not problems and (name not in measured or not has_cutoff):
        possible = [f"{metric}@{k}" for metric in metrics for k in topk] if cutoff else metrics
        known = unknown_name("metric", chosen, possible)
        problems.append(f"valid_metric: must be among metrics × topk; {known}")
    return problems


def check_file(path: Path) -> None:
    """Check a YAML file of settings.

    Raises:
        RequestError: If it cannot be read or a setting is wrong; all problems at once.
    """
    settings = load_yaml(path)
    settings.pop("about", None)
    problems = find_problems(settings, known_keys=known_keys())
    model = settings.get("model")
    if model is not None and model not in MODELS and model not in recbole_models():
        known = [*MODELS, *recbole_models()]
        problems.append(unknown_name("model", str(model), known, list_known=False))
    if problems:
        raise RequestError(all_problems(str(path), problems))
