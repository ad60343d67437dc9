"""Each official format to atomic files, and those through RecBole."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.build import prepare
from recbole_llm.config import LLMConfig
from recbole_llm.data.features import catalogue_texts
from recbole_llm.data.sources.convert import convert
from recbole_llm.data.sources.table import SOURCES
from recbole_llm.dataset_yaml import about, dataset_config_file
from recbole_llm.errors import DataError, RequestError
from recbole_llm.quick_start import run_recbole

SMALL = {"topk": [1], "metrics": ["Recall"], "valid_metric": "Recall@1"}
TEXTS = {
    "ml-100k": "Tale 1 (1999), Drama War",
    "ml-1m": "Tale 1 (1999), Drama War",
    "ml-20m": "Tale 1 (1999), Drama War",
    "amazon2018-Video_Games": "Tale 1, Drama War, Acme",
    "amazon2023-Video_Games": "Tale 1, Drama, Acme",
    "mind-small": "Tale 1, Long ago.",
    "steam": "Tale 1, World-War",
}


def test_a_small_release_of_each_format_is_read_by_recbole(release, tmp_path: Path) -> None:
    name, place = release
    facts = convert(name, place=place, folder=tmp_path / "out", overwrite=False)
    assert (facts["users"], facts["items"], facts["interactions"]) == (6, 6, 36)
    assert facts["items_without_row"] == facts["left_out"] == 0
    assert facts["as_published"] is (None if name.startswith("amazon2023") else False)
    config = LLMConfig("LLMInterestLSTM", name, None, {"data_path": str(tmp_path / "out"), **SMALL})
    dataset, _, _, test_data = prepare(config)
    assert (dataset.user_num, dataset.item_num) == (7, 7)  # padding is one of each
    cases = test_data.dataset.inter_feat
    users = dataset.id2token("user_id", cases["user_id"].numpy())
    items = dataset.id2token("item_id", cases["item_id"].numpy())
    assert {u: i for u, i in zip(users, items, strict=True)} == {
        "1": "6", "2": "1", "3": "2", "4": "3", "5": "4", "6": "5",
    }  # fmt: skip
    texts = catalogue_texts(config, folder=tmp_path / "out", dataset=name, catalogue=["", "1"])
    assert texts.texts == [TEXTS.get(name, "Tale 1")]


@pytest.mark.slow
def test_a_converted_release_trains(write_release, tmp_path: Path) -> None:
    place, out = write_release("steam"), tmp_path / "out"
    convert("steam", place=place, folder=out, overwrite=False)
    settings = {"data_path": str(out), "epochs": 1, "show_progress": False, **SMALL}
    result = run_recbole("LLMInterestLSTM", "steam", None, settings)
    assert result["epochs"] == 1 and 0 <= result["test_result"]["recall@1"] <= 1


def test_every_source_has_a_yaml_of_ours_that_tells_of_it() -> None:
    for name in SOURCES:
        assert about(name).keys() == {"source", "licence", "citation", "protocol"}, name


def test_a_family_has_one_yaml_and_no_other_name_falls_back() -> None:
    found = dataset_config_file("amazon2018-Video_Games")
    assert found is not None and found.name == "amazon2018.yaml"
    assert dataset_config_file("steam-mine") is None and about("steam-mine") == {}
    config = LLMConfig("LLMInterestLSTM", "amazon2023-Books")
    assert config["text_fields"] == ["title", "categories", "brand"]


@pytest.mark.parametrize("name", ["ml-1m", "amazon-games", "mind-small", "steam", "food"])
def test_a_cut_release_leaves_nothing_behind(name, write_release, tmp_path: Path) -> None:
    place = write_release(name)
    for file in place.iterdir():
        content = file.read_bytes()
        file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"cut short|is no row"):
        convert(name, place=place, folder=tmp_path / "out", overwrite=False)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_another_datasets_release_is_refused(write_release, tmp_path: Path) -> None:
    place = write_release("ml-1m")
    with pytest.raises(DataError, match=r"holds no u\.item .*; it holds ratings\.dat"):
        convert("ml-100k", place=place, folder=tmp_path / "out", overwrite=False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ml-1n", "Did you mean 'ml-1m'"),
        ("amazon2018-Video_Game", "'amazon2018-Video_Games'"),
        ("steam-100k", r"unknown dataset 'steam-100k'.*docs/datasets\.md"),
    ],
)
def test_an_unknown_name_is_suggested(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        convert(name, place=tmp_path, folder=tmp_path, overwrite=False)
