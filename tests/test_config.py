"""The configuration: precedence, refusals before data is read, and the way back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from recbole_llm.checks import check_file, known_keys
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RequestError


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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rat": 0.1}, "Did you mean 'learning_rate'"),
        ({"metrics": ["NDGC"]}, "unknown metric 'NDGC'. Did you mean 'ndcg'"),
        ({"valid_metric": "MAP@10"}, "valid_metric: must be among metrics × topk"),
        ({"valid_metric": "NDCG@20"}, "Did you mean 'NDCG@10'"),
        ({"valid_metric": "NDCG"}, "Did you mean 'NDCG@10'"),
        ({"metrics": ["AUC"], "valid_metric": "AUC@3"}, "Did you mean 'AUC'"),
        ({"topk": 0}, "topk"),
        ({"filter_seen": True, "eval_args": {"mode": "uni9"}}, "filter_seen: needs eval_args.mode"),
        ({"eval_batch_cells": 0}, "eval_batch_cells"),
        ({"save_dataset": True}, "pickle"),
        ({"dataset_save_path": "x.pth"}, "pickle"),
        ({"model": "LLMInterestLSTM", "eval_args": "full"}, "eval_args"),
        ({"train_neg_sample_args": {"distribution": "uniform"}}, "train_neg_sample_args"),
        ({"eval_args": {"mod": "full"}}, "unknown key of eval_args 'mod'. Did you mean 'mode'"),
        ({"eval_args": {"mode": "uni"}}, "uniN or popN"),
        ({"eval_args": {"split": {"LS": "foo"}}}, "LS: valid_and_test"),
        ({"eval_args": {"split": {"RS": [0.8, 0.2]}}}, "shares of training"),
        ({"eval_args": {"order": "RO"}}, "eval_args.order: a sequence model needs TO"),
        ({"eval_args": None}, "eval_args"),
        ({"loss_type": "BPRR"}, "loss_type: unknown loss 'BPRR'. Did you mean 'BPR'"),
        ({"window_overlap": 50}, "window_overlap: must be below MAX_ITEM_LIST_LENGTH (50)"),
        ({"device": "cuda"}, "follows from use_gpu"),
        ({"nproc": 2}, "runs in one process"),
        ({"item_features": []}, "item_features"),
        ({"state": "FOO"}, "unknown choice 'foo'"),
        ({"learner": "foo"}, "unknown choice 'foo'"),
        ({"seed": 2**32}, "seed: must be less than"),
        ({"epochs": None}, "epochs"),
        ({"load_col": "foo"}, "load_col"),
        ({"clip_grad_norm": 5}, "clip_grad_norm"),
        ({"field_separator": ""}, "field_separator"),
        ({"gpu_id": "0", "metrics": ["AUC", "NDCG"]}, "cannot be mixed"),
    ],
)
def test_wrong_settings_are_refused_before_data_is_read(settings, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        config_of(dataset="no-such-dataset", **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("LLMInterestLSTN", "Did you mean 'LLMInterestLSTM'"),
        ("llminterestlstm", "Did you mean 'LLMInterestLSTM'"),
        ("sasrec", "Did you mean 'SASRec'"),
        ("Nonsense42", "unknown model 'Nonsense42'"),
        (5, "unknown model '5'"),
        (None, "model: not given"),
    ],
)
def test_unknown_models_are_suggested(model, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        LLMConfig(model, "ml-100k")
    assert words in str(caught.value)


def test_models_that_recbole_filters_for_refuse_to_filter() -> None:
    with pytest.raises(RequestError, match="filter_seen: is for sequence models; of BPR's"):
        config_of("BPR", filter_seen=True)


def test_a_missing_dataset_is_named() -> None:
    with pytest.raises(RequestError, match="dataset: not given"):
        LLMConfig("SASRec")


def test_a_dotted_key_keeps_its_neighbours() -> None:
    arguments = {"eval_args.mode": "uni100", "eval_args.split.LS": "valid_only"}
    config = LLMConfig("SASRec", "ml-100k", arguments=arguments)
    assert config["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    assert config["eval_args"]["split"] == {"LS": "valid_only"}
    assert config["eval_args"]["order"] == "TO"


@pytest.mark.parametrize(
    ("key", "words"), [("eval_args.mod", "'mode'"), ("eval_arg.mode", "'eval_args'")]
)
def test_an_unknown_dotted_key_is_suggested(key: str, words: str) -> None:
    with pytest.raises(RequestError, match=f"Did you mean {words}"):
        LLMConfig("SASRec", "ml-100k", arguments={key: "full"})


def test_softmax_needs_no_negatives() -> None:
    config = config_of("SASRec")
    assert config["train_neg_sample_args"]["distribution"] == "none"
    assert config.notices == ["loss_type CE scores all items: train_neg_sample_args is None."]
    with pytest.raises(RequestError, match="train_neg_sample_args: must be None"):
        LLMConfig("SASRec", "ml-100k", arguments={"train_neg_sample_args.sample_num": "2"})


def test_no_string_of_a_dictionary_is_evaluated() -> None:
    config = config_of(wandb_project='__import__("os").system("touch canary")')
    assert config["wandb_project"].startswith("__import__") and not Path("canary").exists()


def test_heads_must_divide_the_default_size_too() -> None:
    with pytest.raises(RequestError, match="hidden_size: must be divisible by 3, received 64"):
        config_of("SASRec", n_heads=3)
    with pytest.raises(RequestError, match="hidden_size: must be divisible by 4, received 130"):
        config_of("LLMInterestTransformer", hidden_size=130)


def test_eval_args_left_out_keep_their_defaults() -> None:
    config = config_of("SASRec", eval_args={"mode": "uni100"})
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    assert config["eval_args"]["order"] == "TO"


@pytest.mark.parametrize("model", ["lightgbm", "xgboost"])
def test_a_model_whose_package_is_absent_says_so(model: str) -> None:
    with pytest.raises(RequestError, match=f"{model} needs a package: No module named"):
        LLMConfig(model, "ml-100k")


@pytest.mark.parametrize("model", ["RaCT", "S3Rec"])
def test_models_that_hand_over_pickles_are_refused(model: str) -> None:
    with pytest.raises(RequestError, match="hand over a pickle"):
        config_of(model, train_stage="pretrain")


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


def test_check_names_all_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: LLMInterestLST\nepochs: 0\nlearning_rat: 1\n")
    with pytest.raises(RequestError, match="3 problems"):
        check_file(tmp_path / "a.yaml")


def test_all_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "hiden_size: 8\nepochs: three\nmodel: SASRek\nmetrics: [Recal]\nvalid_metric: NDGC@10\n"
        "eval_args: {mod: full}\n"
    )
    with pytest.raises(RequestError, match="6 problems"):
        check_file(tmp_path / "a.yaml")
    settings = {"hiden_size": 8, "metrics": ["Recal"], "epochs": "x", "eval_args": {"mode": "uni"}}
    with pytest.raises(RequestError, match="4 problems"):
        config_of(**settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrics: [NDGC]", "unknown metric 'NDGC'"),
        ("valid_metric: FOO@3", "unknown metric 'FOO'"),
        ("eval_args: {mod: full}", "unknown key of eval_args 'mod'"),
        ("metrics: [NDCG]\ntopk: [5]\nvalid_metric: NDCG@10", "Did you mean 'NDCG@5'"),
    ],
)
def test_check_finds_what_a_run_would(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        check_file(tmp_path / "a.yaml")
    assert words in str(caught.value)


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
