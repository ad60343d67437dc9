"""What a run keeps of its evaluation: ranks by user, and the protocol; files that come split."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_llm import run_recbole
from recbole_llm.build import prepare
from recbole_llm.config import LLMConfig
from recbole_llm.data.seen import seen_items, training_repeats
from recbole_llm.errors import DataError, RunDirError
from recbole_llm.ranks import COLUMNS, RANKS, Ranks, read_ranks, write_ranks


def test_benchmark_files_have_seen_what_their_rows_say(write_dataset, brief) -> None:
    folder = write_dataset([])
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float\n"
    for part in ("train", "valid", "test"):
        file = folder / "toy" / f"toy.{part}.inter"
        file.write_text(header + "a\tp q r\ts\t1.0\nb\tq\tp\t2.0\nc\ts r\tq\t3.0\n")
    settings = {"data_path": str(folder), "benchmark_filename": ["train", "valid", "test"]}
    settings |= {"alias_of_item_id": ["item_id_list"], "filter_seen": True}
    settings |= {"topk": [1], "valid_metric": "NDCG@1"}
    settings["load_col"] = {"inter": ["user_id", "item_id_list", "item_id", "timestamp"]}
    config = LLMConfig("SASRec", "toy", None, brief | settings)
    test = prepare(config)[3]
    rows, items = seen_items(test.dataset).cells(0, 3)
    assert rows.tolist() == [0, 0, 0, 1, 2, 2]
    assert "".join(test.dataset.field2id_token["item_id"][items]) == "pqrqsr"


@pytest.fixture
def brought(write_dataset, brief) -> dict[str, Any]:
    """Return settings of files that come split, with histories in their rows."""
    folder = write_dataset([])
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float\n"
    rows = [f"u{k}\ti{k % 7} i{(k + 1) % 7}\ti{(k + 2) % 7}\t{k}.0\n" for k in range(20)]
    for part in ("train", "valid", "test"):
        (folder / "toy" / f"toy.{part}.inter").write_text(header + "".join(rows))
    return brief | {
        "data_path": str(folder), "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id", "timestamp"]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("LLMInterestLSTM", {"item_features": "id", "filter_seen": True}),
        ("LLMInterestLSTM", {"item_features": "id", "repeat_bias": True}),
        ("GRU4Rec", {"training": "all_positions"}),
        ("Popularity", {}),
    ],
)
def test_benchmark_files_are_trained_on_and_reported(brought, model, settings) -> None:
    result = run_recbole(model, "toy", config_dict=brought | settings)
    ranks = read_ranks(result["run_dir"])
    assert ranks.users == [f"u{k}" for k in range(20)]
    assert ranks.items == [f"i{(k + 2) % 7}" for k in range(20)]
    assert (ranks.popularity > 0).all() and (ranks.history == 2).all()
    assert run_recbole(resume=result["run_dir"])["test_result"] == result["test_result"]


def add(brought: dict[str, Any], part: str, row: str) -> None:
    """Write a row below those of a part."""
    path = Path(brought["data_path"], "toy", f"toy.{part}.inter")
    path.write_text(path.read_text() + row)


def test_a_repeat_of_benchmark_files_stands_in_a_rows_history(brought) -> None:
    add(brought, "train", "u0\ti1 i2\ti2\t30.0\n" * 3)
    config = LLMConfig("LLMInterestLSTM", "toy", None, brought | {"item_features": "id"})
    assert training_repeats(prepare(config)[1].dataset) == (3, 23)


@pytest.mark.parametrize(
    ("model", "words"),
    [("LLMInterestLSTM", None), ("Popularity", None), ("GRU4Rec", "GRU4Rec needs a history there")],
)
def test_a_row_without_history_teaches_nothing(brought, model: str, words: str | None) -> None:
    """It may be ranked by our models; RecBole's cannot read it."""
    settings = brought | ({"item_features": "id"} if model == "LLMInterestLSTM" else {})
    add(brought, "valid", "u0\t\ti2\t30.0\n")
    if words is None:
        run_recbole(model, "toy", config_dict=settings)
        add(brought, "train", "u0\t\ti2\t30.0\n")
        words = r"toy\.train\.inter: item_id_list is empty in 1 of 21 rows"
    with pytest.raises(DataError, match=words):
        run_recbole(model, "toy", config_dict=settings)


def test_the_ranks_of_a_run_join_to_its_users(write_dataset, brief, shop) -> None:
    events = [
        *shop(),
        ('short, "one"', "i1", 0.0),
        *(("NA", f"i{step}", float(step)) for step in range(4)),
    ]
    settings = brief | {"data_path": str(write_dataset(events)), "item_features": "id"}
    result = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    ranks = read_ranks(result["run_dir"])
    last = {user: item for user, item, _ in events if user.startswith("u")}
    assert dict(zip(ranks.users, ranks.items, strict=True)) == last | {"NA": "i3"}
    assert ranks.users_without_case == ['short, "one"']
    assert (ranks.candidates == 45).all() and (ranks.ties == 0).all()
    gain = np.where(ranks.above < 5, 1 / np.log2(ranks.above + 2), 0.0)
    assert gain.mean() == pytest.approx(result["test_result"]["ndcg@5"], abs=1e-12)
    with gzip.open(Path(result["run_dir"], RANKS), "rt", newline="") as text:
        assert list(csv.reader(text))[-1] == ['short, "one"', *[""] * 6]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"x",
        lambda content: gzip.compress(b"user,item\n"),
        lambda content: gzip.compress(f"{','.join(COLUMNS)}\nu,i,{2**63},0,1,1,1\n".encode()),
        lambda content: content[:-20],
        lambda content: content[:10] + b"\xff" * 20 + content[30:],
    ],
    ids=["no gzip", "columns", "too large", "cut", "overwritten"],
)
def test_a_damaged_file_of_ranks_is_named(tmp_path, spoil) -> None:
    counts = np.arange(300)
    names = [f"u{number}" for number in counts]
    write_ranks(tmp_path, Ranks(names, names, counts, counts, counts, ["none"]))
    assert read_ranks(tmp_path).above.tolist() == counts.tolist()
    path = tmp_path / RANKS
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(RunDirError, match=r"ranks\.csv\.gz: is damaged"):
        read_ranks(tmp_path)
    path.unlink()
    with pytest.raises(RunDirError, match="no such file"):
        read_ranks(tmp_path)


@pytest.mark.parametrize(
    ("model", "settings", "seen", "ties"),
    [
        ("LLMInterestLSTM", {"filter_seen": True}, True, "expectation over their order"),
        ("SASRec", {}, False, "expectation over their order"),
        ("SASRec", {"eval_args": {"mode": "uni5"}}, False, "as torch.topk leaves them"),
        ("BPR", {}, True, "as torch.topk leaves them"),
    ],
)
def test_the_protocol_tells_the_truth(
    write_dataset, brief, shop, model, settings, seen, ties
) -> None:
    own = brief | {"data_path": str(write_dataset(shop())), "epochs": 1} | settings
    own |= {"item_features": "id"} if model.startswith("LLM") else {}
    run_dir = Path(run_recbole(model, "toy", config_dict=own)["run_dir"])
    protocol = json.loads((run_dir / "result.json").read_text())["protocol"]
    assert (protocol["seen_items_filtered"], protocol["ties"]) == (seen, ties)
    assert (run_dir / RANKS).exists() == (ties == "expectation over their order")
