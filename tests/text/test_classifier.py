"""A language model learns from the texts of a history and a candidate what is bought."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from recbole_llm.build import prepare
from recbole_llm.config import LLMConfig
from recbole_llm.errors import DataError, RequestError
from recbole_llm.quick_start import load_run, run_recbole
from recbole_llm.train.classification import class_report
from recbole_llm.train.engine import Engine

TITLES = {"t": "toy", "g": "golden", "f": "four", "m": "film"}
Rows = list[tuple[str, str, float, float]]


def write(folder: Path, rows: Rows, titles: dict[str, str] = TITLES) -> dict[str, Any]:
    """Write a dataset with ratings and return settings that name it."""
    place = folder / "shop"
    place.mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    lines += [f"{user}\t{item}\t{rating}\t{time!r}" for user, item, rating, time in rows]
    (place / "shop.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["item_id:token\ttitle:token_seq"]
    lines += [f"{item}\t{title}" for item, title in titles.items()]
    (place / "shop.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"data_path": str(folder), "show_progress": False, "text_max_length": 16}


def tastes(users: int) -> Rows:
    """Return events of users whose first item tells which of the next two they buy."""
    draw, rows = random.Random(0), []
    for user in range(users):
        first = draw.choice("tg")
        for step, item in enumerate([first, *draw.sample("fm", 2)]):
            is_bought = step == 0 or (item == "f") == (first == "t")
            rows.append((f"u{user}", item, 5.0 if is_bought else 1.0, user + step / 4))
    return rows


def small(bert: Path, **more: Any) -> dict[str, Any]:
    return {
        "text_encoder": str(bert), "text_dtype": "float32", "enable_amp": False,
        "classifier_layers": None, "learning_rate": 0.02, "warmup_steps": 0, "epochs": 6,
        "train_batch_size": 32, "dropout_prob": 0.0, 
        "lr_scheduler_type": "constant", "stopping_step": 9, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def learnt(wide_bert, tmp_path_factory) -> dict[str, Any]:
    """Return the result of a run on data in which only history and candidate together tell."""
    folder = tmp_path_factory.mktemp("learnt")
    settings = write(folder / "data", tastes(240)) | small(wide_bert, epochs=7, learning_rate=0.01)
    settings |= {"valid_metric": "LogLoss"}
    settings |= {"checkpoint_dir": str(folder / "saved")}
    return run_recbole("LLMInterestClassifier", "shop", config_dict=settings)


def test_what_history_and_candidate_tell_together_is_learnt(learnt) -> None:
    assert learnt["test_result"]["auc"] > 0.95
    assert learnt["test_result"]["logloss"] < 0.35


def test_the_result_reports_on_each_class(learnt) -> None:
    stored = json.loads((Path(learnt["run_dir"]) / "result.json").read_text())
    report = stored["classification"]
    assert report["bought"]["support"] + report["not_bought"]["support"] == 72
    assert report["bought"]["f1"] > 0.8 and report["not_bought"]["recall"] > 0.8
    assert stored["protocol"]["max_length"] == 20 and stored["text"]["matched"] == 4
    assert stored["text"]["truncated"] == 0 and len(stored["text"]["encoder"]["weights"]) == 64
    log = next(Path(learnt["run_dir"]).glob("*.log")).read_text()
    assert "auc" in log and "logloss" in log and "precision" in log


def test_a_run_is_loaded_with_what_it_learnt(learnt) -> None:
    _, model, *_, test = load_run(learnt["run_dir"])
    labels, scores = [], []
    with torch.no_grad():
        for interaction, *_ in test:
            labels.append(interaction["label"])
            scores.append(model.predict(interaction))
    report = class_report(torch.cat(labels).numpy(), torch.cat(scores).numpy())
    stored = json.loads((Path(learnt["run_dir"]) / "result.json").read_text())
    assert report == stored["classification"]


def test_a_frozen_encoder_is_not_in_the_checkpoint(tiny_bert, tmp_path) -> None:
    settings = write(tmp_path, tastes(20)) | small(tiny_bert, classifier_layers=0, epochs=1)
    result = run_recbole("LLMInterestClassifier", "shop", config_dict=settings)
    with safe_open(Path(result["run_dir"]) / "model.safetensors", "pt") as file:
        assert {name.split(".")[0] for name in file.keys()} == {"weight/head"}  # noqa: SIM118
    _, model, *_ = load_run(result["run_dir"])
    assert not any(p.requires_grad for p in model.encoder.parameters())


class CrashError(Exception):
    """Stands in for a crash."""


def test_a_stopped_run_goes_on_bit_for_bit(tiny_bert, tmp_path, monkeypatch) -> None:
    settings = write(tmp_path, tastes(20)) | small(tiny_bert, classifier_layers=0, epochs=2)
    settings |= {"dropout_prob": 0.1, "stopping_step": 9, "train_batch_size": 8}
    whole = run_recbole("LLMInterestClassifier", "shop", config_dict=settings)
    run_epoch, run_dir = Engine._run_epoch, str(tmp_path / "run")

    def crash(self, data, epoch, *args, **kwargs):
        loss = run_epoch(self, data, epoch, *args, **kwargs)
        if epoch == 1:
            raise CrashError
        return loss

    with monkeypatch.context() as context, pytest.raises(CrashError):
        context.setattr(Engine, "_run_epoch", crash)
        settings |= {"run_dir": run_dir}
        run_recbole("LLMInterestClassifier", "shop", config_dict=settings)
    resumed = run_recbole(resume=run_dir)
    assert resumed["test_result"] == whole["test_result"]
    one, other = (load_file(Path(r["run_dir"]) / "model.safetensors") for r in (whole, resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def history_of(rows: Rows, settings: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """Return the raw items of the history of each case of all parts, by user and item."""
    config = LLMConfig("LLMInterestClassifier", "shop", config_dict=settings)
    dataset, *loaders = prepare(config)
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    found = {}
    for loader in loaders:
        cases = loader.dataset[torch.arange(len(loader.dataset))]
        for user, item, history, length in zip(
            cases["user_id"], cases["item_id"], cases["item_id_list"], cases["item_length"],
            strict=True,
        ):  # fmt: skip
            assert not history[length:].any()
            found[users[user], items[item]] = [str(items[one]) for one in history[:length]]
    assert len(found) == len(rows)
    return found


def chance(users: int = 8, items: int = 9) -> tuple[Rows, dict[str, str]]:
    """Return events in no order of time, some at one time, and titles."""
    draw = random.Random(1)
    rows = [
        (f"u{user}", f"i{item}", float(draw.randint(1, 5)), 1e9 + draw.randint(0, 12))
        for user in range(users)
        for item in draw.sample(range(items), 6)
    ]
    return rows, {f"i{item}": "film" for item in range(items)}


def before(rows: Rows, row: tuple[str, str, float, float], *, least: float) -> list[str]:
    """Return the items that a row's user had before it, ties in file order."""
    own = sorted((r for r in rows if r[0] == row[0]), key=lambda r: r[3])
    return [r[1] for r in own[: own.index(row)] if r[2] >= least]


