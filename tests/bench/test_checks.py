"""What check says of suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.bench.checks import check_suite, has_data, is_suite
from recbole_llm.cli import main
from recbole_llm.errors import RequestError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SUITES = sorted(file for file in BENCHMARKS.glob("*.yaml") if is_suite(file))


def problems_of(path: Path, **options: Path) -> str:
    with pytest.raises(RequestError) as caught:
        check_suite(path, **options)
    return str(caught.value)


def test_a_sound_suite_is_its_runs(write_suite, toy_data) -> None:
    suite, runs = check_suite(write_suite(), data_path=toy_data)
    assert suite.metric == "ndcg@3" and len(runs) == 4


def test_every_layer_is_checked_and_each_problem_said_once(write_suite, toy_data) -> None:
    path = write_suite(
        sede=[1],
        settings={"learning_rat": 1, "topk": [3], "valid_metric": "NDCG@3"},
        rulers={"R": {"epochs": -1}},
        models={
            "A": {"model": "LLMInterestLSTN"},
            "B": {"model": "SASRec", "settings": {"hidden_size": 63}},
            "C": {"model": "GRU4Rec", "settings_on": {"toy": {"item_features": "txet"}}},
        },
    )
    message = problems_of(path, data_path=toy_data)
    lines = [line.removeprefix("  - ") for line in message.splitlines()]
    assert lines[0] == f"{path}: 6 problems"
    assert lines[1].startswith("unknown key 'sede'. Did you mean 'seeds'?")
    assert lines[2].startswith("settings: unknown setting 'learning_rat'. Did you mean")
    assert lines[3] == "rulers.R: epochs: must be greater than or equal to 0, received -1."
    assert lines[4].startswith("R toy A: unknown model 'LLMInterestLSTN'. Did you mean")
    assert lines[5] == "R toy B: hidden_size: must be divisible by 2, received 63."
    assert lines[6].startswith("R toy C: item_features: unknown feature 'txet'")


def test_many_rows_with_one_problem_are_one_line(write_suite, toy_data) -> None:
    models = {name: {"model": "LLMInterestLSTM"} for name in "ABCDE"}
    settings = {"eval_args": {"order": "RO"}, "topk": [3], "valid_metric": "NDCG@3"}
    message = problems_of(write_suite(models=models, settings=settings), data_path=toy_data)
    assert message.count("\n") == 0
    assert "toy A; toy B; toy C and 2 more: eval_args.order" in message


def test_rows_of_one_table_are_measured_alike(write_suite, toy_data) -> None:
    models = {
        "A": {"model": "GRU4Rec"},
        "B": {"model": "GRU4Rec", "settings": {"MAX_ITEM_LIST_LENGTH": 20}},
    }
    message = problems_of(write_suite(models=models), data_path=toy_data)
    assert "toy B: its max_length is 20, and that of toy A is 50. One table has" in message
    models["B"]["settings"] = {"item_inter_num_interval": "[2,inf)"}
    message = problems_of(write_suite(models=models), data_path=toy_data)
    assert "toy B: its filters is {" in message and "'[2,inf)'" in message
    rulers = {"R": {"MAX_ITEM_LIST_LENGTH": 50}, "F": {"MAX_ITEM_LIST_LENGTH": 20}}
    path = write_suite(models={"A": {"model": "GRU4Rec"}}, rulers=rulers)
    assert len(check_suite(path, data_path=toy_data)[1]) == 4


def test_the_metric_is_one_that_is_measured(write_suite, toy_data) -> None:
    assert "unknown metric 'ndcg@10'. Did you mean 'ndcg@3'" in problems_of(
        write_suite(metric="ndcg@10"), data_path=toy_data
    )


def test_gauc_has_no_cutoff_and_what_is_no_metric_of_ranks_sorts_nothing(
    write_suite, toy_data
) -> None:
    settings = {"metrics": ["NDCG", "GAUC", "ItemCoverage"]}
    check_suite(write_suite(metric="gauc", settings=settings), data_path=toy_data)
    for name in ("gauc@3", "itemcoverage@3"):
        message = problems_of(write_suite(metric=name, settings=settings), data_path=toy_data)
        assert f"unknown metric '{name}'" in message


def test_a_dataset_has_a_yaml_of_ours_or_its_data_is_there(write_suite, toy_data) -> None:
    assert "unknown dataset 'toy'" in problems_of(write_suite())
    assert "Did you mean 'ml-100k'" in problems_of(write_suite(datasets={"ml-100": {}}))
    assert len(check_suite(write_suite(datasets={"ml-1m": {}}))[1]) == 4


def test_data_is_where_a_run_would_read_it(toy_data) -> None:
    assert has_data("toy", toy_data) and has_data("toy", toy_data / "toy")
    assert has_data("ml-100k", None)
    assert not has_data("to", toy_data) and not has_data("toy", None)
    (toy_data / "toy" / "toy.inter").rename(toy_data / "toy" / "toy.train.inter")
    assert has_data("toy", toy_data)


def test_a_row_left_out_need_not_be_right(write_suite, toy_data) -> None:
    models = {"A": {"model": "Nowhere", "skip": {"toy": "not written yet"}}}
    assert check_suite(write_suite(models=models), data_path=toy_data)[1][0].skip


def test_the_command_tells_suites_from_settings(write_suite, tmp_path, capsys) -> None:
    (tmp_path / "settings.yaml").write_text("epochs: 3\n")
    good = write_suite(datasets={"ml-100k": {}})
    assert main(["check", str(good), str(tmp_path / "settings.yaml")]) == 0
    bad = write_suite("bad", datasets={"ml-100k": {}}, models={"A": {"model": "SASRek"}})
    assert main(["check", str(good), str(bad)]) == 2
    assert "Did you mean 'SASRec'" in capsys.readouterr().err


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_the_shipped_suites_are_sound(file: Path) -> None:
    suite, runs = check_suite(file)
    assert suite.about
    controls = [row for row in suite.rows.values() if row.role == "control"]
    assert {"LastItemTextKNN", "Popularity"} <= {row.model for row in controls}
    words = " ".join(str(row.settings) for row in controls)
    assert all(one in words for one in ("'item_features': 'id'", "'random'", "'shuffled'"))
    for one in suite.claim.against if suite.claim else ():  # a test needs two seeds of both
        of_row = {label: {run.seed for run in runs if run.label == label} for label in suite.rows}
        assert len(of_row[suite.claim.row] & of_row[one]) > 1
    if file.stem not in ("ablation", "defaults"):  # which compare parts of one model
        of_role = {label for label, row in suite.rows.items() if row.role == "baseline"}
        assert suite.claim is not None and set(suite.claim.against) <= of_role
        if file.stem != "encoders":  # whose two recommenders have anchors each
            assert suite.sources or set(suite.claim.against) == of_role
