"""Columns that settings name, and ids: what a dataset's files must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_llm.build import create_dataset
from recbole_llm.config import LLMConfig
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.errors import DataError, RequestError

HEAD = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ROWS = [f"u{user}\ti{item}\t{item}\t{user + 3 * item}" for user in range(3) for item in range(4)]
PLAIN = ["user_id", "item_id", "timestamp"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a dataset with ratings."""
    place = tmp_path / "data" / "rated"
    place.mkdir(parents=True)
    (place / "rated.inter").write_text("\n".join([HEAD, *ROWS]) + "\n")
    (place / "rated.item").write_text("item_id:token\ttitle:token_seq\ni0\tone\ni1\ttwo\n")
    return place


def read(folder: Path, **settings: Any) -> InterestDataset:
    config = LLMConfig("LLMInterestLSTM", "rated", None, {"data_path": str(folder), **settings})
    return create_dataset(config)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("\ti1\t1\t2", r"rated.inter:5: 1 rows have no user_id"),
        ("u1\t\t1\t2", r"rated.inter:5: 1 rows have no item_id"),
    ],
)
def test_rows_without_an_id_are_refused_by_line(folder, row, words) -> None:
    """RecBole drops other rows for them, and may keep its padding as an item."""
    (folder / "rated.inter").write_text("\n".join([HEAD, *ROWS[:3], row, *ROWS[3:]]) + "\n")
    with pytest.raises(DataError, match=words):
        read(folder)


def test_items_without_an_id_are_refused_by_line(folder) -> None:
    with (folder / "rated.item").open("a") as file:
        file.write("\tno item's\n")
    with pytest.raises(DataError, match=r"rated.item:4: 1 rows have no item_id"):
        read(folder, load_col={"inter": PLAIN, "item": ["item_id", "title"]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"load_col": {"inter": [*PLAIN, "ratng"]}}, r"rated.inter: .*'ratng'.*'rating'"),
        ({"load_col": {"inter": PLAIN, "item": ["item_id", "titel"]}}, r"rated.item: .*'titel'"),
        ({"load_col": None, "unload_col": {"inter": ["ratng"]}}, r"rated.inter: .*'ratng'"),
        ({"load_col": {"inter": PLAIN[:2]}}, r"the column 'timestamp' \(TIME_FIELD\)"),
        ({"load_col": {"inter": PLAIN[:2]}, "eval_args": {"split": {"time_cut": [10, 20]}}},
         r"the column 'timestamp' \(TIME_FIELD\)"),
        ({"load_col": {"inter": PLAIN}, "val_interval": {"rating": "[2,inf)"}},
         r"val_interval: unknown column 'rating'.*add it to load_col"),
        ({"load_col": {"inter": PLAIN}, "normalize_field": ["rating"], "normalize_all": False},
         r"normalize_field: unknown column 'rating'"),
    ],
    ids=["misspelt", "misspelt of items", "misspelt to leave out", "no times", "no times to cut",
         "values", "scaled"],
)  # fmt: skip
def test_columns_that_are_not_there_are_refused(folder, settings, words) -> None:
    with pytest.raises(DataError, match=words):
        read(folder, **settings)


def test_rows_are_left_out_by_a_column_that_is_loaded(folder) -> None:
    dataset = read(
        folder, load_col={"inter": [*PLAIN, "rating"]}, val_interval={"rating": "[2,inf)"}
    )
    assert dataset.inter_num == 6


def test_an_order_that_needs_no_times_goes_without(folder) -> None:
    config = {"data_path": str(folder), "load_col": {"inter": PLAIN[:2]}}
    assert create_dataset(LLMConfig("BPR", "rated", None, config)).inter_num == 12


@pytest.mark.parametrize("precision", ["exact", "recbole"])
def test_histories_of_the_classifier_hold_earlier_events(folder, precision) -> None:
    """Though the file is in another order than time."""
    (folder / "rated.inter").write_text("\n".join([HEAD, *ROWS[::-1]]) + "\n")
    settings = {"data_path": str(folder), "threshold": {"rating": 1}}
    config = LLMConfig("LLMInterestClassifier", "rated", None,
                       settings | {"time_precision": precision})  # fmt: skip
    parts = create_dataset(config).build()
    assert sum(map(len, parts)) == 12
    for part in parts:
        cases, names = part[list(range(len(part)))], part.field2id_token["item_id"]
        for item, history, length in zip(
            cases["item_id"], cases["item_id_list"], cases["item_length"], strict=True
        ):
            earlier = [names[one] for one in history[:length]]
            assert earlier == [f"i{k}" for k in range(int(names[item][1:]))]


@pytest.mark.parametrize("value", ["high", float("nan"), [4], None, True])
def test_a_threshold_is_a_number(folder, value) -> None:
    settings = {"data_path": str(folder), "threshold": {"rating": value}}
    with pytest.raises(RequestError, match=r"threshold: must be a number, as \{rating: 4\}"):
        LLMConfig("LLMInterestClassifier", "rated", None, settings)


@pytest.mark.parametrize(("value", "words"), [(9, "none of 12 rows"), (0, "all of 12 rows")])
def test_a_threshold_that_parts_nothing_is_refused(folder, value, words) -> None:
    settings = {"data_path": str(folder), "threshold": {"rating": value}}
    with pytest.raises(DataError, match=words):
        create_dataset(LLMConfig("LLMInterestClassifier", "rated", None, settings))