@pytest.mark.parametrize(
    ("order", "group_by", "history"),
    [("TO", None, "all"), ("RO", "user", "all"), ("TO", "user", "bought")],
)
def test_a_history_is_what_came_before_in_exact_order(tmp_path, order, group_by, history) -> None:
    rows, titles = chance()
    split = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": order, "group_by": group_by}
    settings = write(tmp_path, rows, titles) | {"eval_args": split, "classifier_history": history}
    least = 4.0 if history == "bought" else 0.0
    expected = {row[:2]: before(rows, row, least=least) for row in rows}
    assert history_of(rows, settings) == expected
    short = history_of(rows, settings | {"MAX_ITEM_LIST_LENGTH": 2})
    assert short == {case: items[-2:] for case, items in expected.items()}


def test_what_comes_later_changes_no_history(tmp_path) -> None:
    rows, titles = chance()
    settings = write(tmp_path, rows, titles)
    middle = sorted(row[3] for row in rows)[len(rows) // 2]
    found = history_of(rows, settings)
    later = [row for row in rows if row[3] > middle]
    draw = random.Random(2)
    draw.shuffle(later)  # other items at later times, other labels
    changed = [row for row in rows if row[3] <= middle]
    changed += [(a[0], a[1], 6 - a[2], b[3]) for a, b in zip(later, reversed(later), strict=True)]
    again = history_of(changed, write(tmp_path, changed, titles))
    early = {row[:2] for row in rows if row[3] <= middle}
    assert len(early) > 10 and all(found[case] == again[case] for case in early)


def test_the_cases_of_the_test_are_the_last_ones(tmp_path) -> None:
    rows, titles = chance()
    config = LLMConfig("LLMInterestClassifier", "shop", config_dict=write(tmp_path, rows, titles))
    dataset, *loaders = prepare(config)
    times = [loader.dataset.inter_feat["timestamp"] for loader in loaders]
    assert times[0].max() <= times[1].min() and times[1].max() <= times[2].min()
    assert dataset.item_feat is None  # texts are not joined into batches


def test_negatives_may_be_drawn_where_nothing_is_rated(tiny_bert, tmp_path) -> None:
    rows, titles = chance()
    settings = (
        write(tmp_path, rows, titles)
        | small(tiny_bert, epochs=1)
        | {
            "threshold": None,
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
            "eval_args": {"mode": "uni1", "split": {"LS": "valid_and_test"}, "group_by": "user"},
        }
    )
    result = run_recbole("LLMInterestClassifier", "shop", config_dict=settings)
    stored = json.loads((Path(result["run_dir"]) / "result.json").read_text())
    assert stored["classification"]["bought"]["support"] == 8
    assert stored["classification"]["not_bought"]["support"] == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eval_args": {"mode": "full"}}, "eval_args.mode: a classifier reads each pair"),
        ({"text_backend": "onnx"}, "needs gradients, which onnx has not"),
        ({"eval_args": {"mode": "uni1"}}, "threshold: makes the labels, and so do drawn"),
        ({"threshold": {"a": 1, "b": 2}}, "threshold: must be one column"),
        ({"threshold": {"timestamp": 4}}, "threshold: takes the place of its column"),
        ({"classifier_layers": -1}, "classifier_layers: must be greater"),
        ({"classifier_history": "liked"}, "classifier_history: unknown choice 'liked'"),
        ({"text_dim": 8}, "text_dim: is for vectors"),
        ({"item_features": "text"}, "item_features: is for sequence models"),
        ({"benchmark_filename": ["a"]}, "benchmark_filename: a classifier finds"),
        (
            {"classifier_history": "bought", "eval_args": {"order": "RO"}},
            "would show training the labels of the test",
        ),
    ],
)
def test_a_wrong_request_is_one_clear_problem(settings, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        LLMConfig("LLMInterestClassifier", "ml-100k", config_dict=settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": {"ratin": 4}}, "Did you mean 'rating'"),
        (  # a column that only the threshold would have loaded
            {"threshold": {"ratin": 4}, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}},
            "Did you mean 'rating'",
        ),
        ({"threshold": None}, "there is no column 'label' .* Set threshold"),
    ],
)
def test_labels_that_are_not_there_are_an_error(tmp_path, settings, words: str) -> None:
    rows, titles = chance()
    columns = {"load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}
    given = write(tmp_path, rows, titles) | columns | settings
    config = LLMConfig("LLMInterestClassifier", "shop", config_dict=given)
    with pytest.raises(DataError, match=words):
        prepare(config)


def test_a_threshold_of_another_column_is_loaded(ml_100k) -> None:
    config = LLMConfig("LLMInterestClassifier", "ml-100k", config_dict={"threshold": {"age": 4}})
    assert config["load_col"] == {"inter": ["user_id", "item_id", "timestamp", "age"]}


def test_the_report_on_classes_is_that_of_the_definition() -> None:
    labels = torch.tensor([1, 1, 1, 0, 0]).numpy()
    scores = torch.tensor([0.9, 0.5, 0.2, 0.6, 0.1]).numpy()  # said: 1 1 0 1 0
    report = class_report(labels, scores)
    assert report["bought"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3.0}
    )
    assert report["not_bought"] == pytest.approx(
        {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2.0}
    )
    assert report["accuracy"] == pytest.approx(3 / 5) and report["cut"] == 0.5


def test_a_class_that_is_never_named_has_no_precision() -> None:
    report = class_report(torch.tensor([1.0, 0.0]).numpy(), torch.tensor([0.1, 0.1]).numpy())
    assert report["bought"]["precision"] == 0.0 and report["bought"]["recall"] == 0.0


@pytest.mark.slow
def test_the_bundled_encoder_learns_on_ml_100k_in_few_steps() -> None:
    few = {
        "epochs": 1, "user_inter_num_interval": "[0,22]", "text_max_length": 32,
        "classifier_layers": 1, "warmup_steps": 2, "show_progress": False,
    }  # fmt: skip
    result = run_recbole("LLMInterestClassifier", "ml-100k", config_dict=few)
    assert 0.0 < result["test_result"]["auc"] < 1.0
    assert 0.0 < result["test_result"]["logloss"] < 0.9
