"""``recbole-llm explain``, and the script that measures faithfulness, as a user meets them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from recbole_llm.cli import main
from recbole_llm.recommend.explain.command import _is_said

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "faithfulness.py"


def run(capsys, *argv: str) -> str:
    assert main(["explain", *argv]) == 0
    return capsys.readouterr().out


def test_a_table_has_the_most_influential_event_first(trained, recommender, capsys, shop) -> None:
    lines = run(capsys, str(trained()), "--user=u1", "--words").splitlines()
    first = recommender.for_user("u1", k=1)[0]
    assert lines[0].startswith(f"{first.title} ({first.item}): rank 1, score ")
    table = [line.split() for line in lines[4 : 4 + shop.length]]
    influences = [float(row[0]) for row in table]
    assert influences == sorted(influences, reverse=True)
    assert {row[2] for row in table} == set(shop.history("u1"))
    assert lines[-1].count("goods(") == 1 and "Words, of" in lines[-5]


def test_words_with_marks_are_said_and_punctuation_is_not() -> None:
    assert [word for word in ("की", "फ़िल्म", "e\u0301", "2", ",", "—") if not _is_said(word)] == [
        ",",
        "—",
    ]


def test_json_has_all_that_was_asked_for(trained, recommender, capsys, shop) -> None:
    words = [str(trained()), "--user=u1", "--item=i9", "--json", "--words"]
    found = json.loads(run(capsys, *words, "--instead=i3"))
    assert len(found["influences"]) == len(found["instead"]) == shop.length
    assert found["words"]["events"][0]["words"][0][0].startswith("w")
    found = json.loads(run(capsys, *words[:-1], "--event=7", "--instead=i3", "-k", "4"))
    assert found["standing"] != found["standing_then"] and "words" not in found
    assert [one["item"] for one in found["list"]] == [
        one.item for one in recommender.for_user("u1", k=4)
    ]
    assert len(found["list_then"]) == 4
    table = run(capsys, str(trained()), "--user=u1", "--event=7")
    assert "the list as it is, and then" in table and table.count("rank    score") == 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--user=u1"], ["name one run directory"]),
        (["RUN"], ["give one of --user, --history"]),
        (["RUN", "--user=u1", "--event=x", "-k=y"], ["--event: must be the number", "-k: must be"]),
        (["RUN", "--user=u1", "--event=" + "1" * 5000], ["--event: must be the number"]),
        (["RUN", "--history= "], ["history: must have at least one item"]),
        (["RUN", "--user=u1", "--event=8"], ["--event: must be 1 to 7"]),
        (["RUN", "--user=u1", "--event=0"], ["--event: must be 1 to 7"]),
        (["RUN", "--user=u1", "--instead=j3"], ["unknown item 'j3'"]),
        (["RUN", "--user=u1", "--event=1", "-k=99"], ["k: must be 1 to 45"]),
        (["RUN", "--user=u1", "-k=3"], ["-k: is the length of the lists of --event"]),
        (["RUN", "--usr=u1"], ["unknown option '--usr'"]),
    ],
)
def test_a_wrong_request_is_exit_code_2(trained, words, parts, capsys) -> None:
    words = [str(trained()) if word == "RUN" else word for word in words]
    assert main(["explain", *words]) == 2
    captured = capsys.readouterr()
    assert all(part in captured.err for part in parts) and captured.out == ""


def test_help_says_what_there_is(capsys) -> None:
    assert main(["explain", "--help"]) == 0
    assert "--instead=ID" in capsys.readouterr().out


def test_deletion_by_influence_is_more_faithful_than_at_random(
    trained, tmp_path: Path, capsys
) -> None:
    script = runpy.run_path(str(SCRIPT))
    options = ["--users=16", "--most=3", "--repeats=4", "--steps=64"]
    script["main"]([str(trained()), f"--out={tmp_path}", *options])
    found = json.loads((tmp_path / "faithfulness.json").read_text())
    assert found["users"] == 16 and all(len(curve) == 4 for curve in found["curves"].values())
    starts = {round(curve[0], 9) for curve in found["curves"].values()}
    assert len(starts) == 1  # nothing is deleted yet
    areas = found["areas"]
    assert areas["by influence"] < areas["at random"] < areas["least influential first"]
    assert "by integrated gradients" in areas
    assert found["gains"]["at random"] == {"mean": 0.0, "standard_error": 0.0}
    assert "by influence: area" in capsys.readouterr().out
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".svg", ".png"}
