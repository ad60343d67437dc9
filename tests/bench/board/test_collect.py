"""Which rows a board has, what it lacks, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_llm.bench.boards import Board
from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.results import ranks_path
from recbole_llm.errors import RequestError, unknown_name
from recbole_llm.eval_checks import FILTERS


def board_of(results: Any, **options: Any) -> Board:
    """Return the only board of made-up results."""
    (board,) = read_boards(results.folder, **options).boards
    return board


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_rows_are_sorted_by_the_suites_metric_and_absent_ones_come_last(small) -> None:
    board = board_of(small)
    assert [(row.label, row.seeds) for row in board.rows] == [
        ("LLMInterestLSTM", "2"),
        ("GRU4Rec", "2/3"),
        ("Popularity", "2"),
        ("SASRec_100% & more", "0/1"),
        ("BERT4Rec", "0/1"),
    ]
    means = [row.mean("test_result", "ndcg@10") for row in board.rows[:3]]
    assert means == sorted(means, reverse=True)


def test_what_is_not_there_has_a_reason_and_no_score(small) -> None:
    board = board_of(small)
    found = {(row.label, one.seed): one for row in board.rows for one in row.absences}
    failed = found["GRU4Rec", 2022]
    assert (failed.status, failed.reason[:30]) == ("failed", "OutOfMemoryError: 3 GiB wanted")
    skipped, missing = found["SASRec_100% & more", 2020], found["BERT4Rec", 2020]
    assert (skipped.status, skipped.reason) == ("skipped", "too slow")
    assert (missing.status, missing.reason) == ("missing", "not run yet")
    assert board.rows[1].summary("test_result", "ndcg@10").values == tuple(
        run.facts["test_result"]["ndcg@10"] for run in board.rows[1].runs
    )
    assert board.rows[3].summary("test_result", "ndcg@10") is None


def test_a_dataset_without_any_run_is_a_board_of_what_is_missing(made, results) -> None:
    results.absent(made.lstm, "ml-1m", 2020)
    results.write_plan()
    board = board_of(results)
    assert (board.fingerprint, board.reference, board.rows[0].seeds) == ("", None, "0/1")


def test_without_a_plan_the_board_shows_what_it_finds(made, results) -> None:
    results.add(made.lstm, "ml-100k", 2020)
    results.fail(made.gru4rec, "ml-100k", 2020, "ValueError: no")
    board = board_of(results)
    assert [(row.label, row.seeds) for row in board.rows] == [
        ("LLMInterestLSTM", "1"),
        ("GRU4Rec", "0/1"),
    ]
    assert board.metric == "ndcg@10"  # the records' valid_metric


def test_a_record_that_the_suite_dropped_is_left_out_and_named(made, results) -> None:
    results.add(made.lstm, "ml-100k", 2020)
    results.write_plan()
    old = results.add(made.gru4rec, "ml-100k", 2020)
    boards = read_boards(results.folder)
    assert [row.label for row in boards.boards[0].rows] == ["LLMInterestLSTM"]
    assert boards.left_out == [f"ml-100k/{old.name}"]


@pytest.mark.parametrize(
    ("part", "key", "here", "there"),
    [
        ("protocol", "max_length", 50, 200),
        ("versions", "versions.recbole-llm", "0.1.0", "0.2.0"),
    ],
)
def test_two_rulers_are_two_boards_that_say_what_differs(
    made, results, part: str, key: str, here: Any, there: Any
) -> None:
    for seed in (2020, 2021):
        path = results.add(made.lstm, "ml-100k", seed)
        results.add(made.gru4rec, "ml-100k", seed)
    facts = json.loads(path.read_text("utf-8"))[part]
    change = {part: facts | {key.removeprefix("versions."): there}}
    results.add(made.popularity, "ml-100k", 2020, **change)
    results.absent(made.popularity, "ml-100k", 2021)
    results.write_plan()
    first, second = read_boards(results.folder).boards
    assert [row.label for row in first.rows] == ["LLMInterestLSTM", "GRU4Rec"]
    assert [row.label for row in second.rows] == ["Popularity"]
    assert second.rows[0].seeds == "1/2"  # a missing run stays with its label
    assert (first.differs, second.differs) == ({key: here}, {key: there})
    assert first.fingerprint != second.fingerprint and first.name != second.name
    assert {label for label, _metric in first.comparisons} == {"GRU4Rec"}
    assert second.comparisons == {}


@pytest.mark.parametrize("part", ["settings", "protocol"])
def test_other_filters_of_data_are_another_ruler(made, results, part: str) -> None:
    """Of records before they were in the protocol, the settings say them."""
    filters = dict.fromkeys(FILTERS) | {"item_inter_num_interval": "[5,inf)"}
    results.add(made.lstm, "ml-100k", 2020)
    path = results.add(made.gru4rec, "ml-100k", 2020)
    facts = json.loads(path.read_text("utf-8"))[part]
    rewrite(path, **{part: facts | (filters if part == "settings" else {"filters": filters})})
    first, second = read_boards(results.folder).boards
    said = {one.rows[0].label: one.differs for one in (first, second)}
    assert said["GRU4Rec"] == {"filters.item_inter_num_interval": "[5,inf)"}
    assert said["LLMInterestLSTM"] == {"filters.item_inter_num_interval": None}


def test_a_run_that_failed_when_it_was_run_again_has_no_score(made, results) -> None:
    for seed in (2020, 2021):
        results.add(made.lstm, "ml-100k", seed)
    results.fail(made.lstm, "ml-100k", 2021, "ValueError: no")
    results.plan.pop()  # it was wanted already
    results.write_plan()
    (row,) = board_of(results).rows
    assert row.seeds == "1/2" and [one.status for one in row.absences] == ["failed"]


def test_a_suites_own_rulers_are_boards_by_name(made, results) -> None:
    for ruler, length in (("R", 50), ("F", 200)):
        settings = {"MAX_ITEM_LIST_LENGTH": length}
        protocol = made.protocol | {"max_length": length}
        results.ruler = ruler
        results.add(made.lstm, "ml-1m", 2020, settings=settings, protocol=protocol)
        results.absent(made.gru4rec, "ml-1m", 2020)
    results.write_plan()
    boards = read_boards(results.folder).boards
    assert [board.title for board in boards] == ["ml-1m, R", "ml-1m, F"]
    assert [board.name for board in boards] == ["ml-1m-R", "ml-1m-F"]
    assert [dict(board.differs) for board in boards] == [{"max_length": 50}, {"max_length": 200}]
    assert [[row.seeds for row in board.rows] for board in boards] == [["1", "0/1"]] * 2


def test_a_row_and_a_ruler_that_were_renamed_keep_their_records(made, results) -> None:
    """A path holds the letters of a label and the settings of a ruler, and not the ruler's name."""
    results.ruler = "R"
    wide, narrow = (made.lstm._replace(label=f"LSTM {size}") for size in ("(64)", "[64]"))
    for row, size in ((wide, 256), (narrow, 64)):
        results.add(row, "ml-100k", 2020, settings={"hidden_size": size})
    labels = {"LSTM (64)": "LSTM [64]", "LSTM [64]": "LSTM, (64)"}
    results.plan = [run | {"label": labels[run["label"]], "ruler": "F"} for run in results.plan]
    results.write_plan()
    board = board_of(results)
    assert board.title == "ml-100k, F"
    sizes = {row.label: row.runs[0].facts["spec"]["settings"] for row in board.rows}
    assert sizes == {"LSTM [64]": {"hidden_size": 256}, "LSTM, (64)": {"hidden_size": 64}}
    assert not [row.absences for row in board.rows if row.absences]


