"""Atomic files: every row, every word, or the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_llm import atomic
from recbole_llm.atomic import read_atomic, read_header
from recbole_llm.errors import DataError

HEADER = "item_id:token\ttitle:token_seq\n"


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "x.item"
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "title",
    [
        'a lone " quote', '"a paired" quote', "None", "NA", "null", "nan", "N/A", "",
        "two  spaces", "漫画 映画", "🎬 film", "فيلم", "e\u0301 combining", "line\u2028separator",
        "x" * 100_000, "<b>HTML</b> &amp;", " leading",
    ],
)  # fmt: skip
def test_a_title_is_read_as_it_is_and_no_row_is_lost(tmp_path: Path, title: str) -> None:
    table = read_atomic(write(tmp_path, f"{HEADER}1\t{title}\n2\tnext\n3\tlast"))
    assert table.columns["title"] == [title, "next", "last"]
    assert table.columns["item_id"] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (("\ufeff" + HEADER + "1\té\n").encode(), None),
        ((HEADER + "1\té\n").replace("\n", "\r\n").encode(), None),
        ((HEADER + "1\té\n").encode("latin-1"), "latin-1"),
        ((HEADER + "1\té\n").encode("utf-16"), "utf-16"),
        ((HEADER + "\n1\té\n\n").encode(), None),
    ],
    ids=["byte order mark", "CRLF", "latin-1", "utf-16", "blank lines"],
)
def test_forms_of_the_same_file(tmp_path: Path, content: bytes, encoding: str | None) -> None:
    path = write(tmp_path, content)
    assert read_header(path, encoding=encoding) == {"item_id": "token", "title": "token_seq"}
    assert read_atomic(path, encoding=encoding).columns == {"item_id": ["1"], "title": ["é"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER.encode() + b"1\tok\n2\tcaf\xe9\n", r"x\.item:3: byte 0xe9 .*latin-1"),
        ((HEADER + "1\tx\n").encode("utf-16"), r"x\.item:1: .*utf-16"),
        (HEADER + "1\ta\0b\n", r"x\.item:2: .*NUL"),
        (HEADER + "1\ta\n2\n", r"x\.item:3: expected 2 cells .*received 1"),
        (HEADER + '1\t"a\tb"\n', r"x\.item:2: expected 2 cells .*received 3"),
        ("item_id\ttitle:token_seq\n1\ta\n", r"x\.item:1: .*'item_id' must be name:type"),
        ("item_id:tokn\n1\n", r"x\.item:1: .*'tokn'.* Did you mean 'token'"),
        ("a:token\ta:token\n1\t2\n", r"x\.item:1: .*'a' is named twice"),
        ("", r"x\.item:1: .*empty"),
    ],
)
def test_what_is_wrong_is_named_by_line(tmp_path: Path, content, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_atomic(write(tmp_path, content))


def test_a_missing_column_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'titel'\. Did you mean 'title'"):
        read_atomic(write(tmp_path, HEADER), columns=["titel"])


@pytest.mark.parametrize(
    ("files", "words"),
    [([], "the folder is empty"), (["x.inter.part"], r"holds x\.inter\.part")],
)
def test_a_missing_file_says_what_its_folder_holds(tmp_path: Path, files, words: str) -> None:
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=words):
        read_atomic(tmp_path / "x.inter")


def test_numbers(tmp_path: Path) -> None:
    table = read_atomic(write(tmp_path, "t:float\tu:token\n1.5e12\ta\n-3\tb\n\tc\nsoon\td\n"))
    with pytest.raises(DataError, match=r"x\.item:5: column 't' .* 'soon'"):
        table.floats("t")
    with pytest.raises(DataError, match=r"x\.item:3: column 'v' .* 'x'"):
        table.float_rows("v", [["1", "2"], ["1", "x"]])
    table.columns["t"].pop()
    received = table.floats("t")
    assert received[:2].tolist() == [1.5e12, -3] and np.isnan(received[2])


def test_blocks_of_rows_change_neither_cells_nor_the_lines_of_errors(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(atomic, "BLOCK_ROWS", 2)
    good = HEADER + "1\ta\n\n1\tb\n2\tc\n1\td\n3\te\n"
    table = read_atomic(write(tmp_path, good))
    assert table.columns == {"item_id": ["1", "1", "2", "1", "3"], "title": list("abcde")}
    assert list(table.lines) == [2, 4, 5, 6, 7]
    with pytest.raises(DataError, match=r"x\.item:8: expected 2 cells"):
        read_atomic(write(tmp_path, good + "4\n"))


def test_equal_tokens_of_a_column_are_one_string(tmp_path: Path) -> None:
    rows = "".join(f"long name {row % 2}\ta\n" for row in range(4))
    names = read_atomic(write(tmp_path, HEADER + rows)).columns["item_id"]
    assert names[0] is names[2]
