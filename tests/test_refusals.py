"""What a configuration refuses, before data is read, and what ``check`` finds in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.checks import check_file
from recbole_llm.config import LLMConfig, check_settings
from recbole_llm.errors import RequestError


def config_of(model: str = "LLMInterestLSTM", dataset: str = "ml-100k", **settings) -> LLMConfig:
    return LLMConfig(model, dataset, None, settings)


@pytest.fixture
def image_files() -> None:
    """Put files of the names that the next test's settings use into the working directory."""
    for name in ("image.npy", "image.ids", "alone.npy", "image.pt"):
        Path(name).touch()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rat": 0.1}, "Did you mean 'learning_rate'"),
        ({"metrics": ["NDGC"]}, "unknown metric 'NDGC'. Did you mean 'ndcg'"),
        ({"valid_metric": "MAP@10"}, "valid_metric: must be among metrics × topk"),
        ({"valid_metric": "NDCG@20"}, "Did you mean 'NDCG@10'"),
        ({"valid_metric": "NDCG"}, "Did you mean 'NDCG@10'"),
        ({"metrics": ["AUC"], "valid_metric": "AUC@3"}, "Did you mean 'AUC'"),
        ({"metrics": ["GAUC", "NDCG"], "valid_metric": "GAUC@10"}, "Did you mean 'GAUC'"),
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
        ({"nproc": 2}, "write --nproc=K on the command line"),
        ({"item_features": []}, "item_features"),
        ({"state": "FOO"}, "unknown choice 'foo'"),
        ({"learner": "foo"}, "unknown choice 'foo'"),
        ({"learner": "sparse_adam"}, "unknown choice 'sparse_adam'"),  # no gradient is sparse
        ({"seed": 2**32}, "seed: must be less than"),
        ({"epochs": None}, "epochs"),
        ({"load_col": "foo"}, "load_col"),
        ({"clip_grad_norm": 5}, "clip_grad_norm: must be a max_norm above 0"),
        ({"clip_grad_norm": {}}, "as {max_norm: 5.0}"),
        ({"clip_grad_norm": {"max_norm": -1}}, "as {max_norm: 5.0}"),
        ({"clip_grad_norm": {"max_norm": float("nan")}}, "as {max_norm: 5.0}"),
        ({"clip_grad_norm": {"max_norm": 1.0, "max": 2.0}}, "as {max_norm: 5.0}"),
        ({"training": "prefixes", "window_overlap": 5}, "window_overlap: is of windows"),
        ({"propensity_power": 1.0}, "propensity_power: is of propensity_weighting ips and snips"),
        ({"threshold": {"rating": 4}}, "threshold: makes labels"),
        ({"whitening_dim": 3}, "whitening_dim: is of whitening: pca, received zca"),
        ({"field_separator": ""}, "field_separator"),
        ({"enable_amp": "maybe"}, "enable_amp: must be a valid boolean, received 'maybe'"),
        ({"shuffle": "yes"}, "shuffle: must be a valid boolean"),
        ({"worker": -1}, "worker: must be greater than or equal to 0"),
        ({"rm_dup_inter": "frist"}, "rm_dup_inter: unknown choice 'frist'. Did you mean 'first'"),
        ({"gpu_id": "0", "metrics": ["AUC", "NDCG"]}, "cannot be mixed"),
    ],
)
def test_wrong_settings_are_refused_before_data_is_read(settings, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        config_of(dataset="no-such-dataset", **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "value", [5, "5", "", "[5,)", "[5,inf", "[5;inf)", "[9,5]", "[1,3];5", "[a,b]", [1, 2, 3]]
)
@pytest.mark.parametrize("key", ["user_inter_num_interval", "item_inter_num_interval"])
def test_a_filter_that_recbole_would_leave_out_is_refused(key: str, value) -> None:
    with pytest.raises(RequestError, match=rf"{key}: must be intervals, as .* received "):
        config_of(**{key: value})


@pytest.mark.usefixtures("image_files")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"item_features": "txt"}, "item_features: unknown feature 'txt'. Did you mean 'text'?"),
        ({"item_features": ["text", "imgae"], "modalities": {"image": "image.npy"}},
         "unknown feature 'imgae'. Did you mean 'image'? Known: id, image, text."),
        ({"modalities": {"image": "image.npy"}}, "modalities.image: item_features does not use it"),
        ({"modalities": {"text": "image.npy"}}, "modalities.text: text is a feature of its own"),
        ({"item_features": "image", "modalities": {"image": "image.pt"}},
         "modalities.image: must be a .npy or .safetensors file, received 'image.pt'"),
        ({"item_features": "image", "modalities": {"image": "no.npy"}}, "no.npy is no file"),
        ({"item_features": "image", "modalities": {"image": "alone.npy"}},
         "alone.ids is no file. Write the raw item id of each row of alone.npy"),
        ({"item_features": "text", "fusion": "gate"}, "fusion: gate fuses two item_features"),
        ({"adaptor": {"txt": "mlp"}}, "adaptor.txt: unknown feature with vectors 'txt'. Did you"),
        ({"adaptor": {"id": "mlp"}}, "adaptor.id: unknown feature with vectors 'id'"),
        ({"model": "SASRec", "item_features": "text", "adaptor": "mlp"},
         "adaptor: is for our models, which SASRec is not; received 'mlp'"),
        ({"model": "SASRec", "item_features": ["text", "id"], "fusion": "gate"}, "fusion: is for"),
        ({"model": "SASRec", "item_features": "image", "modalities": {"image": "image.npy"}},
         "modalities: is for our models"),
    ],
)  # fmt: skip
def test_wrong_item_features_are_refused(settings, words: str) -> None:
    settings = {"model": "LLMInterestLSTM"} | settings
    with pytest.raises(RequestError) as caught:
        LLMConfig(settings.pop("model"), "ml-100k", None, settings)
    assert words in str(caught.value)