def test_boards_have_names_of_their_own(made, results) -> None:
    for dataset, ruler in (("ml", "x-y"), ("ml-x", "y"), ("ml-x-y-2", None)):
        results.ruler = ruler
        results.add(made.lstm, dataset, 2020)
    results.write_plan()
    names = [board.name for board in read_boards(results.folder).boards]
    assert names == ["ml-x-y", "ml-x-y-2", "ml-x-y-2-2"]


def test_the_reference_is_the_best_model_on_validation(made, results) -> None:
    second = made.lstm._replace(label="LLMInterestGRU", skill=0.5)
    for seed in (2020, 2021):
        results.add(made.lstm, "ml-100k", seed)
        results.add(second, "ml-100k", seed, best_valid_result={"ndcg@10": 0.9})
        results.add(made.gru4rec, "ml-100k", seed, best_valid_result={"ndcg@10": 0.95})
    board = board_of(results)
    assert board.rows[0].label == "LLMInterestLSTM" and board.reference == "LLMInterestGRU"
    asked = board_of(results, reference="GRU4Rec")
    assert asked.reference == "GRU4Rec"
    assert {label for label, _metric in asked.comparisons} == {"LLMInterestLSTM", "LLMInterestGRU"}


def test_an_unknown_reference_is_suggested(small) -> None:
    with pytest.raises(RequestError, match=r"unknown label 'GRU4rec'. Did you mean 'GRU4Rec'"):
        read_boards(small.folder, reference="GRU4rec")
    words = unknown_name("label", "x", {"LLMInterestLSTM, id only", "GRU4Rec"})
    assert words == "unknown label 'x'. Known: 'GRU4Rec', 'LLMInterestLSTM, id only'."


