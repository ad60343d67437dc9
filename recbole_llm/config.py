"""RecBole's configuration, without its hazards.

No string is evaluated, ``sys.argv`` is not read, unknown keys and bad values are refused before any
data is loaded, and the environment's choice of GPU stands. Precedence, low to high: RecBole's
defaults, the model's YAML, the dataset's YAML, configuration files, dictionary, arguments.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.utils import ModelType, get_model

from recbole_llm import compat
from recbole_llm.checks import (
    check_file,
    known_keys,
    learns_windows,
    problems_among,
    problems_of,
    recbole_models,
    without_bad,
)
from recbole_llm.dataset_yaml import dataset_config_file
from recbole_llm.errors import RequestError, all_problems, problems_in, unknown_name
from recbole_llm.parsing import StrictLoader, load_yaml, parse_value
from recbole_llm.plugin import CLASSIFIERS, OURS, properties_file
from recbole_llm.settings import WORD_COUNTS


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
        notices: What was changed in the settings, in words for the log.

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
        self.notices: list[str] = []
        try:
            super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        except (ValueError, NotImplementedError) as error:  # what RecBole finds wrong itself
            raise RequestError(f"settings: {error}") from None

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
        merged.pop("about", None)
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
        elif not isinstance(name, type) and name not in (known := [*OURS, *recbole_models()]):
            problems.append(unknown_name("model", str(name), known, list_known=False))
        if not (dataset or given.get("dataset")):
            problems.append("dataset: not given. Write --dataset=ml-100k.")
        if problems:
            raise RequestError(all_problems("settings", problems))
        try:
            model_class = get_model(name) if isinstance(name, str) else name
        except ImportError as error:
            raise RequestError(
                f"settings: model: {name} needs a package: {error}. Install it."
            ) from None
        compat.adapt_model(model_class)
        return model_class.__name__, model_class, str(dataset or given["dataset"])

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        self.internal_config_dict["metric_decimal_place"] = 10  # RecBole: 4, before it compares
        if model in compat.WITHOUT_ORDER:
            self.internal_config_dict["eval_args"] = dict(compat.SEQUENTIAL_ARGS)
        if (file := dataset_config_file(dataset)) is not None:
            own = load_yaml(file)
            own.pop("about")
            self.internal_config_dict |= own

    def _get_final_config_dict(self) -> dict[str, Any]:
        given = self.external_config_dict
        final = copy.deepcopy({**self.internal_config_dict, **given})
        problems = problems_of(given)
        if isinstance(given.get("eval_args"), Mapping):  # keys left out keep their defaults
            final["eval_args"] = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
        problems += self._set_nested(final)
        nested = {key.partition(".")[0] for key in self._arguments if "." in key}
        problems += problems_of({key: final[key] for key in sorted(nested & final.keys())})
        asks_for_negatives = given.get("train_neg_sample_args") is not None or any(
            key.startswith("train_neg_sample_args.") for key in self._arguments
        )
        if self.model in OURS and self.model not in CLASSIFIERS and asks_for_negatives:
            problems.append(
                "train_neg_sample_args: is for RecBole's models. Set loss_type, num_negatives and "
                "negative_sampling."
            )
        elif needs_no_negatives(final) and asks_for_negatives:
            problems.append(
                "train_neg_sample_args: must be None where loss_type is CE, which scores all items;"
                f" received {final['train_neg_sample_args']!r}."
            )
        sound = {**self.internal_config_dict, **without_bad(final, problems)}
        problems += problems_among(sound, model=self.model)
        if problems:
            raise RequestError(all_problems("settings", list(dict.fromkeys(problems))))
        self._drop_default_negatives(final)
        self._load_columns(final)
        if learns_windows(self.model, final.get("training")) and "train_batch_size" not in given:
            final["train_batch_size"] = 128
            self.notices.append("training all_positions: train_batch_size is 128 windows.")
        final["data_path"] = str(Path(final["data_path"]).resolve())
        if modalities := final.get("modalities"):
            final["modalities"] = {
                name: str(Path(path).resolve()) for name, path in modalities.items()
            }
        encoder = final.get("text_encoder")
        if encoder and encoder not in WORD_COUNTS and Path(encoder).expanduser().is_dir():
            final["text_encoder"] = str(Path(encoder).expanduser().resolve())
        if final.get("init_from") is not None:
            final["init_from"] = str(Path(final["init_from"]).resolve())
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
            else:
                *between, last = child.split(".")
                given = final.get(parent)
                place = final[parent] = dict(given) if isinstance(given, Mapping) else {}
                for step in between:
                    inner = place.get(step)
                    place[step] = place = dict(inner) if isinstance(inner, dict) else {}
                place[last] = value
        return problems

    def _drop_default_negatives(self, final: dict[str, Any]) -> None:
        """Take RecBole's default negatives away where the loss has all items."""
        if needs_no_negatives(final) and final.get("train_neg_sample_args") is not None:
            self.notices.append("loss_type CE scores all items: train_neg_sample_args is None.")
            final["train_neg_sample_args"] = None

    def _load_columns(self, final: dict[str, Any]) -> None:
        """Load what an order by time and a threshold need; RecBole's default leaves them out."""
        if "load_col" in self.external_config_dict:
            return
        has_labels = self.model in CLASSIFIERS
        is_default = final["load_col"] == {"inter": ["user_id", "item_id"]}
        if is_default or (has_labels and final["load_col"] == self._own_default("load_col")):
            fields = [final["USER_ID_FIELD"], final["ITEM_ID_FIELD"]]
            needs_times = final["eval_args"].get("order") == "TO" or has_labels
            times = [final["TIME_FIELD"]] if needs_times else []
            final["load_col"] = {"inter": fields + times}
        if has_labels and (columns := (final["load_col"] or {}).get("inter")):
            missing = [name for name in final["threshold"] or () if name not in columns]
            final["load_col"] = final["load_col"] | {"inter": [*columns, *missing]}

    def _own_default(self, key: str) -> Any:
        return load_yaml(properties_file(self.model))[key]

    def _set_default_parameters(self) -> None:
        super()._set_default_parameters()
        if "data_path" in self.resolved:
            folder = Path(self.resolved["data_path"])
            below = folder / self.dataset
            is_here = (folder / f"{self.dataset}.inter").is_file() or not below.is_dir()
            self.final_config_dict["data_path"] = str(folder if is_here else below)

    def _init_device(self) -> None:
        """Choose among the visible GPUs; ``CUDA_VISIBLE_DEVICES`` is the user's and stays."""
        final = self.final_config_dict
        given = final["gpu_id"]
        visible = given if isinstance(given, list | tuple) else [given]
        final["gpu_id"] = ",".join(map(str, visible))
        final["single_spec"], final["local_rank"] = True, 0
        chosen = final["gpu_id"].split(",")[0].strip()
        if not (final["use_gpu"] and chosen and torch.cuda.is_available()):
            final["device"] = torch.device("cpu")
            return
        count = torch.cuda.device_count()
        if not chosen.isdigit() or int(chosen) >= count:
            raise RequestError(
                f"settings: gpu_id: must be below {count}, the number of visible GPUs "
                f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}), received "
                f"{chosen!r}."
            )
        final["device"] = torch.device("cuda", int(chosen))


def check_settings(path: Path) -> None:
    """Check a YAML file of settings; one that names model and dataset as a run with it would.

    Raises:
        RequestError: If it cannot be read or a setting is wrong; all problems at once.
    """
    problems = []
    try:
        check_file(path)
    except RequestError as error:
        problems += problems_in(error)
    if {"model", "dataset"} <= load_yaml(path).keys():
        try:
            LLMConfig(None, None, [str(path)])
        except RequestError as error:
            problems += problems_in(error)
    if problems:
        raise RequestError(all_problems(str(path), list(dict.fromkeys(problems))))


def needs_no_negatives(settings: Mapping[str, Any]) -> bool:
    """Tell whether a sequential model's loss is a softmax over all items."""
    return settings["MODEL_TYPE"] == ModelType.SEQUENTIAL and settings.get("loss_type") == "CE"
