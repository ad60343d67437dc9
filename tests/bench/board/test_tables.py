"""Tables against committed ones, and what must not break them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.lines import Line2D

from recbole_llm.bench.boards import Board
from recbole_llm.bench.cells import Grid, p_text
from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.figures import curves, pictures, tradeoff
from recbole_llm.bench.grids import grids, notes, protocol
from recbole_llm.bench.metrics import accuracy_columns, fixed, metric
from recbole_llm.bench.page.content import board_content
from recbole_llm.bench.results import ranks_path
from recbole_llm.bench.speeds import SPEEDS
from recbole_llm.bench.tables import csv_text, latex, markdown
from recbole_llm.errors import RequestError
from recbole_llm.ranking_metrics import expected_metric
from recbole_llm.ranks import read_ranks

EXPECTED = Path(__file__).parent / "expected"


@pytest.mark.parametrize(
    ("render", "name"),
    [(markdown, "leaderboard.md"), (latex, "leaderboard.tex"), (csv_text, "leaderboard.csv")],
)
def test_the_small_suite_renders_as_committed(small, render, name: str) -> None:
    found = render(read_boards(small.folder))
    assert found == (EXPECTED / name).read_text(encoding="utf-8")
    assert found == render(read_boards(small.folder))


def test_hostile_names_stay_text(made, results) -> None:
    label = r"<script>alert(1)</script>|a_b*c\[d](e)`f` $x^2~#{&%"
    results.add(made.lstm._replace(label=label), "ml-100k", 2020)
    boards = read_boards(results.folder)
    page = markdown(boards)
    assert "<script" not in page
    assert (
        r"&lt;script&gt;alert(1)&lt;/script&gt;\|a\_b\*c\\\[d\](e)\`f\` \$x^2\~\#\{&amp;%" in page
    )
    assert (
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}\textbar{}"
        r"a\_b{*}c\textbackslash{}{[}d](e)`f` \$x\textasciicircum{}2\textasciitilde{}\#\{\&\%"
    ) in latex(boards)
    rows = csv.DictReader(io.StringIO(csv_text(boards)))
    assert {row["label"] for row in rows} == {label}


def test_gaps_and_curves_are_in_the_metric_of_the_board(made, make_results, tmp_path) -> None:
    """As RecBole's own rows are stopped by MRR, ours by NDCG."""
    results = make_results(tmp_path / "quick", num_users=60)
    results.add(made.lstm, "ml-100k", 2020)
    path = results.add(made.gru4rec, "ml-100k", 2020)
    facts = json.loads(path.read_text())
    values = [facts["slices"]["user.gender"][sex]["metrics"]["ndcg@10"] for sex in "FM"]
    facts["settings"] = {"valid_metric": "MRR@10"}
    facts["gaps"] = {"user.gender": {"metric": "mrr@10", "gap": 0.9, "worst": "x"}}
    path.write_text(json.dumps(facts))
    results.write_plan()
    (board,) = read_boards(results.folder).boards
    (grid,) = (one for one in grids(board) if one.title.startswith("NDCG@10: gap"))
    shown = f"{max(values) - min(values):.4f} ± –, worst {'FM'[values.index(min(values))]}"
    assert [cell.text for cell in grid.rows[1]] == ["GRU4Rec", shown]
    row = next(row for row in board_content(board, [])["rows"] if row["label"] == "GRU4Rec")
    assert row["gaps"] == [["gender", shown]]
    axes = curves(board, board.rows).axes[0]
    assert len(axes.lines) == 1
    assert axes.get_xlabel().endswith(
        "of another metric, several devices or held up, and not drawn: GRU4Rec"
    )


def test_a_curve_is_the_mean_of_seeds_as_far_as_all_of_them_trained(made, make_results, tmp_path):
    """One line a row; the mean does not jump where a seed stops."""
    results = make_results(tmp_path / "quick", num_users=60)
    for seed, valid in ((2020, (0.1, 0.2)), (2021, (0.3, 0.4, 0.9))):
        path = results.add(made.lstm, "ml-100k", seed)
        facts = json.loads(path.read_text())
        epochs = enumerate(valid)
        curve = [
            {"epoch": at, "seconds": (seed - 2019.0) * (at + 1), "valid": v} for at, v in epochs
        ]
        path.write_text(json.dumps(facts | {"curve": curve}))
    results.write_plan()
    (board,) = read_boards(results.folder).boards
    (line,) = curves(board, board.rows).axes[0].lines
    assert line.get_xdata() == pytest.approx([1.5, 3.0])
    assert line.get_ydata() == pytest.approx([0.2, 0.3])
    path.write_text(json.dumps(facts | {"curve": curve, "device": "cuda:0"}))
    (board,) = read_boards(results.folder).boards
    assert "curves" not in [one.name for one in pictures(board)]


