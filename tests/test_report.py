"""What a result says of a run beyond its metrics, and which users and cases it speaks of."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_llm import run_recbole
from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.data.users import user_columns
from recbole_llm.errors import DataError
from recbole_llm.ranking_metrics import expected_metric
from recbole_llm.ranks import COLUMNS, OLD_COLUMNS, RANKS, Ranks, read_ranks, write_ranks
from recbole_llm.report import cold_items
from recbole_llm.train.scorers import scorer_of

SMALL = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 32, "topk": [1, 5],
    "valid_metric": "NDCG@5", "MAX_ITEM_LIST_LENGTH": 3, "show_progress": False,
    "metrics": ["NDCG", "Hit"],
}  # fmt: skip
SASREC = {"n_layers": 1, "inner_size": 8}
COLD = {"split": {"cold_start": {"shares": [0.6, 0.2, 0.2]}}}


def shop(num_users: int = 60) -> list[tuple[str, str, float]]:
    """Return random events of 4 to 12 steps a user over 30 items, some far more popular."""
    rng = np.random.default_rng(0)
    return [
        (f"u{user}", f"i{int(30 * rng.random() ** 2)}", float(100 * user + step))
        for user in range(num_users)
        for step in range(4 + user % 9)
    ]


@pytest.fixture
def folder(write_dataset) -> Path:
    data = write_dataset([*shop(), ("alone", "i1", 0.0)], {f"i{k}": f"film {k}" for k in range(30)})
    rows = ["user_id:token\tgender:token\tage:float\tzip:token"]
    rows += [f"u{k}\t{'FM'[k % 2]}\t{15 + k % 45}.0\tz{k}" for k in range(60) if k != 7]
    (data / "toy" / "toy.user").write_text("\n".join(rows) + "\n")
    return data


def run(folder: Path, model: str = "LLMInterestLSTM", **settings: Any) -> tuple[dict, Ranks]:
    own = {"item_features": "id"} if model.startswith("LLM") else SASREC
    chosen = SMALL | own | {"data_path": str(folder)} | settings
    run_dir = run_recbole(model, "toy", config_dict=chosen)["run_dir"]
    return json.loads(Path(run_dir, "result.json").read_text()), read_ranks(run_dir)


def test_slices_add_up_to_the_metrics(folder) -> None:
    result, ranks = run(folder)
    assert set(result["slices"]) == {
        "item_popularity", "history_length", "user.gender", "user.age", "weights"
    }  # fmt: skip
    for kind, groups in result["slices"].items():
        cases = sum(one["cases"] for one in groups.values())
        assert cases == (59 if kind.startswith("user.") else 60)  # of u7 nothing is known
        for name, value in result["test_result"].items():
            total = sum(one["cases"] * one["metrics"][name] for one in groups.values())
            if cases == 60 and kind != "weights":
                assert total / 60 == pytest.approx(value, abs=1e-9)
    alike = result["slices"]["weights"]["each item alike"]
    hits = pd.Series(expected_metric("hit", ranks, k=5)).groupby(ranks.items).mean()
    assert alike["metrics"]["hit@5"] == pytest.approx(hits.mean()) and alike["items"] == len(hits)
    assert list(result["slices"]["history_length"]) == ["1-4", "5-9", "10-19"]
    gender = result["slices"]["user.gender"]
    assert [gender[name]["cases"] for name in "FM"] == [30, 29]
    gap = result["gaps"]["user.gender"]
    values = {name: gender[name]["metrics"]["ndcg@5"] for name in "FM"}
    assert gap["metric"] == "ndcg@5" and gap["gap"] == abs(values["F"] - values["M"])
    assert values[gap["best"]] - values[gap["worst"]] == gap["gap"]
    assert gap["worst_value"] == values[gap["worst"]]


def test_the_curve_has_each_validation(folder) -> None:
    result, _ = run(folder, epochs=3)
    curve = result["curve"]
    assert [point["epoch"] for point in curve] == [0, 1, 2]
    assert [point["valid"] for point in curve].index(result["best_valid_score"]) == (
        result["best_epoch"]
    )
    seconds = [point["seconds"] for point in curve]
    assert sorted(seconds) == seconds and seconds[0] > 0
    assert seconds[-1] <= result["seconds"]["train"] + result["seconds"]["evaluate"]


@pytest.mark.slow
def test_lists_of_a_model_without_text_are_compared_if_asked(folder) -> None:
    result, _ = run(folder, "SASRec")
    assert result["lists"]["text_diversity@5"] is None
    asked, _ = run(folder, "SASRec", text_diversity=True)
    texts = (
        run(folder, item_features="text")[0],
        run(folder, item_features="text", text_diversity=True)[0],
    )
    assert asked["test_result"] == result["test_result"]
    assert 0 < asked["lists"]["text_diversity@5"] < 1 and asked["text"] is None
    assert texts[0]["lists"] == texts[1]["lists"] and texts[0]["lists"]["text_diversity@5"] > 0
    unread, _ = run(folder, "SASRec", text_diversity=True, text_encoder="nobody/nothing")
    assert unread["test_result"] == result["test_result"]
    assert unread["lists"]["text_diversity@5"] is None
    (folder / "toy" / "toy.item").unlink()
    without, _ = run(folder, "SASRec", text_diversity=True)
    assert without["lists"]["text_diversity@5"] is None
    log = next(Path(without["run_dir"]).glob("*.log")).read_text(encoding="utf-8")
    assert "WARNING  text_diversity: lists are not compared: " in log


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec"])
def test_ranks_know_popularity_and_the_whole_history(folder, model) -> None:
    _, ranks = run(folder, model)
    walks: dict[str, list[str]] = {}
    for user, item, _ in shop():
        walks.setdefault(user, []).append(item)
    trained = [item for walk in walks.values() for item in walk[:-2]]  # no one trains on "alone"
    for user, item, popularity, history in zip(
        ranks.users, ranks.items, ranks.popularity, ranks.history, strict=True
    ):
        assert history == len(walks[user]) - 1  # more than the 3 that the model reads
        assert popularity == trained.count(item) and item == walks[user][-1]
    assert ranks.users_without_case == ["alone"]


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec"])
@pytest.mark.parametrize("filter_seen", [False, True])
@pytest.mark.parametrize("split", [COLD, {"split": {"time_cut": [0.5, 0.25, 0.25]}}])
def test_the_ranks_of_our_splits_join_to_users(write_dataset, model, filter_seen, split) -> None:
    events = [(user, item, time % 100 + k / 1e4) for k, (user, item, time) in enumerate(shop())]
    settings = {"eval_args": split, "filter_seen": filter_seen, "epochs": 1}
    result, ranks = run(write_dataset(events), model, **settings)
    assert sorted(ranks.users + ranks.users_without_case) == sorted({u for u, _, _ in events})
    assert len(ranks.users) > 5
    assert result["protocol"]["eval_args"]["split"] == split["split"]
    if split is COLD:
        assert set(result["slices"]["item_popularity"]) == {"cold"}
        assert (ranks.popularity == 0).all()
    assert (ranks.candidates < 30).any() == filter_seen
    assert (ranks.history >= 1).all()


@pytest.mark.parametrize("split", [COLD, {"split": {"time_cut": [0.5, 0.25, 0.25]}}])
def test_a_constant_scorer_has_the_metrics_of_chance_in_our_splits(write_dataset, split) -> None:
    events = [(user, item, time % 100 + k / 1e4) for k, (user, item, time) in enumerate(shop())]
    settings = {"data_path": str(write_dataset(events)), "item_features": "id", "eval_args": split}
    config = LLMConfig("LLMInterestLSTM", "toy", None, SMALL | settings)
    _, train, _, test = prepare(config)
    trainer = trainer_class(config)(config, build_model(config, train))
    trainer.eval_collector.data_collect(train)
    torch.nn.init.ones_(trainer.model.items.embedding.weight)
    found = trainer.evaluate(test, load_best_model=False)
    assert found["hit@5"] == pytest.approx(5 / (test.dataset.item_num - 1))
    if split is COLD:
        among = trainer.rank_among(test, cold_items(config, train.dataset))
        assert expected_metric("hit", among, k=5).mean() == pytest.approx(5 / 12)


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec"])
def test_cold_items_are_ranked_among_themselves_too(write_dataset, model) -> None:
    events = [(user, item, time % 100 + k / 1e4) for k, (user, item, time) in enumerate(shop())]
    own = {"item_features": "id"} if model.startswith("LLM") else SASREC
    settings = SMALL | own | {"data_path": str(write_dataset(events)), "eval_args": COLD}
    config = LLMConfig(model, "toy", None, settings | {"metrics": ["NDCG", "ItemCoverage"]})
    _, train, _, test = prepare(config)
    trainer = trainer_class(config)(config, build_model(config, train))
    is_cold = cold_items(config, train.dataset)
    assert is_cold[1:].sum() == 30 - 18  # six tenths of the items are trained
    found = trainer.rank_among(test, is_cold)
    targets = test.dataset.inter_feat["item_id"]
    scorer = scorer_of(trainer.model, test)
    with torch.no_grad():
        scores = scorer.scores(scorer.read(0, len(targets)), slice(0, len(targets)))
    beside = scores[:, 1:][:, is_cold[1:]]
    above = (beside > scores.gather(1, targets[:, None])).sum(1)
    assert found.above.tolist() == above.tolist() and is_cold[targets].all()
    assert (found.candidates == 12).all() and found.lists.shape[1] == 0


def test_a_result_says_the_metrics_among_cold_items_of_a_cold_start_split(write_dataset) -> None:
    events = [(user, item, time % 100 + k / 1e4) for k, (user, item, time) in enumerate(shop())]
    result, ranks = run(write_dataset(events), eval_args=COLD)
    ((name, one),) = result["slices"]["candidates"].items()
    assert (name, one["cases"], one["items"]) == ("cold items only", len(ranks.users), 12)
    everywhere = result["slices"]["item_popularity"]["cold"]
    assert everywhere["metrics"] == pytest.approx(result["test_result"])
    assert one["metrics"].keys() == result["test_result"].keys()
    assert all(one["metrics"][key] >= value for key, value in result["test_result"].items())
    assert one["metrics"]["hit@5"] > result["test_result"]["hit@5"]
    plain, _ = run(write_dataset(events))
    assert "candidates" not in plain["slices"]


def test_lists_are_the_same_whether_a_metric_needs_them_or_not(folder) -> None:
    result, _ = run(folder)
    with_metric, _ = run(folder, metrics=["NDCG", "ItemCoverage", "AveragePopularity"])
    assert result["lists"] == with_metric["lists"]
    assert result["test_result"]["ndcg@5"] == with_metric["test_result"]["ndcg@5"]
    facts = with_metric["lists"]
    assert with_metric["test_result"]["itemcoverage@5"] == pytest.approx(
        facts["coverage@5"] * 30 / 31  # RecBole counts padding as an item
    )
    assert set(facts) == {
        "coverage@5", "gini@5", "popularity@5", "novelty@5", "text_diversity@5"
    }  # fmt: skip


def test_slices_have_gauc_which_has_no_cutoff(folder) -> None:
    result, _ = run(folder, metrics=["NDCG", "GAUC"], valid_metric="GAUC")
    assert result["best_valid_score"] == result["best_valid_result"]["gauc"]
    groups = result["slices"]["history_length"].values()
    assert [set(one["metrics"]) for one in groups] == [{"ndcg@1", "ndcg@5", "gauc"}] * len(groups)
    total = sum(one["cases"] * one["metrics"]["gauc"] for one in groups)
    cases = sum(one["cases"] for one in groups)
    assert total / cases == pytest.approx(result["test_result"]["gauc"])


def test_lists_end_where_candidates_do(write_dataset) -> None:
    events = [(f"u{user}", f"i{(user + k) % 7}", float(k)) for user in range(8) for k in range(6)]
    result, ranks = run(write_dataset(events), filter_seen=True)
    assert (ranks.candidates == 2).all()  # five of seven are seen
    assert 0 < result["lists"]["coverage@5"] <= 1
    assert result["lists"]["gini@5"] >= 0


@pytest.mark.parametrize(
    ("model", "settings"), [("SASRec", {"eval_args": {"mode": "uni5"}}), ("BPR", {})]
)
def test_other_evaluations_say_that_they_have_no_slices(folder, model, settings) -> None:
    chosen = SMALL | (SASREC if model == "SASRec" else {}) | settings
    run_dir = run_recbole(model, "toy", config_dict=chosen | {"data_path": str(folder)})["run_dir"]
    result = json.loads(Path(run_dir, "result.json").read_text())
    assert [result[key] for key in ("slices", "gaps", "lists")] == [None] * 3
    assert len(result["curve"]) == 2


def test_a_spoiled_file_of_users_costs_no_result(folder) -> None:
    (folder / "toy" / "toy.user").write_text("user_id:token\tgender:token\nu1\n")
    result, _ = run(folder)
    assert set(result["slices"]) == {"item_popularity", "history_length", "weights"}
    assert result["gaps"] == {}
    log = next(Path(result["run_dir"]).glob("*.log")).read_text(encoding="utf-8")
    assert "WARNING  No groups of users" in log and "toy.user:2" in log


def test_columns_of_users_that_make_groups(tmp_path) -> None:
    path = tmp_path / "x.user"
    assert user_columns(path, id_field="user_id") == ({}, {})
    rows = ["user_id:token\tjob:token\tage:token\tone:token\tnote:token_seq\tscore:float"]
    rows += [f"u{k}\t{'' if k == 3 else k % 2}\t{k}\tx\twords\t{k}" for k in range(60)]
    path.write_text("\n".join([*rows, "u1\t0\t1\tx\tw\t1"]) + "\n")
    groups, ages = user_columns(path, id_field="user_id")
    assert list(groups) == ["job"] and list(ages) == ["age"]  # 60 ages are no groups
    assert groups["job"]["u1"] == "1" and "u3" not in groups["job"]
    assert ages["age"]["u59"] == 59.0
    path.write_text("user_id:token\tage:float\nu1\told\nu2\t7\n")
    assert user_columns(path, id_field="user_id") == ({}, {})
    path.write_text("user:token\n\tu1\n")
    with pytest.raises(DataError):
        user_columns(path, id_field="user_id")


def test_a_file_of_ranks_made_before_has_no_new_columns(tmp_path) -> None:
    counts = np.arange(3)
    write_ranks(tmp_path, Ranks(["a", "b", "c"], ["p"] * 3, counts, counts, counts, ["d"]))
    with gzip.open(tmp_path / RANKS, "rt") as text:
        header, *rows = csv.reader(text)
    assert tuple(header) == OLD_COLUMNS == COLUMNS[:5]
    assert rows[-1] == ["d", "", "", "", ""]
    ranks = read_ranks(tmp_path)
    assert ranks.popularity is None and ranks.history is None
    assert ranks.users_without_case == ["d"] and ranks.above.tolist() == [0, 1, 2]
