"""The command, as a user meets it; figures and bytes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.figures import differences, pictures, tradeoff
from recbole_llm.bench.leaderboard import render
from recbole_llm.bench.page import render_page
from recbole_llm.cli import main


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["a", "b"], "received a b"),
        (["nowhere"], "nowhere: no such folder"),
        ([".", "--ot=x"], "unknown option '--ot'. Did you mean '--out'"),
        ([".", "--out"], "--out: must have one value"),
        ([".", "--out=x", "--out=y"], "--out: must have one value"),
        ([".", "--bad=1", "b"], "2 problems"),
        (["."], "holds no results"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(argv, words: str, capsys) -> None:
    assert main(["leaderboard", *argv]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_package_is_named_with_the_remedy(small, monkeypatch, capsys) -> None:
    monkeypatch.delitem(sys.modules, "recbole_llm.bench.figures", raising=False)
    monkeypatch.setitem(sys.modules, "seaborn", None)
    assert main(["leaderboard", str(small.folder)]) == 2
    assert (
        "needs seaborn. In the folder of recbole-llm run: uv sync --extra figures"
        in capsys.readouterr().err
    )


def test_a_place_that_cannot_be_written_is_named(made, results, tmp_path: Path, capsys) -> None:
    results.absent(made.lstm, "ml-100k", 2020)
    results.write_plan()
    (tmp_path / "file").touch()
    assert main(["leaderboard", str(results.folder), f"--out={tmp_path / 'file'}"]) == 2
    assert "file: cannot be written" in capsys.readouterr().err


def test_the_page_allows_itself_nothing_from_outside(made, results) -> None:
    hostile = made.lstm._replace(label="</script><script>alert(1)</script>")
    results.add(hostile, "ml-100k", 2020)
    boards = read_boards(results.folder)
    page = render_page(boards, {})
    assert page == render_page(read_boards(results.folder), {})
    assert "default-src 'none'; script-src 'sha256-" in page
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "alert(1)" in page and "</script><script>alert" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https:" not in page


def test_a_dataset_of_absent_runs_has_no_figures(made, results) -> None:
    results.absent(made.lstm, "ml-1m", 2020)
    results.write_plan()
    (board,) = read_boards(results.folder).boards
    assert list(pictures(board)) == []


@pytest.mark.slow
def test_files_have_names_that_any_system_takes(made, results, tmp_path: Path) -> None:
    """Labels, rulers and columns of users may be called anything."""
    results.ruler = 'a<b>:"|?*'
    groups = {"F": {"cases": 20, "metrics": {"ndcg@10": 0.1}}}
    hostile = made.lstm._replace(label='CON<>:"/|?*. ')
    results.add(hostile, "ml-100k", 2020, slices={"user...\\..\\../x:y": groups})
    results.write_plan()
    out = tmp_path / "site"
    files = render(read_boards(results.folder), out)
    assert {path for path in out.rglob("*") if path.is_file()} == set(files)
    written = [*files, *(path for path in results.folder.rglob("*"))]
    for name in {part for path in written for part in path.relative_to(tmp_path).parts}:
        assert not set(name) & set('<>:"/\\|?*') and not name.endswith((".", " ")), name
        assert name.partition(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


@pytest.mark.filterwarnings("ignore:Glyph")
def test_each_board_and_column_of_users_has_files_of_its_own(made, results, tmp_path) -> None:
    groups = {"F": {"cases": 20, "metrics": {"ndcg@10": 0.1}}}
    for dataset in ("日本", "中国"):
        slices = {"user.性別": groups, "user.年齢": groups}
        results.add(made.lstm, dataset, 2020, slices=slices)
    results.write_plan()
    files = render(read_boards(results.folder), tmp_path / "site")
    assert len(set(files)) == len(files) == 4 + 2 * 2 * 6  # svg and png of six figures a board
    labels = re.findall(r"\\label\{(.+?)\}", (tmp_path / "site" / "leaderboard.tex").read_text())
    assert len(set(labels)) == len(labels) > 2


def test_the_front_joins_what_nothing_cheaper_reaches(small) -> None:
    (board,) = read_boards(small.folder).boards
    rows = [row for row in board.rows if row.runs]
    front, *_rest = tradeoff(board, rows).axes[0].lines
    means = {row.label: row.mean("test_result", "ndcg@10") for row in rows}
    assert list(front.get_ydata()) == [means["Popularity"], means["LLMInterestLSTM"]]


def test_a_full_dot_is_a_significant_difference(small) -> None:
    (board,) = read_boards(small.folder).boards
    axes = differences(board, [row for row in board.rows if row.runs]).axes[0]
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    marks = [board.comparison(label, "ndcg@10").mark for label in ("GRU4Rec", "Popularity")]
    assert marks == ["", "*"] and faces[0] == "white" and faces[1] != "white"


def leaderboard(folder: Path, out: Path, **environment: str) -> dict[str, bytes]:
    """Render in a process of its own and return the files."""
    command = "import sys; from recbole_llm.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", command, "leaderboard", str(folder), f"--out={out}"]
    done = subprocess.run(argv, env=os.environ | environment, capture_output=True, check=True)
    files = json.loads(done.stdout)["files"]
    assert sorted(map(Path, files)) == sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in map(Path, files)}


@pytest.mark.slow
def test_rendering_twice_gives_the_same_bytes(small, tmp_path: Path) -> None:
    first = leaderboard(small.folder, tmp_path / "one", PYTHONHASHSEED="1", TZ="UTC")
    second = leaderboard(small.folder, tmp_path / "two", PYTHONHASHSEED="2", TZ="Asia/Tokyo")
    assert first == second
    stems = ("tradeoff", "seeds", "curves", "differences")
    cuts = ("item_popularity", "history_length", "user.gender", "weights")
    slices = [f"slice-{name}" for name in cuts]
    assert first.keys() == {
        *("leaderboard.md", "leaderboard.csv", "leaderboard.tex", "index.html"),
        *(
            f"figures/ml-100k/{stem}.{kind}"
            for stem in (*stems, *slices)
            for kind in ("svg", "png")
        ),
    }
    for name, content in first.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
            assert b"<dc:date>" not in content