@pytest.mark.parametrize("model", ["SASRec", "LLMInterestLSTM"])
def test_vectors_that_nothing_reads_are_not_treated(model: str) -> None:
    """Or a row would be called a control and be none."""
    own = {"item_features": "id"} if model == "LLMInterestLSTM" else {}
    with pytest.raises(RequestError, match="text_control: is for texts, which no item_features"):
        config_of(model, text_control="shuffled", **own)
    with pytest.raises(RequestError, match="whitening_dim: is for vectors of texts or modalities"):
        config_of(model, whitening="pca", whitening_dim=3, **own)
    config_of(
        model, item_features="text", text_control="shuffled", whitening="pca", whitening_dim=3
    )


@pytest.mark.parametrize(
    "place", [{"training": "prefixes"}, {"benchmark_filename": ["train", "valid", "test"]}], ids=str
)
@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("augmentation", {"augmentation": ["crop"]}),
        ("contrastive_views: augmented", {"contrastive_weight": 0.1}),
    ],
)
def test_what_changes_windows_is_refused_where_there_are_none(key, settings, place) -> None:
    with pytest.raises(RequestError, match=f"{key}: changes windows, and training on prefixes"):
        config_of(**settings, **place)
    config_of(**settings)
    config_of(**place, contrastive_weight=0.1, contrastive_views="same_target")


def test_two_readings_that_cannot_differ_are_refused() -> None:
    settings = {"contrastive_weight": 0.1, "contrastive_views": "dropout"}
    with pytest.raises(RequestError, match="contrastive_views: dropout compares two readings"):
        config_of(dropout_prob=0.0, **settings)
    config_of(dropout_prob=0.0, item_noise=0.1, **settings)
    config_of(dropout_prob=0.1, **settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("item_noise", 0.1),
        ("augmentation", ["mask"]),
        ("adversarial_weight", 0.5),
        ("contrastive_weight", 0.1),
        ("propensity_weighting", "snips"),
        ("propensity_clip", 0.5),
        ("popularity_adjustment", 0.5),
        ("label_smoothing", 0.1),
        ("interest_combination", "gate"),
        ("interest_pooling", "sum"),
        ("num_negatives", 16),
        ("negative_sampling", "in_batch"),
        ("contrastive_views", "dropout"),
    ],
)
def test_terms_of_robustness_are_refused_for_recboles_models(key: str, value) -> None:
    with pytest.raises(RequestError, match=f"{key}: is for our models, which SASRec is not"):
        config_of("SASRec", **{key: value})


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


@pytest.mark.parametrize(
    ("key", "words"), [("eval_args.mod", "'mode'"), ("eval_arg.mode", "'eval_args'")]
)
def test_an_unknown_dotted_key_is_suggested(key: str, words: str) -> None:
    with pytest.raises(RequestError, match=f"Did you mean {words}"):
        LLMConfig("SASRec", "ml-100k", arguments={key: "full"})


def test_heads_must_divide_the_default_size_too() -> None:
    with pytest.raises(RequestError, match="hidden_size: must be divisible by 3, received 64"):
        config_of("SASRec", n_heads=3)
    with pytest.raises(RequestError, match="hidden_size: must be divisible by 4, received 130"):
        config_of("LLMInterestTransformer", hidden_size=130)


@pytest.mark.parametrize("model", ["lightgbm", "xgboost"])
def test_a_model_whose_package_is_absent_says_so(model: str) -> None:
    with pytest.raises(RequestError, match=f"{model} needs a package: No module named"):
        LLMConfig(model, "ml-100k")


