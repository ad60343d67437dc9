"""The configuration: precedence, what is taken, and the way back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from recbole_llm.checks import check_file, known_keys
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RequestError
from recbole_llm.settings import Settings


def config_of(model: str = "LLMInterestLSTM", dataset: str = "ml-100k", **settings) -> LLMConfig:
    return LLMConfig(model, dataset, None, settings)


def test_precedence_low_to_high(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hidden_size: 32\nepochs: 7\nseed: 5\n")
    (tmp_path / "b.yaml").write_text("epochs: 8\n")
    files = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    config = LLMConfig("LLMInterestLSTM", "ml-100k", files, {"seed": 6}, arguments={"seed": "9"})
    assert (config["hidden_size"], config["epochs"], config["seed"]) == (32, 8, 9)
    assert config["train_batch_size"] == 128  # the model's YAML, above RecBole's 2048
    assert config["text_template"].startswith("{movie_title}")  # the dataset's YAML


def test_the_process_arguments_are_never_read(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--seed=77", "--nonsense", "1"])
    assert config_of()["seed"] == 2020


def test_filters_that_recbole_reads_are_taken() -> None:
    for text in ("[5,inf)", "[1, 3];(7,9]", "[5,10]"):
        found = LLMConfig("SASRec", "ml-100k", arguments={"item_inter_num_interval": text})
        assert found["item_inter_num_interval"] == text
    config_of(user_inter_num_interval=None, item_inter_num_interval=[5, 10])  # as YAML reads it
    config_of(val_interval={"timestamp": "(0,1]", "rating": [4, 5], "user_id": ["a", "b", "c"]})
    with pytest.raises(RequestError, match="val_interval: must be intervals, as"):
        config_of(val_interval={"timestamp": "0-1"})


def test_a_modality_is_named_by_a_dotted_key_and_its_path_is_absolute() -> None:
    for name in ("image.npy", "image.ids"):
        Path(name).touch()
    arguments = {"modalities.image": "image.npy", "item_features": "[text, image]"}
    config = LLMConfig("LLMInterestLSTM", "ml-100k", arguments=arguments)
    expected = {"image": str(Path("image.npy").resolve())}
    assert config["modalities"] == config.resolved["modalities"] == expected


def test_an_encoder_in_a_folder_is_found_from_any_directory(tmp_path: Path) -> None:
    """Not so a name that words are counted by, or that a hub has."""
    for name in ("own", "tfidf"):
        Path(name).mkdir()
    for given, kept in (("own", f"{tmp_path}/own"), ("tfidf", "tfidf"), ("no/where", "no/where")):
        settings = {"text_encoder": given}
        assert LLMConfig("LLMInterestLSTM", "ml-100k", None, settings)["text_encoder"] == kept


def test_an_adaptor_of_one_feature_is_named_by_a_dotted_key() -> None:
    config = LLMConfig("LLMInterestLSTM", "ml-100k", arguments={"adaptor.text": "moe"})
    assert Settings.from_config(config).adaptor_of("text") == "moe"
    assert Settings.from_config(config).adaptor_of("image") == "linear"


@pytest.mark.parametrize("key", ["seed.x", "modalities.image", "adaptor.text"])
def test_the_value_of_a_dotted_key_is_checked(key: str) -> None:
    with pytest.raises(RequestError, match=key.partition(".")[0] + ": "):
        LLMConfig("LLMInterestLSTM", "ml-100k", arguments={key: "3"})


def test_a_dotted_key_keeps_its_neighbours() -> None:
    arguments = {"eval_args.mode": "uni100", "eval_args.split.LS": "valid_only"}
    config = LLMConfig("SASRec", "ml-100k", arguments=arguments)
    assert config["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    assert config["eval_args"]["split"] == {"LS": "valid_only"}
    assert config["eval_args"]["order"] == "TO"


def test_softmax_needs_no_negatives() -> None:
    config = config_of("SASRec")
    assert config["train_neg_sample_args"]["distribution"] == "none"
    assert config.notices == ["loss_type CE scores all items: train_neg_sample_args is None."]
    with pytest.raises(RequestError, match="train_neg_sample_args: must be None"):
        LLMConfig("SASRec", "ml-100k", arguments={"train_neg_sample_args.sample_num": "2"})


def test_no_string_of_a_dictionary_is_evaluated() -> None:
    config = config_of(wandb_project='__import__("os").system("touch canary")')
    assert config["wandb_project"].startswith("__import__") and not Path("canary").exists()


def test_eval_args_left_out_keep_their_defaults() -> None:
    config = config_of("SASRec", eval_args={"mode": "uni100"})
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    assert config["eval_args"]["order"] == "TO"


def test_the_model_without_a_yaml_is_known() -> None:
    assert config_of("Random")["model"] == "Random"


def test_visible_gpus_stay_as_they_are(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert config_of(gpu_id="1")["device"] == torch.device("cuda", 1)
    assert config_of(use_gpu=False)["device"] == torch.device("cpu")
    assert config_of(gpu_id="")["device"] == torch.device("cpu")
    with pytest.raises(RequestError, match="below 2, the number of visible GPUs"):
        config_of(gpu_id="2")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-abc"


def test_recboles_own_lists_do_not_grow() -> None:
    from recbole.utils.argument_list import dataset_arguments

    before = list(dataset_arguments)
    config_of()
    assert dataset_arguments == before


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec", "BPR"])
def test_resolved_settings_bring_the_configuration_back(model: str, tmp_path: Path) -> None:
    first = LLMConfig(model, "toy", None, {"data_path": str(tmp_path), "epochs": 3})
    resolved = json.loads(json.dumps(first.resolved))
    again = LLMConfig(model, "toy", None, resolved)
    assert again.resolved == first.resolved
    assert again.final_config_dict == first.final_config_dict


def test_data_may_lie_in_the_folder_or_below_it(write_dataset) -> None:
    parent = write_dataset([("u", "i", 1.0)])
    for folder in (parent, parent / "toy"):
        config = config_of(dataset="toy", data_path=str(folder))
        assert config["data_path"] == str(parent / "toy")


def test_a_dataset_without_a_yaml_of_ours_loads_its_times() -> None:
    assert config_of(dataset="toy")["load_col"] == {"inter": ["user_id", "item_id", "timestamp"]}
    assert config_of("BPR", "toy")["load_col"] == {"inter": ["user_id", "item_id"]}


@pytest.mark.parametrize("file", sorted(Path(__file__).parents[1].glob("dataset_configs/*.yaml")))
def test_our_own_dataset_files_are_right(file: Path) -> None:
    check_file(file)


def test_what_check_accepts_a_run_accepts() -> None:
    file = Path(__file__).parents[1] / "dataset_configs" / "ml-1m.yaml"
    assert LLMConfig("SASRec", "ml-1m", [str(file)])["item_inter_num_interval"] == "[5,inf)"


def test_every_key_that_recbole_reads_is_known() -> None:
    import re

    from recbole_llm.checks import RECBOLE_FOLDER, SET_BY_RECBOLE

    source = "".join(file.read_text("utf-8") for file in RECBOLE_FOLDER.glob("**/*.py"))
    read = set(re.findall(r"config\[[\"'](\w+)[\"']\]", source))
    derived = {
        "MODEL_TYPE", "MODEL_INPUT_TYPE", "single_spec", "valid_neg_sample_args",
        "test_neg_sample_args", "POS_ITEMS", "NEG_ITEMS", "MASK_INDEX",
    }  # fmt: skip
    unknown = {key for key in read - derived if key not in known_keys() | SET_BY_RECBOLE.keys()}
    models = {name for name in unknown if name.endswith(("_ITEM_SEQ", "_ITEM_SEQ_LEN"))}
    assert unknown - models == set()
