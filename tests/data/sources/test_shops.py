"""What is particular to Amazon, Steam, Food.com and MicroLens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from recbole_llm.data.sources.convert import convert
from recbole_llm.data.sources.steam import day_seconds
from recbole_llm.errors import DataError


def converted(name: str, place: Path, out: Path) -> tuple[dict, dict[str, list[list[str]]]]:
    facts = convert(name, place=place, folder=out, overwrite=True)
    parts = {
        path.suffix[1:]: [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        for path in map(Path, facts["files"])
    }
    return facts, parts


def review(user: str, item: str) -> str:
    return json.dumps({"reviewerID": user, "asin": item, "overall": 5, "unixReviewTime": 86400})


def test_raw_reviews_are_cut_to_their_5_core_and_a_5_core_is_taken_as_it_is(
    write_release, tmp_path, pack
) -> None:
    place = write_release("amazon-beauty")
    core, raw = place / "reviews_Beauty_5.json.gz", place / "reviews_Beauty.json.gz"
    core.rename(raw)
    lines = gzip.decompress(raw.read_bytes()).decode().splitlines()
    pack(raw, [review("once", "1"), *lines, review("1", "rare")])
    facts, parts = converted("amazon-beauty", place, tmp_path / "out")
    assert facts["core"] == 5 and facts["as_published"] is None
    assert facts["release"] == {"users": 7, "items": 7, "interactions": 38}
    assert facts["interactions"] == len(parts["inter"]) - 1 == 36
    pack(core, [review("once", "1")])  # both are there: the published core counts
    facts, parts = converted("amazon-beauty", place, tmp_path / "out")
    assert facts["core"] == 1 and parts["inter"][1:] == [["once", "1", "5", "86400"]]
    assert facts["published"] == {"users": 22_363, "items": 12_101, "interactions": 198_502}


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        ({"title": "Oil &amp; Soap", "category": ["A", "B"]}, ["Oil & Soap", "A B", ""]),
        ({"title": "var getTime = 1", "brand": "X"}, ["", "", "X"]),
        ({"title": None, "category": ["A", "</span>"]}, ["", "A", ""]),
        ({"categories": [["A", "B"], ["C"]], "title": "T"}, ["T", "A B", ""]),
        ({"category": []}, ["", "", ""]),
    ],
)
def test_products_as_the_crawl_left_them(product, expected, tmp_path, pack) -> None:
    pack(tmp_path / "Video_Games_5.json.gz", [review("u", "i")])
    pack(tmp_path / "meta_Video_Games.json.gz", [json.dumps({"asin": "i", **product})])
    _, parts = converted("amazon-games", tmp_path, tmp_path / "out")
    assert parts["item"] == [
        ["item_id:token", "title:token_seq", "categories:token_seq", "brand:token_seq"],
        ["i", *expected],
    ]


def test_an_item_without_metadata_is_counted(write_release, tmp_path: Path, pack) -> None:
    place = write_release("amazon-games")
    pack(place / "meta_Video_Games.json.gz", [json.dumps({"asin": "3", "title": "T"})])
    facts, parts = converted("amazon-games", place, tmp_path / "out")
    assert facts["items_without_row"] == 5 and len(parts["item"]) == 2


def test_milliseconds_become_seconds(write_release, tmp_path: Path) -> None:
    for name, column in (("amazon2023-Video_Games", 3), ("microlens-50k", 2)):
        _, parts = converted(name, write_release(name), tmp_path / "out")
        assert parts["inter"][1][column] == "1499990400.007"


def test_days_are_counted_in_utc() -> None:
    assert day_seconds("1970-01-02") == "86400" and day_seconds("2002-05-02") == "1020297600"


def test_a_steam_user_is_a_name_and_a_game_may_lack_what_it_likes(tmp_path: Path, pack) -> None:
    named = {"username": " Ann  of Ur", "product_id": "7", "date": "2017-12-24"}
    pack(tmp_path / "steam_reviews.json.gz", [repr(named)] * 5)
    with pytest.raises(DataError, match="5-core"):
        games = [repr({"title": "no id"}), repr({"id": "7", "title": "Only &amp; a title"})]
        pack(tmp_path / "steam_games.json.gz", games)
        many = [repr(named | {"product_id": str(at)}) for at in range(4)]
        pack(tmp_path / "steam_reviews.json.gz", many)
        converted("steam", tmp_path, tmp_path / "out")
    nobody = [repr(named | {"username": name}) for name in ("", None)]
    pack(tmp_path / "steam_reviews.json.gz", [repr(named)] * 5 + nobody)
    facts, parts = converted("steam", tmp_path, tmp_path / "out")
    assert parts["inter"][1] == [" Ann  of Ur", "7", "1514073600"] and facts["left_out"] == 2
    assert parts["item"][1] == ["7", "Only & a title", "", ""]


@pytest.mark.parametrize(
    ("name", "file", "line", "words"),
    [
        ("steam", "steam_reviews.json", "{'username': 'u', 'product_id': '1'}", "no 'date'"),
        (
            "steam",
            "steam_reviews.json",
            "{'username': 'u', 'product_id': '1', 'date': 'May 1'}",
            "May 1",
        ),
        ("amazon-games", "Video_Games_5.json", '{"reviewerID": "u", "asin": "i"}', "no 'overall'"),
        ("amazon-games", "meta_Video_Games.json", '{"title": "x"}', "no 'asin'"),
        ("amazon2023-Video_Games", "Video_Games.jsonl", '{"user_id": "u"}', "no 'timestamp'"),
    ],
)
def test_a_bad_line_is_named(name, file, line, words, write_release, tmp_path, pack) -> None:
    place = write_release(name)
    pack(place / f"{file}.gz", ["", line])
    with pytest.raises(DataError, match=rf"{file}\.gz:2: .*{words}"):
        converted(name, place, tmp_path / "out")


def test_a_recipe_keeps_its_tags_and_reviews_their_line_breaks(write_release, tmp_path) -> None:
    facts, parts = converted("food", write_release("food"), tmp_path / "out")
    assert parts["item"][1] == ["1", "Tale 1", "for-war drama", "Of old."]
    assert facts["core"] == 5 and facts["release"]["interactions"] == 36
