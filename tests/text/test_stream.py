"""Texts of item files, some rows at a time: the same as when a file is read at once."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from recbole_llm.errors import DataError
from recbole_llm.text.items import read_item_texts
from recbole_llm.text.stream import ItemFile

ROWS = [
    "1\ttoy story\t1995",
    "2\t\t1995",
    "3\tgolden\u2028eye\t",
    "",
    "4\t漫画 🎬\t2001\r",
    "1\tx\t1",
]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_llm.atomic.BLOCK_ROWS", 2)
    monkeypatch.setattr("recbole_llm.text.stream.BLOCK_ROWS", 2)


def write(path: Path, *rows: str, encoding: str = "utf-8") -> ItemFile:
    text = "\n".join(["item_id:token\ttitle:token_seq\tyear:token", *rows])
    path.write_bytes(text.encode(encoding))
    known = None if encoding == "utf-8" else encoding
    return ItemFile(path=path, id_field="item_id", encoding=known)


def flat(items: ItemFile) -> list[str]:
    return [text for block in items.texts() for text in block]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_are_those_of_the_whole_file(tmp_path: Path, encoding: str) -> None:
    items = write(tmp_path / "toy.item", *ROWS, encoding=encoding)
    whole = read_item_texts(items.path, catalogue=["1", "3", "4"], encoding=items.encoding)
    assert flat(items) == [*whole.texts, "x"] == ["toy story", "golden eye", "漫画 🎬", "x"]
    assert len(list(items.texts())) == 3


def test_a_template_and_ids_for_empty_texts(tmp_path: Path) -> None:
    plain = write(tmp_path / "toy.item", *ROWS[:2])
    made = ItemFile(path=plain.path, id_field="item_id", text_template="{title} ({year})")
    assert flat(made) == ["toy story (1995)", "(1995)"]
    ided = ItemFile(path=plain.path, id_field="item_id", empty_text="id")
    assert flat(ided) == ["toy story", "2"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("5\tone cell too few", "expected 3 cells"),
        ("5\ta\0b\t1", "NUL byte"),
        ("5\t\udcff\t1", "is not UTF-8"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, row: str, words: str) -> None:
    file = tmp_path / "toy.item"
    text = "\n".join(["item_id:token\ttitle:token_seq\tyear:token", *ROWS[:3], row])
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=rf"toy\.item:5: .*{words}"):
        flat(ItemFile(path=file, id_field="item_id"))


def test_parquet_says_the_same(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "item_id": ["1", "2", "3"],
            "title": ["toy  story", None, "golden\teye"],
            "brand": pyarrow.array(["x", "y", "x"]).dictionary_encode(),  # a category of pandas
            "genres": [["a", "b"], [], ["c"]],
            "year": [1995, 1996, None],
        }
    )
    parquet.write_table(table, tmp_path / "toy.parquet")
    items = ItemFile(path=tmp_path / "toy.parquet", id_field="item_id")
    assert flat(items) == ["toy story, x, a b", "y", "golden eye, x, c"]
    assert len(list(items.texts())) == 2
    years = ItemFile(path=items.path, id_field="item_id", text_template="{title} ({year})")
    assert flat(years) == ["toy story (1995)", "(1996)", "golden eye ()"]


def test_what_is_no_item_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "toy.parquet").write_text("no")
    with pytest.raises(DataError, match=r"toy\.parquet: cannot be read"):
        flat(ItemFile(path=tmp_path / "toy.parquet", id_field="item_id"))
    items = write(tmp_path / "toy.item", *ROWS)
    with pytest.raises(DataError, match="unknown column 'titel'"):
        flat(ItemFile(path=items.path, id_field="item_id", text_fields=["titel"]))