def test_each_item_alike_is_of_all_seeds_of_a_row_or_none(made, results) -> None:
    """Old records have it in their ranks alone, which git lacks where they are large."""
    ndcg = {"ndcg@10": 0.125}
    kept = {"weights": {"each item alike": {"cases": 20, "items": 20, "metrics": ndcg}}}
    old = [results.add(made.lstm, "ml-100k", 2020), results.add(made.gru4rec, "ml-100k", 2020)]
    for row in (made.lstm, made.gru4rec):
        results.add(row, "ml-100k", 2021, slices=kept)
    ranks = read_ranks(ranks_path(old[0]))
    ranks_path(old[1]).unlink()
    (board,) = read_boards(results.folder).boards
    keys = "slices", "weights", "each item alike", "metrics", "ndcg@10"
    lstm, gru4rec = (row.summary(*keys) for row in board.rows)
    each = pd.Series(expected_metric("ndcg", ranks, k=10)).groupby(ranks.items).mean()
    assert lstm.mean == pytest.approx((each.mean() + 0.125) / 2) and gru4rec is None


def test_texts_of_lists_are_compared_in_all_seeds_of_a_row_or_none(made, results) -> None:
    for seed, value in ((2020, None), (2021, 0.5)):
        lists = {"coverage@10": 0.25, "text_diversity@10": value}
        results.add(made.gru4rec, "ml-100k", seed, lists=lists)
        results.add(made.lstm, "ml-100k", seed, lists=lists | {"text_diversity@10": 0.5})
    (board,) = read_boards(results.folder).boards
    (grid,) = (one for one in grids(board) if one.title == "What the lists are made of")
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["LLMInterestLSTM", "0.250 ± 0.000", "0.500 ± 0.000"],
        ["GRU4Rec", "0.250 ± 0.000", "–"],
    ]


def test_no_row_of_latex_begins_with_what_ends_a_row(made, results) -> None:
    r"""After ``\\`` an opening bracket begins a length, and an asterisk is swallowed."""
    for label in ("[text, id]", "*best*"):
        results.add(made.lstm._replace(label=label), "ml-100k", 2020)
    page = latex(read_boards(results.folder))
    assert "\n{[}text, id] & " in page and "\n{*}best{*} & " in page


def test_seconds_of_different_devices_are_not_mixed(made, results) -> None:
    results.add(made.lstm, "ml-100k", 2020)
    one = read_boards(results.folder).boards[0]
    assert drawn(one).endswith("nothing cheaper is as good") and "Trained on" not in str(notes(one))
    results.add(made.gru4rec, "ml-100k", 2020, device="cuda:0", seconds={"train": 1.0})
    two = read_boards(results.folder).boards[0]
    assert drawn(two).endswith("nothing cheaper is as good on the same device")
    assert len(dashed(two)) == 2  # neither is cheaper than the other
    assert "Trained on cpu, cuda:0: seconds of different devices do not compare" in str(notes(two))
    results.add(made.gru4rec, "ml-100k", 2021, device="cpu", seconds={"train": 9.0})
    three = read_boards(results.folder).boards[0]
    assert drawn(three).endswith("of several devices or held up, and not drawn: GRU4Rec")
    assert len(dashed(three)) == 1
    accuracy, *_ = grids(three)
    shown = {row[0].text: row[-2].text for row in accuracy.rows}
    assert shown["GRU4Rec"] == "–" != shown["LLMInterestLSTM"]
    lines = csv.DictReader(io.StringIO(csv_text(read_boards(results.folder))))
    means = {one["label"]: one["mean"] for one in lines if one["metric"] == "train_seconds"}
    assert means["GRU4Rec"] == "" != means["LLMInterestLSTM"]


def test_of_rows_that_do_not_differ_no_difference_is_detectable(small) -> None:
    board = read_boards(small.folder).boards[0]
    assert any("show a true difference" in line for line in notes(board))
    alike = {key: replace(one, detectable=0.0) for key, one in board.comparisons.items()}
    assert not any("show a true diff" in one for one in notes(replace(board, comparisons=alike)))