def test_one_seed_has_no_deviation_and_no_test(made, results) -> None:
    for one in (made.lstm, made.gru4rec):
        results.add(one, "ml-100k", 2020)
    board = board_of(results)
    assert board.rows[0].summary("test_result", "ndcg@10").deviation is None
    assert board.tests() == [] and board.detectable("ndcg@10") is None
    assert set(board.comparisons.values()) == {"seeds with ranks in common: 1; a test needs two"}


def test_a_run_without_ranks_keeps_its_row_and_has_no_test(small) -> None:
    for path in (small.folder / "ml-100k").glob("Popularity*.ranks.csv.gz"):
        path.unlink()
    board = board_of(small)
    assert board.comparison("Popularity", "ndcg@10") is None
    assert board.comparison("GRU4Rec", "ndcg@10") is not None
    assert "ranks in common: 0" in board.comparisons["Popularity", "ndcg@10"]


def test_ranks_of_another_run_are_refused(small) -> None:
    one, other = sorted((small.folder / "ml-100k").glob("GRU4Rec*.json"))
    ranks_path(one).write_bytes(ranks_path(other).read_bytes())
    with pytest.raises(RequestError, match="They are of two runs"):
        read_boards(small.folder)


def test_files_that_are_no_records_are_named_all_at_once(small) -> None:
    folder = small.folder / "ml-100k"
    (folder / "foreign.json").write_text('{"score": 1}', "utf-8")
    (folder / "cut.json").write_text('{"schema": 1', "utf-8")
    newer = next(folder.glob("Popularity*.json"))
    rewrite(newer, schema=2)
    with pytest.raises(RequestError) as caught:
        read_boards(small.folder)
    assert all(name in str(caught.value) for name in ("foreign.json", "cut.json", newer.name))


def test_two_records_of_one_run_are_refused(made, results) -> None:
    results.add(made.lstm, "ml-100k", 2020)
    results.add(made.lstm, "ml-100k", 2020, settings={"hidden_size": 8})
    with pytest.raises(RequestError, match="2 records have its label, dataset and seed"):
        read_boards(results.folder)


def test_a_metric_that_no_record_has_is_suggested(small) -> None:
    small.write_plan(metric="ndcg@20")
    with pytest.raises(RequestError, match=r"unknown metric 'ndcg@20'. Did you mean 'ndcg@10'"):
        read_boards(small.folder)


def test_the_folder_above_names_the_suites_below(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "suite.json").write_text("{}")
    (tmp_path / "speed.json").write_text("{}")
    one_of = rf"several suites\. Name one of {tmp_path}/a, {tmp_path}/b\.$"
    with pytest.raises(RequestError, match=one_of):
        read_boards(tmp_path)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"holds no results\. Run recbole-llm bench"):
        read_boards(tmp_path)
