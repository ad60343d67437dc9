"""Atomic files whole or not at all, in bounded memory, and the k-core by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recbole_llm.data.sources.writer import Counts, Table, Tables, core_mask, write_tables
from recbole_llm.errors import DataError, RecBoleLLMError, RequestError

INTER = ("user_id:token", "item_id:token", "timestamp:float")
ITEM = ("item_id:token", "title:token_seq")
EVENTS = [["u", "a", "1"], ["u", "b", "2"], ["v", "a", "3"]]
TITLES = [["a", "A"], ["b", "B"], ["c", "never met"], ["a", "a later row"]]


def tables(events=EVENTS, titles=TITLES, **options) -> Tables:
    return Tables(interactions=Table(INTER, events), items=Table(ITEM, titles), **options)


def write(folder: Path, made: Tables, *, overwrite: bool = False) -> dict:
    return write_tables(made, folder=folder, name="x", overwrite=overwrite)


def test_rows_keep_their_order_and_items_are_those_met(tmp_path: Path) -> None:
    facts = write(tmp_path / "new" / "folder", tables(published=Counts(2, None, 3)))
    folder = tmp_path / "new" / "folder"
    assert (folder / "x.inter").read_text() == (
        "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nu\tb\t2\nv\ta\t3\n"
    )
    assert (folder / "x.item").read_text() == "item_id:token\ttitle:token_seq\na\tA\nb\tB\n"
    assert sorted(path.name for path in folder.iterdir()) == ["x.inter", "x.item"]
    assert facts == {
        "files": [str(folder / "x.inter"), str(folder / "x.item")],
        "users": 2, "items": 2, "interactions": 3, "core": 1,
        "release": {"users": 2, "items": 2, "interactions": 3},
        "published": {"users": 2, "interactions": 3}, "as_published": True,
        "left_out": 0, "items_without_row": 0,
    }  # fmt: skip


def test_counts_that_differ_are_told(tmp_path: Path) -> None:
    assert write(tmp_path, tables(published=Counts(2, 2, 4)))["as_published"] is False
    assert write(tmp_path, tables(), overwrite=True)["as_published"] is None


def test_a_user_table_has_the_users_met(tmp_path: Path) -> None:
    people = Table(("user_id:token", "age:token"), [["w", "9"], ["u", "7"]])
    facts = write(tmp_path, tables(users=people))
    assert (tmp_path / "x.user").read_text() == "user_id:token\tage:token\nu\t7\n"
    assert facts["users_without_row"] == 1


def test_separators_in_cells_become_spaces_and_rows_without_ids_are_left_out(tmp_path) -> None:
    events = [["a\tb", "a", "1"], ["", "a", "2"], ["u", "", "3"]]
    facts = write(tmp_path, tables(events, [["a", "two\nlines\0"]]))
    assert (tmp_path / "x.inter").read_text().splitlines()[1:] == ["a b\ta\t1"]
    assert (tmp_path / "x.item").read_text().splitlines()[1:] == ["a\ttwo lines "]
    assert (facts["interactions"], facts["left_out"]) == (1, 2)
    assert facts["release"]["interactions"] == 3  # what is published counts them


def test_ids_are_counted_as_they_are_written(tmp_path: Path) -> None:
    facts = write(tmp_path, tables([["a\tb", "i\n", "1"], ["a b", "i ", "2"]], [["i\t", "I"]]))
    assert (facts["users"], facts["items"], facts["items_without_row"]) == (1, 1, 0)


def test_what_is_there_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    (tmp_path / "x.item").write_text("mine")
    with pytest.raises(RequestError, match=r"x\.item is there already.*--force"):
        write(tmp_path, tables())
    assert [path.name for path in tmp_path.iterdir()] == ["x.item"]
    write(tmp_path, tables(), overwrite=True)
    assert (tmp_path / "x.item").read_text().startswith("item_id:token")


def test_a_fault_in_the_last_table_leaves_what_was_there(tmp_path: Path) -> None:
    def titles() -> Iterator[list[str]]:
        yield ["a", "A"]
        raise DataError("x.json:2: bad")

    (tmp_path / "x.inter").write_text("old")
    with pytest.raises(DataError, match=r"x\.json:2"):
        write(tmp_path, tables(titles=titles()), overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tables(events=[]), "of 0 interactions none is left"),
        (tables(core=2), "of 3 interactions none is left in the 2-core"),
        (tables(titles=[["z", "Z"]]), "not one of 2 ids .*title:token_seq.*belong together"),
    ],
)
def test_nothing_left_is_an_error(tmp_path: Path, made: Tables, words: str) -> None:
    with pytest.raises(DataError, match=words):
        write(tmp_path, made)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecBoleLLMError, match=r"file/x: cannot be written \(Not a directory\)"):
        write(tmp_path / "file" / "x", tables())


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limit of file sizes")
    events = [[f"{at}", "a", "1"] for at in range(5_000)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(RecBoleLLMError, match=r"cannot be written \(File too large\)"):
            write(tmp_path, tables(events))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_the_core_by_hand(tmp_path: Path) -> None:
    # u, v and w have a and b twice or more; x has a and c; c leaves, then x, and d with y at once.
    pairs = [
        ("u", "a"), ("u", "b"), ("v", "a"), ("v", "b"), ("w", "a"), ("w", "a"), ("x", "a"),
        ("x", "c"), ("y", "d"),
    ]  # fmt: skip
    users, items = (np.array([hash(pair[at]) for pair in pairs]) for at in (0, 1))
    assert core_mask(users, items, core=2).tolist() == [True] * 6 + [False] * 3
    assert core_mask(users, items, core=1).all()
    facts = write(
        tmp_path,
        tables([[u, i, str(at)] for at, (u, i) in enumerate(pairs)], core=2),
    )
    rows = (tmp_path / "x.inter").read_text().splitlines()[1:]
    assert [row.split("\t")[2] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert (facts["users"], facts["items"], facts["release"]["users"]) == (3, 2, 5)


@pytest.mark.slow
def test_memory_does_not_hold_the_texts(tmp_path: Path) -> None:
    num_rows, width = 60_000, 500
    events = ([f"{at % 100:0{width}}", f"{at % 70}", str(at)] for at in range(num_rows))
    made = tables(events, ([f"{at}", "x" * width] for at in range(num_rows)), core=2)
    tracemalloc.start()
    try:
        write(tmp_path, made)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * num_rows + 2**21 < num_rows * width / 3
