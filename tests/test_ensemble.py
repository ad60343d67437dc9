"""Ensembles: what is combined, what is refused, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_llm import run_recbole
from recbole_llm.cli import main
from recbole_llm.ensemble import evaluate_ensemble
from recbole_llm.errors import RequestError

SMALL = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 8, "topk": [1, 3],
    "valid_metric": "NDCG@3", "show_progress": False, "MAX_ITEM_LIST_LENGTH": 5,
}  # fmt: skip


@pytest.fixture
def train(write_dataset):
    """Return a function that trains a small model and returns its result."""
    events = [
        (f"u{user}", f"i{(user * user + step) % 11}", float(step))
        for user in range(20)
        for step in range(7)
    ]
    folder = str(write_dataset(events))

    def run(model: str = "LLMInterestLSTM", **settings) -> dict:
        own = {"item_features": "id"} if model.startswith("LLM") else {}
        own |= {"n_layers": 1, "inner_size": 8} if model == "SASRec" else {}
        return run_recbole(model, "toy", config_dict=SMALL | own | {"data_path": folder} | settings)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings"),
    [("LLMInterestLSTM", {}), ("LLMInterestLSTM", {"popularity_adjustment": 1.0}), ("SASRec", {})],
)
def test_one_run_alone_keeps_its_metrics(train, model: str, settings: dict) -> None:
    metrics = ["NDCG", "MRR", "ItemCoverage", "AveragePopularity"]
    result = train(model, metrics=metrics, **settings)
    found = evaluate_ensemble([result["run_dir"]])
    assert found["valid_result"] == result["best_valid_result"]
    assert found["test_result"] == result["test_result"]


@pytest.mark.slow
def test_seeds_together_are_another_model_and_the_same_one_each_time(train, capsys) -> None:
    runs = [train(seed=seed) for seed in (1, 2)]
    runs.append(train("SASRec", MAX_ITEM_LIST_LENGTH=3, eval_args={"mode": {"valid": "full"}}))
    names = [run["run_dir"] for run in runs]
    found = evaluate_ensemble(names)
    assert found["test_result"] not in [run["test_result"] for run in runs]
    assert found == evaluate_ensemble(names)
    capsys.readouterr()
    assert main(["ensemble", *names]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert found["runs"] == names and found["dataset"] == "toy"


def test_runs_that_differ_are_refused_for_all_their_differences(train) -> None:
    names = [train()["run_dir"], train(filter_seen=True, time_precision="recbole")["run_dir"]]
    names.append(train(user_inter_num_interval="[5,inf)")["run_dir"])
    with pytest.raises(RequestError) as refusal:
        evaluate_ensemble(names)
    message = str(refusal.value)
    assert f"{names[1]}: seen_items_filtered is True, and False in {names[0]}." in message
    assert f"{names[1]}: time_precision is 'recbole', and 'exact'" in message
    assert f"{names[2]}: user_inter_num_interval is '[5,inf)', and" in message


@pytest.mark.slow
def test_a_run_is_evaluated_under_the_other_rule_for_seen_items(train, capsys) -> None:
    runs = {rule: train(filter_seen=rule, epochs=1) for rule in (False, True)}
    names = [run["run_dir"] for run in runs.values()]
    for rule in runs:  # the first epoch's weights do not depend on the rule
        assert main(["ensemble", names[0], f"--filter_seen={rule}"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["test_result"] == runs[rule]["test_result"] and found["filter_seen"] is rule
    assert runs[False]["test_result"] != runs[True]["test_result"]
    assert evaluate_ensemble(names, filter_seen=True)["filter_seen"] is True  # no contradiction


def test_what_is_no_option_is_refused(capsys) -> None:
    assert main(["ensemble", "run", "--filter_sen=true"]) == 2
    assert "Did you mean '--filter_seen'?" in capsys.readouterr().err
    assert main(["ensemble", "run", "--filter_seen=perhaps"]) == 2
    assert "must be true or false, received 'perhaps'" in capsys.readouterr().err


def test_what_is_no_finished_run_is_refused(train, tmp_path: Path) -> None:
    run, updated = train(epochs=1)["run_dir"], tmp_path / "updated"
    updated.mkdir()
    (updated / "config.json").write_text(json.dumps({"updates": [{}]}))
    with pytest.raises(RequestError) as refusal:
        evaluate_ensemble([run, run, str(tmp_path), "nowhere", str(updated)])
    for words in (
        f"{run} is named twice",
        f"{tmp_path} holds no finished run",
        "nowhere: no such run directory",
        f"{updated} was updated with new events",
    ):
        assert words in str(refusal.value)
    assert main(["ensemble"]) == 2


@pytest.mark.parametrize(
    ("model", "settings"), [("SASRec", {"eval_args": {"mode": "uni5"}}), ("BPR", {})]
)
def test_other_evaluations_than_full_ranking_of_sequences_are_refused(
    train, model: str, settings: dict
) -> None:
    run = train(model, epochs=1, **settings)["run_dir"]
    with pytest.raises(RequestError, match="is no sequence model's run"):
        evaluate_ensemble([run])


def test_cases_that_differ_are_refused_whatever_the_files_say(train) -> None:
    names = [train(epochs=1)["run_dir"], train(epochs=1)["run_dir"]]
    file = Path(names[1], "config.json")
    stored = json.loads(file.read_text())
    stored["settings"]["eval_args"]["split"] = {"LS": "test_only"}
    file.write_text(json.dumps(stored))
    with pytest.raises(RequestError, match="has other users, items or targets than"):
        evaluate_ensemble(names)