@pytest.mark.parametrize("model", ["RaCT", "S3Rec"])
def test_models_that_hand_over_pickles_are_refused(model: str) -> None:
    with pytest.raises(RequestError, match="hand over a pickle"):
        config_of(model, train_stage="pretrain")


def test_check_names_all_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: LLMInterestLST\nepochs: -1\nlearning_rat: 1\n")
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


SIMILAR = "repeat_bias: true\nsimilarity_bias: true\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrics: [NDGC]", "unknown metric 'NDGC'"),
        ("valid_metric: FOO@3", "unknown metric 'FOO'"),
        ("eval_args: {mod: full}", "unknown key of eval_args 'mod'"),
        ("item_features: txt", "unknown feature 'txt'. Did you mean 'text'"),
        ("item_features: [text, image]\nmodalities: {imgae: a.npy}", "Did you mean 'imgae'"),
        ("metrics: [NDCG]\ntopk: [5]\nvalid_metric: NDCG@10", "Did you mean 'NDCG@5'"),
        ("text_encoder: tfidf\ntext_pooling: cls\n", "text_pooling: is for language models"),
        ("text_tuning: last_layers\nitem_features: id\n", "text_tuning: last_layers trains the"),
        ("model: SASRec\npopularity_adjustment: 0.5\n", "popularity_adjustment: is for our models"),
        ("model: SASRec\nsimilarity_bias: true\n", "similarity_bias: is for our models"),
        ("similarity_bias: true\n", "Set repeat_bias: true"),
        (f"{SIMILAR}item_features: id\n", "similarity_bias: compares texts"),
        (f"{SIMILAR}text_tuning: last_layers\n", "similarity_bias: compares vectors that stay"),
        (f"{SIMILAR}loss_type: MSE\n", "which loss_type MSE does not"),
    ],
)
def test_check_finds_what_a_run_would(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RequestError) as caught:
        check_file(tmp_path / "a.yaml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("model", "rules"),
    [
        ("LLMInterestLSTM", {
            "loss_type: CEE": "unknown loss 'CEE'",
            "window_overlap: 80": "window_overlap",
            "training: prefixes\naugmentation: [crop]": "augmentation",
            "filter_seen: true\neval_args: {mode: uni100}": "filter_seen",
        }),
        ("SASRec", {
            "item_noise: 0.1": "item_noise: is for our models",
            "loss_type: BPR\ntraining: all_positions": "needs loss_type CE",
        }),
    ],
)  # fmt: skip
def test_check_of_a_whole_file_knows_the_rules_of_a_run(tmp_path, model, rules) -> None:
    (file := tmp_path / "a.yaml").write_text(
        "\n".join([f"model: {model}\ndataset: ml-100k\nepocs: 1", *rules])
    )
    with pytest.raises(RequestError) as caught:
        check_settings(file)
    said = str(caught.value)
    assert said.startswith(f"{file}: {len(rules) + 1} problems") and "epocs" in said
    assert all(words in said for words in rules.values())
    file.write_text(f"model: {model}\ndataset: ml-100k\n")
    check_settings(file)


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("LLMInterestLSTM", {"label_smoothing": 0.1, "loss_type": "SCE"}, "is of loss_type CE"),
        ("LLMInterestLSTM", {"num_negatives": 9}, "num_negatives: is of loss_type SCE, BCE"),
        ("LLMInterestLSTM", {"negative_sampling": "in_batch"}, "negative_sampling: is of loss"),
        (
            "LLMInterestLSTM",
            {"gbce_calibration": 0.5, "loss_type": "BCE"},
            "gbce_calibration: is of loss_type GBCE; received BCE",
        ),
        ("GRU4Rec", {"window_overlap": 2}, "window_overlap: is for our models and, with training"),
        ("GRU4Rec", {"training": "all_positions", "temperature": 0.1}, "temperature: is for our"),
        ("SASRec", {"scoring": "cosine"}, "scoring: is for our models, which SASRec is not"),
        ("SASRec", {"adaptor_experts": 2}, "adaptor_experts: is for our models"),
        (
            "SASRec",
            {"training": "all_positions", "repeat_bias": True, "benchmark_filename": ["a"] * 3},
            "repeat_bias: is for our models and, with training: all_positions and no benchmark",
        ),
        ("LLMInterestLSTM", {"window_overlap": 50}, "window_overlap: must be below"),
        ("SASRec", {"training": "all_positions", "window_overlap": 50}, "window_overlap: must be"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(model: str, settings, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        config_of(model, train_neg_sample_args=None, MAX_ITEM_LIST_LENGTH=50, **settings)
