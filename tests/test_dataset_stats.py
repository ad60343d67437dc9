"""A dataset in numbers, by hand, and as shared/data/README.md counts the real ones."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pytest

from recbole_llm.dataset_stats import dataset_stats
from recbole_llm.errors import RequestError

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_small_dataset_by_hand(write_dataset) -> None:
    # u: 1 1 2 2 (two ties, one of them last), v: 1 2 (none), w: one event. c has an empty title,
    # d has no row; times differ by less than float32 can tell.
    day = 1_600_000_000
    events = [
        ("u", "a", day + 1), ("v", "a", day + 1), ("u", "b", day + 1), ("u", "c", day + 2),
        ("u", "a", day + 2), ("v", "b", day + 2), ("w", "d", day),
    ]  # fmt: skip
    folder = write_dataset(events, {"a": "cat", "b": "dog cat", "c": "", "z": "unused"})
    stats = dataset_stats("toy", {"data_path": str(folder)})
    assert (stats["users"], stats["items"], stats["interactions"]) == (3, 4, 7)
    assert stats["density"] == pytest.approx(7 / 12)
    assert stats["history_length"] == {
        "mean": pytest.approx(7 / 3), "0%": 1, "25%": 1, "50%": 2, "75%": 4, "90%": 4, "99%": 4,
        "100%": 4,
    }  # fmt: skip
    assert stats["item_popularity"]["50%"] == 1 and stats["item_popularity"]["100%"] == 3
    assert stats["ties"] == {"events": 2 / 4, "users_last_two": 1 / 2}
    text = stats["text"]
    assert (text["coverage"], text["missing"], text["empty"], text["unused"]) == (0.5, 1, 1, 1)
    tokens = stats["tokens"]  # a word each, and two marks
    assert (tokens["0%"], tokens["100%"], tokens["mean"]) == (3, 4, 3.5)
    assert (tokens["limit"], tokens["truncated"]) == (256, 0)
    short = dataset_stats("toy", {"data_path": str(folder), "text_max_length": "3"})["tokens"]
    assert (short["limit"], short["truncated"]) == (3, 1)
    filtered = {"data_path": str(folder), "user_inter_num_interval": "[2,inf)"}
    assert dataset_stats("toy", filtered)["users"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_without_texts_there_are_none_in_the_picture(form, write_dataset, tmp_path: Path) -> None:
    folder = write_dataset([("u", "a", 1.0), ("u", "b", 2.0)])
    picture = tmp_path / "new" / f"x.{form}"
    stats = dataset_stats("toy", {"data_path": str(folder)}, picture=picture)
    assert stats["text"] is None and stats["tokens"] is None
    begins = {"png": PNG, "svg": b"<?xml", "pdf": b"%PDF"}[form]
    assert picture.read_bytes().startswith(begins) and stats["picture"] == str(picture)
    assert [path.name for path in picture.parent.iterdir()] == [picture.name]


@pytest.mark.slow
def test_texts_of_one_length_are_drawn(write_dataset, tmp_path: Path) -> None:
    folder = write_dataset([("u", "a", 1.0), ("u", "b", 2.0)], {"a": "cat", "b": "dog"})
    stats = dataset_stats("toy", {"data_path": str(folder)}, picture=tmp_path / "x.png")
    assert stats["tokens"]["0%"] == stats["tokens"]["100%"]
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)


def test_a_run_without_text_is_measured_too(write_dataset) -> None:
    """Nor is a language model asked where words are counted."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    folder = write_dataset([("u", "a", 1.0), ("u", "b", 2.0)], {"a": "cat", "b": "dog"})
    given = {"data_path": str(folder)}
    counted = dataset_stats("toy", given | {"text_encoder": "tfidf"})
    assert (counted["text"]["coverage"], counted["tokens"]) == (1, None)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1}, unk_token="[UNK]"))
    static = SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=2)], device="cpu"
    )
    static.save(str(folder / "static"))
    words = dataset_stats("toy", given | {"text_encoder": str(folder / "static")})
    assert (words["text"]["coverage"], words["tokens"]) == (1, None)
    (folder / "toy" / "toy.item").write_text("item_id:token\tprice:float\na\t1\nb\t2\n")
    stats = dataset_stats("toy", given | {"item_features": "id"})
    assert (stats["users"], stats["text"], stats["tokens"]) == (1, None, None)
    stock = dataset_stats("toy", given | {"model": "SASRec"})
    assert (stock["users"], stock["text"], stock["tokens"]) == (1, None, None)


@pytest.mark.slow
def test_ml_100k_and_its_picture(tmp_path: Path) -> None:
    stats = dataset_stats("ml-100k", {}, picture=tmp_path / "x.png")
    assert (stats["users"], stats["items"], stats["interactions"]) == (943, 1_682, 100_000)
    assert stats["history_length"]["0%"] == 20 and stats["text"]["coverage"] == 1
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)


@pytest.mark.slow
def test_a_picture_without_seaborn_or_place_says_what_to_do(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"x\.png cannot be written"):
        dataset_stats("ml-100k", {}, picture=tmp_path / "file" / "x.png")
    monkeypatch.setitem(sys.modules, "seaborn", None)
    with pytest.raises(RequestError, match="uv sync --extra figures"):
        dataset_stats("ml-100k", {}, picture=tmp_path / "x.png")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "users", "items", "interactions", "last_two"),
    [
        ("steam-100k", 10_369, 3_593, 126_824, (0.1, 0.11)),
        pytest.param(
            "amazon-beauty", 22_363, 12_101, 198_502, (0.36, 0.49), marks=pytest.mark.slow
        ),
        pytest.param(
            "amazon-clothing", 39_230, 22_948, 277_534, (0.36, 0.49), marks=pytest.mark.slow
        ),
        pytest.param("amazon-games", 50_597, 16_874, 453_637, (0.36, 0.49), marks=pytest.mark.slow),
        pytest.param("food", 17_813, 41_240, 555_618, (0, 1), marks=pytest.mark.slow),
        pytest.param("ml-1m", 6_040, 3_416, 999_611, (0.415, 0.425), marks=pytest.mark.slow),
    ],
)
def test_real_datasets_with_their_yaml(
    name, users, items, interactions, last_two, shared_data: Path, tmp_path: Path
) -> None:
    with tarfile.open(shared_data / f"{name}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    stats = dataset_stats(name, {"data_path": str(tmp_path / "atomic")})
    assert (stats["users"], stats["items"], stats["interactions"]) == (users, items, interactions)
    assert last_two[0] <= stats["ties"]["users_last_two"] <= last_two[1]
    assert stats["text"]["coverage"] > 0.999 and stats["tokens"]["0%"] >= 3
