"""Sweeps in YAML: what they hold, and what is refused."""

from __future__ import annotations

import pytest

from recbole_llm.cli import main
from recbole_llm.errors import RequestError
from recbole_llm.sweep.checks import check_sweep

POINT = {"learning_rate": 0.01, "num_layers": 1}
WRONG = {
    "two kinds": (
        {"space": {"learning_rate": {"uniform": [0.1, 1.0], "choice": [1]}}},
        r"space.learning_rate: must hold one of uniform, loguniform, int, choice",
    ),
    "no kind": ({"space": {"learning_rate": {}}}, "must hold one of uniform"),
    "upside down": (
        {"space": {"learning_rate": {"uniform": [1.0, 0.1]}}},
        r"space.learning_rate.uniform: must be \[low, high\], low below high, received",
    ),
    "log of zero": (
        {"space": {"learning_rate": {"loguniform": [0.0, 0.1]}}},
        "loguniform.0: must be greater than 0, received 0.0",
    ),
    "a choice twice": (
        {"space": {"num_layers": {"choice": [1, 1]}}},
        "space.num_layers.choice: must be distinct",
    ),
    "unknown key": ({"budgets": {}}, "unknown key 'budgets'. Did you mean 'budget'"),
    "unknown kind": (
        {"space": {"num_layers": {"chioce": [1]}}},
        "space.num_layers: unknown key 'chioce'. Did you mean 'choice'",
    ),
    "unknown setting": (
        {"space": {"learning_rat": {"choice": [1.0]}}},
        "unknown setting 'learning_rat'. Did you mean 'learning_rate'",
    ),
    "bad end": (
        {"space": {"dropout_prob": {"uniform": [0.0, 1.0]}}},
        "space.dropout_prob: must be less than 1, received 1.0",
    ),
    "set twice": (
        {"space": {"epochs": {"int": [1, 2]}}},
        "space.epochs: is set for all trials too. Keep one.",
    ),
    "seed": ({"space": {"seed": {"int": [1, 2]}}}, "space.seed: cannot be tried"),
    "metric in settings": (
        {"settings": {"valid_metric": "NDCG@3"}},
        r"settings: cannot hold valid_metric \(the sweep's metric is it\)",
    ),
    "protocol": (
        {"space": {"MAX_ITEM_LIST_LENGTH": {"int": [10, 50]}}},
        "space.MAX_ITEM_LIST_LENGTH: says how is measured; trials would not compare",
    ),
    "what the model does not read": (
        {"space": {"n_layers": {"int": [1, 2]}}},
        r"space.n_layers: \w+ reads none; all its values would be one. Leave it out",
    ),
    "what another setting turns on": (
        {"space": {"contrastive_temperature": {"uniform": [0.1, 0.5]}}},
        "space.contrastive_temperature: is of contrastive_weight above 0, received",
    ),
    "protocol in settings": (
        {"settings": {"filter_seen": True}},
        "settings.filter_seen: says how is measured, and the best YAML would hold it",
    ),
    "unknown metric": (
        {"metric": "ndgc@3"}, "unknown metric 'ndgc'. Did you mean 'ndcg'",
    ),
    "a metric without a length": ({"metric": "ndcg"}, "[^_]metric: "),
    "no end": ({"budget": {}}, "budget: must hold trials or hours, else the sweep has no end"),
    "grid of a continuum": (
        {"searcher": "grid"},
        "space.learning_rate: a grid needs values it can visit one by one, choice or int",
    ),
    "condition on nothing": (
        {"space": {"num_layers": {"int": [1, 2], "when": {"scoring": "cosine"}}}},
        "space.num_layers.when.scoring: unknown setting above it 'scoring'",
    ),
    "condition never met": (
        {
            "space": {
                "scoring": {"choice": ["inner"]},
                "temperature": {"uniform": [0.1, 1.0], "when": {"scoring": "cosine"}},
            }
        },
        "space.temperature.when.scoring: must be a value of scoring or a list, received 'cosine'",
    ),
    "conditions that exclude each other": (
        {
            "space": {
                "num_layers": {"choice": [1, 2]},
                "scoring": {"choice": ["inner", "cosine"], "when": {"num_layers": 1}},
                "temperature": {
                    "uniform": [0.1, 1.0], "when": {"scoring": "cosine", "num_layers": 2},
                },
            }
        },
        "space.temperature.when: cannot be met together with what it hangs on",
    ),
    "unknown model": (
        {"model": "LLMInterestLSMT"}, "model: unknown model 'LLMInterestLSMT'. Did you mean",
    ),
    "a classifier": (
        {"model": "LLMInterestClassifier", "settings": {}},
        "model: LLMInterestClassifier is not trained in our loop, and cannot be swept",
    ),
    "more points than trials": (
        {"points_to_evaluate": [POINT, {**POINT, "num_layers": 2}], "budget": {"trials": 1}},
        "points_to_evaluate: 2 points are more than budget.trials, 1. Raise it",
    ),
    "condition of two meanings": (
        {
            "space": {
                "item_features": {"choice": ["text", "id", ["text", "id"]]},
                "fusion": {"choice": ["sum"], "when": {"item_features": ["text", "id"]}},
            }
        },
        r"when.item_features: is a value .* and a list of some. Write \[\['text', 'id'\]\]",
    ),
    "pbt of a shape": (
        {"scheduler": "pbt"},
        "space.num_layers: pbt changes settings of a trained model, of which it is not",
    ),
    "pbt with a condition": (
        {
            "scheduler": "pbt",
            "space": {
                "item_noise": {"choice": [0.0, 0.2]},
                "dropout_prob": {"uniform": [0.1, 0.5], "when": {"item_noise": 0.2}},
            },
        },
        "space.dropout_prob: pbt moves all settings at once. Leave when out.",
    ),
    "continuum of vectors": (
        {"space": {"text_max_length": {"uniform": [4.0, 8.0]}}},
        "space.text_max_length: each value needs vectors of its own. Use choice or int",
    ),
    "a point of another space": (
        {"points_to_evaluate": [{**POINT, "num_layer": 1}]},
        "points_to_evaluate.0: unknown setting of the space 'num_layer'. Did you mean 'num_layers'",
    ),
    "a point that is not whole": (
        {"points_to_evaluate": [POINT, {"num_layers": 1}]},
        "points_to_evaluate.1.learning_rate: is missing; a point has a value for each setting",
    ),
    "a point outside": (
        {"points_to_evaluate": [{**POINT, "num_layers": 1.0}]},
        r"points_to_evaluate.0.num_layers: must be of int \[1, 2\], received 1.0",
    ),
    "a point that is a truth": (
        {"points_to_evaluate": [{**POINT, "num_layers": True}]},
        r"points_to_evaluate.0.num_layers: must be of int \[1, 2\], received True",
    ),
    "a point not drawn": (
        {
            "space": {
                "scoring": {"choice": ["inner", "cosine"]},
                "temperature": {"uniform": [0.1, 1.0], "when": {"scoring": "cosine"}},
            },
            "points_to_evaluate": [{"scoring": "inner", "temperature": 0.5}],
        },
        "points_to_evaluate.0.temperature: is drawn only when {'scoring': 'cosine'}. Leave it out",
    ),
    "a point twice": (
        {"points_to_evaluate": [POINT, POINT]},
        "points_to_evaluate: must be distinct",
    ),
    "points of a grid": (
        {
            "searcher": "grid",
            "space": {"num_layers": {"int": [1, 2]}},
            "points_to_evaluate": [{"num_layers": 1}],
        },
        "points_to_evaluate: a grid visits all points. Leave them out",
    ),
    "a point that breaks a rule": (
        {
            "model": "SASRec", "settings": {},
            "space": {"hidden_size": {"choice": [8, 12]}, "n_heads": {"int": [1, 4]}},
            "points_to_evaluate": [{"hidden_size": 8, "n_heads": 3}],
        },
        "space.hidden_size: must be divisible by 3, received 8",
    ),
    "a scheduler that is none": (
        {"scheduler": "ahsa"},
        "scheduler.kind: must be 'asha', 'median', 'pbt' or 'none', received 'ahsa'",
    ),
    "no scheduler": (
        {"scheduler": None}, "scheduler.kind: must be 'asha', .* or 'none', received None",
    ),
    "a list for a dimension": (
        {"space": {"learning_rate": [1e-3, 1e-2]}},
        "space.learning_rate: must be a mapping of uniform, loguniform, int, choice, when, as",
    ),
    "a number for a budget": (
        {"budget": 12}, "budget: must be a mapping of trials, hours, trial_hours, disk_gb",
    ),
    "a GPU and a half": (
        {"resources": {"gpus": 1.5}},
        "resources.gpus: must be whole above 1: a share is of one, received 1.5",
    ),
    "a grid larger than its budget": (
        {
            "searcher": "grid", "budget": {"trials": 3},
            "space": {"num_layers": {"int": [1, 2]}, "dropout_prob": {"choice": [0.1, 0.2]}},
        },
        "budget.trials: the grid has more than 3 points, and all are visited. Leave trials out",
    ),
    "data drawn from the seed": (
        {"model": "BPR", "settings": {}, "space": {"learning_rate": {"choice": [0.1, 0.01]}}},
        r"finalists.seeds: must be \[2020\], the sweep's seed: .*eval_args.order: RO.*\[1, 2\]",
    ),
    "vectors drawn from the seed": (
        {"settings": {"text_control": "random"}},
        r"finalists.seeds: must be \[2020\].*\(text_control: random\)",
    ),
    "vectors drawn from the seed, in the space": (
        {"settings": {}, "space": {"text_control": {"choice": ["none", "shuffled"]}}},
        r"finalists.seeds: must be \[2020\].*\(text_control: shuffled\)",
    ),
    "a control": ({"model": "Popularity", "settings": {}}, "is not trained in our loop"),
    "no validation": (
        {"settings": {"eval_step": 2}}, "eval_step: must be 1: every epoch is validated",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said(write_sweep, toy_data, parts, words) -> None:
    with pytest.raises(RequestError, match=words):
        check_sweep(write_sweep(**parts), data_path=toy_data)


SOUND = {
    "the sweep's own seed": {
        "model": "BPR", "settings": {}, "space": {"learning_rate": {"choice": [0.1, 0.01]}},
        "finalists": {"top": 2, "seeds": [2020]},
    },
    "an order in time": {
        "model": "BPR", "settings": {}, "space": {"learning_rate": {"choice": [0.1, 0.01]}},
        "protocol": {"topk": [3], "eval_args": {"order": "TO"}},
    },
    "whole GPUs": {"resources": {"gpus": 2.0}},
    "more integers than memory holds": {
        "settings": {"loss_type": "SCE"}, "space": {"num_negatives": {"int": [1, 10**12]}},
        "points_to_evaluate": [{"num_negatives": 5}],
    },
    "a grid within its budget": {
        "searcher": "grid", "budget": {"trials": 2}, "space": {"num_layers": {"int": [1, 2]}},
    },
}  # fmt: skip


@pytest.mark.parametrize("parts", SOUND.values(), ids=SOUND.keys())
def test_what_is_sound_is_taken(write_sweep, toy_data, parts) -> None:
    check_sweep(write_sweep(**parts), data_path=toy_data)


def test_all_that_is_wrong_is_said_at_once(write_sweep, capsys) -> None:
    file = write_sweep(
        budget={}, space={"seed": {"int": [1, 2]}, "topk": {"choice": [1, 2]}}, model="LSTN"
    )
    assert main(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert "5 problems" in said
    assert all(word in said for word in ("budget:", "space.seed:", "space.topk:", "dataset:"))


def test_a_metric_is_read_in_any_case(write_sweep, toy_data) -> None:
    assert check_sweep(write_sweep(metric="NDCG@3"), data_path=toy_data).metric == "ndcg@3"


def test_check_tells_sweeps_from_other_files(write_sweep, capsys) -> None:
    assert main(["check", str(write_sweep(dataset="ml-100k"))]) == 0
    assert "toy.yaml: ok" in capsys.readouterr().out


def test_check_knows_a_sweep_whose_space_is_misspelt(write_sweep, capsys) -> None:
    file = write_sweep()
    file.write_text(file.read_text().replace("space:", "spaces:"))
    assert main(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert "2 problems" in said and "space: is missing" in said
    assert "unknown key 'spaces'. Did you mean 'space'" in said


def test_check_of_a_dataset_of_ones_own_takes_its_folder(
    write_sweep, toy_data, tmp_path, capsys
) -> None:
    """As the message says, for sweeps and suites alike."""
    suite = tmp_path / "suite.yaml"
    suite.write_text("{metric: ndcg@10, datasets: {toy: {}}, models: {a: {model: Popularity}}}")
    files = [str(write_sweep()), str(suite)]
    assert main(["check", *files]) == 2
    assert capsys.readouterr().err.count("--data_path=FOLDER") == 2
    assert main(["check", *files, f"--data_path={toy_data}"]) == 0
    assert capsys.readouterr().out.count(": ok") == 2
    assert main(["check", f"--data_path={toy_data}"]) == 2
    assert "names no file" in capsys.readouterr().err
    assert main(["check", *files, "--data_pth=x"]) == 2
    assert "unknown option '--data_pth'. Did you mean '--data_path'" in capsys.readouterr().err