def test_what_a_machine_slept_is_not_of_the_seconds(made, results) -> None:
    """A first epoch may be long, for it prepares; scores of a run that was held up count."""

    def curve(*seconds: float) -> list[dict[str, float]]:
        return [{"epoch": at, "seconds": s, "valid": 0.1} for at, s in enumerate(seconds)]

    kept, slept = curve(200, 210, 220, 230), curve(20, 30, 40, 150)
    results.add(made.gru4rec, "ml-100k", 2020, curve=kept, seconds={"train": 230.0})
    results.add(made.gru4rec, "ml-100k", 2021, curve=slept, seconds={"train": 150.0})
    results.add(made.lstm, "ml-100k", 2020, curve=slept, seconds={"train": 150.0})
    board = read_boards(results.folder).boards[0]
    rows = {row.label: row for row in board.rows}
    assert rows["GRU4Rec"].train_seconds.values == (230.0,)
    assert rows["LLMInterestLSTM"].train_seconds is None
    assert len(rows["GRU4Rec"].summary("test_result", "ndcg@10").values) == 2
    (told,) = (line for line in notes(board) if "machine slept" in line)
    assert "GRU4Rec, seed 2021" in told and "LLMInterestLSTM, seed 2020" in told
    assert "GRU4Rec, seed 2020" not in told
    assert drawn(board).endswith("held up, and not drawn: LLMInterestLSTM")
    (line,) = curves(board, board.rows).axes[0].lines
    assert list(line.get_xdata()) == [200, 210, 220, 230]


def test_a_device_is_its_model_and_precision_is_said(made, results) -> None:
    """An H100 is no H200; records that do not say the model are of a device of their own."""
    results.add(made.lstm, "ml-100k", 2020, device="cuda:0", device_name="H100", precision="bf16")
    results.add(made.lstm, "ml-100k", 2021, device="cuda:0", device_name="H200")
    board = read_boards(results.folder).boards[0]
    assert board.rows[0].devices == ["H100", "H200"] and board.rows[0].train_seconds is None
    assert dict(protocol(board))["device"] == "H100, H200"
    assert dict(protocol(board))["precision"] == "bf16, not said"


def dashed(board: Board) -> list[Line2D]:
    """Return the fronts of the first figure."""
    return [one for one in tradeoff(board, board.rows).axes[0].lines if one.get_ls() == "--"]


def drawn(board: Board) -> str:
    """Return the words below the axis of the first figure."""
    return tradeoff(board, board.rows).axes[0].get_xlabel()


def test_a_page_says_how_far_chance_moves_one_run(made, results) -> None:
    results.add(made.lstm, "ml-100k", 2020)
    (board,) = read_boards(results.folder).boards
    best, cases = board.rows[0].mean("test_result", "recall@10"), results.num_users
    error = (best * (1 - best) / cases) ** 0.5
    told = f"Recall@10 of {best:.4f} over {cases:,} test cases has a standard error of {error:.4f}."
    assert told in notes(board)


def test_a_reason_of_several_lines_is_one_cell(made, results) -> None:
    results.fail(made.lstm, "ml-100k", 2020, "ValueError: one | two\nthree")
    assert "| failed | ValueError: one \\| two three |" in markdown(read_boards(results.folder))


def test_equal_values_share_their_place(made, results) -> None:
    twin = made.lstm._replace(label="LLMInterestLSTM, twin")
    facts = json.loads(results.add(made.lstm, "ml-100k", 2020).read_text("utf-8"))
    ranks_path(
        results.add(twin, "ml-100k", 2020, test_result=facts["test_result"])
    ).unlink()  # they are not those of the twin's result
    results.add(made.popularity, "ml-100k", 2020)
    (board,) = read_boards(results.folder).boards
    places = {row[0].text: row[1].place for row in next(grids(board)).rows}
    assert places == {made.lstm.label: "best", twin.label: "best", "Popularity": "second"}


def test_text_encoders_have_a_table_where_records_tell_of_them(made, results) -> None:
    """The speed is what was measured side by side, not what the records say."""
    raw = {"vectors_per_second": 7.5, "anisotropy": 0.25, "treated_anisotropy": 0.24}
    cached = {"vectors_per_second": 9.5, "anisotropy": 0.25, "treated_anisotropy": -0.001}
    results.add(made.lstm, "ml-100k", 2020, text=raw)
    results.add(made.lstm._replace(label="cached"), "ml-100k", 2020, text=cached)
    results.add(made.lstm._replace(label="old"), "ml-100k", 2020, text={"key": "0"})
    results.add(made.popularity, "ml-100k", 2020, text=None)
    assert encoders_of(results).head[5:] == ["Anisotropy", "Anisotropy, treated"]
    speeds = {"ml-100k": {"vectors_per_second": {made.lstm.label: 1234.5}}}
    (results.folder / SPEEDS).write_text(json.dumps({"datasets": speeds}))
    grid = encoders_of(results)
    assert grid.head == [
        "Model", "NDCG@10", "tail (5)", "cold (5)", "each item alike (20)", "Vectors/s",
        "Anisotropy", "Anisotropy, treated",
    ]  # fmt: skip
    assert grid.notes[-1].startswith("Vectors/s: distinct texts a second of one core, of all enc")
    rows = {cells[0].text: [cell.text for cell in cells[5:]] for cells in grid.rows}
    assert rows == {
        "LLMInterestLSTM": ["1,235", "0.250", "0.240"],
        "cached": ["–", "0.250", "-0.001"],
    }
    boards = read_boards(results.folder)
    (board,) = boards.boards
    cold = {cells[0].text: cells[3].text for cells in grid.rows}
    of_slice = board.rows[0].mean("slices", "item_popularity", "cold", "metrics", "ndcg@10")
    assert cold[board.rows[0].label].startswith(f"{of_slice:.4f}")
    columns = [one["name"] for one in board_content(board, [])["columns"]]
    assert columns == ["train_seconds", "parameters", *raw]
    found = [row for row in csv.DictReader(io.StringIO(csv_text(boards))) if row["metric"] in raw]
    assert {(row["label"], row["mean"]) for row in found if row["metric"] == "anisotropy"} == {
        ("LLMInterestLSTM", "0.25"), ("cached", "0.25"), ("old", ""), ("Popularity", ""),
    }  # fmt: skip


