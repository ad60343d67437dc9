"""``recbole-llm trajectory``, as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_llm.cli import main
from recbole_llm.recommend.trajectory.gallery import drawn_users

FIGURES = {"heatmap", "heatmap_items", "path", "drift"}  # no word is of several items


@pytest.mark.slow
def test_a_trajectory_is_pictures_and_numbers(world, world_run, tmp_path: Path, capsys) -> None:
    written = []
    for name in ("one", "two"):
        words = [
            str(world_run),
            "--history",
            " ".join(world.history(1000)),
            f"--out={tmp_path / name}",
        ]
        assert main(["trajectory", *words]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["changes"] == [10] and len(said["stretches"]) == 2
        written.append({Path(file).name: Path(file).read_bytes() for file in said["files"]})
    assert written[0] == written[1]  # byte for byte
    expected = {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert written[0].keys() == {*expected, "trajectory.json"}
    facts = json.loads(written[0]["trajectory.json"])
    assert len(facts["steps"]) == world.events and facts["name"] == "this history"
    step = facts["steps"][3]
    assert step["event"] == 4 and step["title"].endswith("the $x_1$ <i>")
    for kind in ("current", "long_term"):
        assert len(step[kind]["place"]) == 2 and len(step[kind]["items"]) == 5
        assert {one["name"] for one in step[kind]["genres"]} == {"calm", "wild", "goods"}


@pytest.mark.slow
def test_a_gallery_is_one_page_that_escapes_what_it_shows(
    world, world_run, tmp_path: Path, capsys
) -> None:
    users = tmp_path / "users.txt"
    users.write_text(f"u1\n{world.odd_name}\nu2\n")
    words = [str(world_run), "--gallery", f"--users={users}", f"--out={tmp_path}"]
    assert main(["trajectory", *words]) == 0
    assert json.loads(capsys.readouterr().out)["users"] == ["u1", world.odd_name, "u2"]
    page = (tmp_path / "index.html").read_text()
    assert world.odd_name not in page and page.count("&lt;b&gt;u0&lt;/b&gt;") >= 2
    assert page.count("<img ") == 9 and "://" not in page and "<script" not in page
    assert f"Events 1 to {world.events}" in page


def test_a_gallery_draws_users_by_a_fixed_seed(atlas, world) -> None:
    drawn = drawn_users(atlas.recommender.requests, 5)
    assert drawn == drawn_users(atlas.recommender.requests, 5) and len(set(drawn)) == 5
    assert len(drawn_users(atlas.recommender.requests, 999)) == 60


@pytest.mark.slow
@pytest.mark.parametrize(
    ("history", "without"), [("i1", {"drift", "path"}), ("i1 i2", {"path"}), ("i1 i2 i3", set())]
)
def test_a_short_history_has_the_figures_that_it_spans(
    world_run, tmp_path: Path, capsys, history, without
) -> None:
    words = [str(world_run), f"--history={history}", f"--out={tmp_path}"]
    assert main(["trajectory", *words]) == 0
    names = {Path(file).stem for file in json.loads(capsys.readouterr().out)["files"]}
    assert names == {*FIGURES, "trajectory"} - without


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--user=u1"], ["name one run directory", "--out: name the folder"]),
        (["RUN", "--out=x"], ["give one of --user, --history, --gallery; received none"]),
        (["RUN", "--out=x", "--user=u1", "--gallery"], ["received --user, --gallery"]),
        (["RUN", "--out=x", "--user=u1", "--most=3"], ["--most: is of --gallery"]),
        (["RUN", "--out=x", "--gallery", "--most=0"], ["--most: must be a number"]),
        (["RUN", "--out=x", "--usr=u1"], ["unknown option '--usr'"]),
        (["RUN", "--out=x", "--user=u99"], ["unknown user 'u99'"]),
        (["RUN", "--out=file", "--user=u1"], ["--out: file is a file"]),
        (["RUN", "--out=file/x", "--user=u1"], ["file/x: cannot be written"]),
        (["RUN", "--out=x", "--gallery", "--users=a", "--most=2"], ["--users and --most"]),
        (["RUN", "--out=x", "--gallery", "--most=" + "9" * 5000], ["--most: must be a number"]),
        (["RUN", "--out=x", "--gallery", "--users=users"], ["user 'u98'", "user 'u99'"]),
        (["RUN", "--out=x", "--gallery", "--users=none"], ["--users: none: no such file"]),
        (["nowhere", "--out=x", "--user=u1"], ["no such run directory"]),
    ],
)
def test_a_wrong_request_is_exit_code_2(world_run, words, parts, capsys) -> None:
    Path("file").write_text("")
    Path("users").write_text("u98\nu1\nu99\n")
    words = [str(world_run) if word == "RUN" else word for word in words]
    assert main(["trajectory", *words]) == 2
    captured = capsys.readouterr()
    assert all(part in captured.err for part in parts) and captured.out == ""


def test_help_says_what_there_is(capsys) -> None:
    assert main(["trajectory", "--help"]) == 0
    assert "--gallery" in capsys.readouterr().out
