"""``recbole-llm recommend``, as a user meets it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from recbole_llm.cli import main


def run(capsys, *argv: str) -> str:
    assert main(["recommend", *argv]) == 0
    return capsys.readouterr().out


def test_a_table_has_rank_score_item_and_title(trained, recommender, capsys) -> None:
    table = run(capsys, f"--run={trained()}", "--user=u1", "-k", "3").splitlines()
    assert table[0].split() == ["rank", "score", "item", "title"] and len(table) == 5
    expected = recommender.for_user("u1", k=3)
    for place, (line, one) in enumerate(zip(table[2:], expected, strict=True), start=1):
        assert line.split(None, 3) == [str(place), f"{one.score:.4f}", one.item, one.title]


@pytest.mark.parametrize(
    "words",
    [["--user=u1"], ["--history", "i1 i2 i1"], ["--text=w1 w2, goods | w3, goods"]],
)
def test_json_is_one_line(trained, words, capsys, shop) -> None:
    out = run(capsys, f"--run={trained()}", *words, "--json", "--k=4")
    answer = json.loads(out)
    assert out.count("\n") == 1 and len(answer["items"]) == 4
    assert all(one["title"] == shop.title(one["item"]) for one in answer["items"])


def test_a_run_is_named_by_a_word_or_an_option(trained, capsys) -> None:
    words = ["--user=u1", "--json"]
    assert run(capsys, str(trained()), *words) == run(capsys, f"--run={trained()}", *words)
    assert main(["recommend", "a", "--run=b", "--user=u1"]) == 2
    assert "received a b" in capsys.readouterr().err


def test_seen_items_are_kept_when_asked_for(trained, capsys, shop) -> None:
    words = [f"--run={trained()}", "--user=u1", "--json", f"-k={shop.num_items}"]
    left = json.loads(run(capsys, *words))["items"]
    whole = json.loads(run(capsys, *words, "--filter_seen=False"))["items"]
    assert len(whole) == shop.num_items and len(left) == shop.num_items - len(shop.history("u1"))


def test_a_file_is_answered_line_by_line(trained, recommender, tmp_path: Path, capsys) -> None:
    for option, lines in {
        "users": ["u3", "u1", "u3"],
        "histories": ["i1 i2", "", "i3"],
        "texts": ["w1 | w2", "w3 w4", " "],
    }.items():
        file = tmp_path / option
        file.write_text("\r\n".join(lines) + "\r\n")
        out = run(capsys, f"--run={trained()}", f"--{option}={file}", "-k", "2")
        answers = [json.loads(line) for line in out.splitlines()]
        assert len(answers) == len(lines) and all(len(one["items"]) == 2 for one in answers)
        if option == "users":
            assert [one["user"] for one in answers] == lines
            expected = [recommender.for_user(user, k=2) for user in lines]
            found = [[item["item"] for item in one["items"]] for one in answers]
            assert found == [[one.item for one in items] for items in expected]
        else:  # an empty line is a user of whom nothing is known
            (empty,) = (one for one in answers if [] in one.values())
            assert empty["items"] == [asdict(one) for one in recommender.most_popular(2)]


def test_new_items_come_from_a_file(trained, tmp_path: Path, capsys) -> None:
    file = tmp_path / "new.item"
    file.write_text("item_id:token\ttitle:token_seq\tkind:token_seq\nnew\tw9 w9\tgoods\n")
    words = [f"--run={trained()}", "--history=new", "--json", f"--items={file}"]
    assert json.loads(run(capsys, *words))["history"] == ["new"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--user=u1"], ["name one run directory, as RUN or --run=RUN; received none"]),
        (["--run=RUN"], ["give one of --user", "received none"]),
        (["--run=RUN", "--user=u1", "--text=a"], ["received --user, --text"]),
        (["--run=RUN", "--user=u1", "-k", "many"], ["-k: must be a number"]),
        (["--run=RUN", "--user=u1", "--filter_seen=2"], ["--filter_seen: must be true or false"]),
        (["--run=RUN", "--usr=u1"], ["unknown option '--usr'", "'--user'", "received none"]),
        (["--run=RUN", "--user=u1", "--device=tpu"], ["device: must be one of cpu"]),
        (["--run=RUN", "--user=u1", "--device=cpu:0"], ["device: must be one of cpu"]),
        (["--run=RUN", "--user=u1", "--device=cuda:99"], ["device: must be one of cpu"]),
        (["--run=RUN", "--users=none.txt"], ["--users: none.txt: no such file"]),
        (["--run=RUN", "--user=nobody"], ["unknown user 'nobody'"]),
        (["--run=.", "--user=u1"], ["config.json"]),
        (["--run=RUN", "--user=u1", "-k", "99"], ["k: must be 1 to 45"]),
    ],
)
def test_a_wrong_request_is_exit_code_2(trained, words, parts, capsys) -> None:
    words = [word.replace("RUN", str(trained())) for word in words]
    assert main(["recommend", *words]) == 2
    captured = capsys.readouterr()
    assert all(part in captured.err for part in parts) and captured.out == ""


def test_help_says_what_there_is(capsys) -> None:
    assert main(["recommend", "--help"]) == 0
    assert "--histories=FILE" in capsys.readouterr().out