def encoders_of(results) -> Grid:
    """Return the table of text encoders of the only board."""
    (board,) = read_boards(results.folder).boards
    (grid,) = (grid for grid in grids(board) if grid.title == "Text encoders")
    return grid


@pytest.mark.parametrize("content", ["{", "{}", '{"datasets": {"a": {"vectors_per_second": []}}}'])
def test_damaged_speeds_are_one_line(made, results, content: str) -> None:
    results.add(made.lstm, "ml-100k", 2020)
    (results.folder / SPEEDS).write_text(content)
    with pytest.raises(RequestError, match=r"encoders.json: .*Measure again: benchmarks/encoder"):
        read_boards(results.folder)


@pytest.mark.slow
def test_groups_of_other_cases_are_not_compared(made, results) -> None:
    text = {"anisotropy": 0.25}
    path = results.add(made.lstm, "ml-100k", 2020, text=text)
    slices = json.loads(path.read_text("utf-8"))["slices"]
    slices["item_popularity"]["tail"]["cases"] = 4
    slices["item_popularity"]["cold"]["cases"] = 6
    few = made.lstm._replace(label="1 %")
    ranks_path(
        results.add(few, "ml-100k", 2020, slices=slices, text=text)
    ).unlink()  # they are of the slices as made
    boards = read_boards(results.folder)
    (board,) = boards.boards
    assert list(board.slices()) == ["history_length", "user.gender", "weights"]
    assert {one.name for one in pictures(board) if one.name.startswith("slice-")} == {
        "slice-history_length", "slice-user.gender", "slice-weights"
    }  # fmt: skip
    found = {grid.title: grid for grid in grids(board)}
    assert found["Text encoders"].head == [
        "Model", "NDCG@10", "each item alike (20)", "Anisotropy"
    ]  # fmt: skip
    assert not any("item popularity" in title for title in found)
    note = "Not shown by item popularity: the groups are not the same test cases in all rows"
    assert any(line.startswith(note) for line in found["Accuracy and cost"].notes)
    content = board_content(board, [])
    assert [one["label"] for one in content["slices"]] == [
        "history length", "gender", "weights of target items"
    ]  # fmt: skip
    assert any(line.startswith(note) for line in content["notes"])
    rows = csv.DictReader(io.StringIO(csv_text(boards)))
    tails = {row["label"]: row["cases"] for row in rows if row["group"] == "tail"}
    assert tails == {made.lstm.label: "5", "1 %": "4"}


def test_columns_leave_out_what_one_target_makes_equal() -> None:
    names = ["hit@10", "recall@10", "mrr@10", "map@10", "ndcg@5", "precision@5", "itemcoverage@10"]
    assert accuracy_columns(names) == ["ndcg@5", "precision@5", "recall@10", "mrr@10"]
    assert accuracy_columns(["hit@10", "map@10"]) == ["hit@10", "map@10"]


def test_a_metric_knows_label_direction_and_digits() -> None:
    assert metric("ndcg@10").label == "NDCG@10" and metric("ndcg@10").higher_is_better
    assert not metric("gini@10").higher_is_better
    assert metric("train_seconds").text(1234.56) == "1,234.6"
    assert metric("parameters").text(None) == "–"
    assert [metric("anisotropy").text(value) for value in (-0.0004, -0.0006)] == ["0.000", "-0.001"]


def test_numbers_are_rounded_as_what_they_are_and_halves_away_from_zero() -> None:
    assert metric("recall").text(5 / 32) == "0.1563" and fixed(-5 / 32, 4) == "-0.1563"
    assert p_text(0.0045) == "0.004"  # for it is a little less
