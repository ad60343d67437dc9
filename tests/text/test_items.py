"""Item texts: template, policies, coverage, alignment by raw id."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.errors import DataError
from recbole_llm.text.items import read_item_texts

ROWS = {"1": ("Toy Story", "1995", "Animation Comedy"), "01": ("Other", "1996", "")}


def write(tmp_path: Path, rows=None) -> Path:
    path = tmp_path / "x.item"
    lines = ["item_id:token\ttitle:token_seq\tyear:token\tgenres:token_seq"]
    lines += ["\t".join((item, *cells)) for item, cells in rows or ROWS.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "Toy Story, Animation Comedy"),
        ({"text_fields": ["year", "title"]}, "1995, Toy Story"),
        (
            {"text_template": "{title} ({year}): {{{genres}}}"},
            "Toy Story (1995): {Animation Comedy}",
        ),
    ],
)
def test_columns_make_a_text(tmp_path: Path, settings, text: str) -> None:
    received = read_item_texts(write(tmp_path), catalogue=["1"], **settings)
    assert received.texts == [text]


def test_an_empty_column_leaves_no_comma(tmp_path: Path) -> None:
    assert read_item_texts(write(tmp_path), catalogue=["01"]).texts == ["Other"]


def test_ids_are_compared_letter_by_letter_and_in_any_order(tmp_path: Path) -> None:
    rows = [("2", ("b", "", "")), (" 2", ("c", "", "")), ("[PAD]", ("d", "", "")), *ROWS.items()]
    catalogue = ["01", "[PAD]", "1", " 2", "2"]
    received = read_item_texts(write(tmp_path, rows), catalogue=catalogue)
    assert received.texts == ["Other", "d", "Toy Story, Animation Comedy", "c", "b"]


@pytest.mark.parametrize("catalogue", [["1.0", "2.0"], ["001"]])
def test_no_match_at_all_is_an_error(tmp_path: Path, catalogue) -> None:
    with pytest.raises(DataError, match=r"'1' is not '001'"):
        read_item_texts(write(tmp_path), catalogue=catalogue)


def test_the_report_counts_everything(tmp_path: Path) -> None:
    rows = [
        ("a", ("same", "", "")), ("b", ("same", "", "")), ("a", ("second", "", "")),
        ("c", ("  ", "", " ")), ("z", ("not here", "", "")),
    ]  # fmt: skip
    received = read_item_texts(write(tmp_path, rows), catalogue=["a", "b", "c", "d"])
    report = received.report
    assert received.texts == ["same", "same", None, None]
    assert (report.items, report.matched, report.missing, report.empty) == (4, 3, 1, 1)
    assert (report.duplicate_ids, report.duplicate_texts, report.unused) == (1, 1, 1)
    assert "3 of 4 items" in report.summary()


@pytest.mark.parametrize(
    ("policy", "texts"), [("zero", ["x", None, None]), ("id", ["x", "b", "c"])]
)
def test_policies_for_items_without_text(tmp_path: Path, policy: str, texts) -> None:
    rows = [("a", ("x", "", "")), ("b", ("", "", ""))]
    path = write(tmp_path, rows)
    received = read_item_texts(path, catalogue=["a", "b", "c"], empty_text=policy)
    assert received.texts == texts


def test_words_that_mean_missing_elsewhere_are_words_here(tmp_path: Path) -> None:
    rows = [(word, (word, "", "")) for word in ("None", "NA", "null", "nan", "N/A")]
    received = read_item_texts(write(tmp_path, rows), catalogue=[item for item, _ in rows])
    assert received.texts == ["None", "NA", "null", "nan", "N/A"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"empty_text": "error"}, "1 items have no text .* '9'"),
        ({"min_text_coverage": 0.9}, r"66\.7% of 3 items"),
        ({"text_fields": ["titel"]}, "Did you mean 'title'"),
        ({"text_template": "{titel}"}, "Did you mean 'title'"),
        ({"text_template": "{title.__class__}"}, "plain column"),
        ({"text_template": "{title[0]}"}, "plain column"),
        ({"text_template": "{title!r}"}, "plain column"),
        ({"text_template": "{}"}, "plain column"),
        ({"text_template": "no place"}, "names no column"),
        ({"text_template": "{title"}, "text_template"),
        ({"id_field": "item"}, "Did you mean 'item_id'"),
    ],
)
def test_what_is_refused(tmp_path: Path, settings, words: str) -> None:
    settings = {key.replace("min_text_", "min_"): value for key, value in settings.items()}
    with pytest.raises(DataError, match=words):
        read_item_texts(write(tmp_path), catalogue=["1", "01", "9"], **settings)


def test_no_text_column_asks_for_text_fields(tmp_path: Path) -> None:
    path = tmp_path / "x.item"
    path.write_text("item_id:token\tyear:token\n1\t1995\n")
    with pytest.raises(DataError, match="text_fields to some of: item_id, year"):
        read_item_texts(path, catalogue=["1"])
