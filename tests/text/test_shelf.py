"""Vectors in shards: each text once, whatever dies in the middle, and found again by the text."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import recbole_llm.text.shelf as module
from recbole_llm.encode_command import _here
from recbole_llm.errors import StoreError
from recbole_llm.files import sha256
from recbole_llm.text.encoders import Encoding
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import MANIFEST, PLAN, VECTORS, Shelf
from recbole_llm.text.store import VectorStore

TEXTS = [f"text {k}" for k in range(100)] + ["漫画", "lone \ud800 surrogate"]


class LogEncoder:
    """Encodes a text as its length and last letter, cuts those of 8 letters, and logs each text."""

    device = "cpu"

    def __init__(self, log: Path, **spec: object) -> None:
        self.spec, self.log = EncoderSpec(dtype="float32", **spec), log

    def fingerprint(self) -> dict[str, object]:
        return self.spec.fingerprint(self.device)

    def encode(self, texts: list[str]) -> Encoding:
        with self.log.open("a", encoding="utf-8", errors="surrogatepass") as file:
            file.write("".join(f"{text}\n" for text in texts))
        rows = torch.tensor([[float(len(text)), float(ord(text[-1]))] for text in texts])
        cut = [row for row, text in enumerate(texts) if len(text) == 8]
        return Encoding(rows, len(cut), len(texts), cut)

    @property
    def encoded(self) -> list[str]:
        text = self.log.read_text("utf-8", "surrogatepass") if self.log.exists() else ""
        return text.split("\n")[:-1]


@pytest.fixture
def encoder(tmp_path: Path) -> LogEncoder:
    return LogEncoder(tmp_path / "log")


@pytest.fixture
def shelf(tmp_path: Path, encoder: LogEncoder) -> Shelf:
    return Shelf(tmp_path / "cache", encoder.fingerprint(), {"sha256": "of the items"}, 5)


def make(shelf: Shelf, encoder: LogEncoder) -> dict:
    missing = shelf.missing()
    if missing:
        shelf.scatter([TEXTS[:60], TEXTS[40:]], size=1)
    for shard in missing:
        shelf.encode(shard, encoder)
    return shelf.finish()


def test_each_distinct_text_is_encoded_once(shelf, encoder) -> None:
    assert make(shelf, encoder) == {"texts": 102, "dim": 2, "truncated": 0}
    assert sorted(encoder.encoded) == sorted(TEXTS)
    assert make(shelf, encoder)["texts"] == 102 and len(encoder.encoded) == 102
    assert not (shelf.folder / "texts").exists()


def test_training_finds_any_of_its_texts(shelf, encoder) -> None:
    make(shelf, encoder)
    store = VectorStore(shelf.cache)
    received = store.get(["text 7", "漫画", "text 7", "lone \ud800 surrogate"], encoder)
    assert received.from_cache and len(encoder.encoded) == 102
    assert received.vectors.tolist() == [[6, 55], [2, 30011], [6, 55], [16, 101]]
    assert not store.get(["text 7", "text 200"], encoder).from_cache
    assert len(encoder.encoded) == 104


def test_texts_that_were_cut_are_counted(shelf, encoder, tmp_path) -> None:
    some = ["8letters", "another8", "no"]
    shelf.scatter([some], size=1)
    for shard in range(5):
        shelf.encode(shard, encoder)
    assert shelf.finish()["truncated"] == 2
    assert VectorStore(shelf.cache).get(["another8", "no"], encoder).truncated == 1


def test_another_encoder_does_not_find_them(shelf, encoder, tmp_path) -> None:
    make(shelf, encoder)
    other = LogEncoder(tmp_path / "other", pooling="cls")
    assert not VectorStore(shelf.cache).get(["text 7"], other).from_cache


def test_a_damaged_shard_is_not_used_and_made_again(shelf, encoder, caplog) -> None:
    make(shelf, encoder)
    file = shelf.folder / "3" / VECTORS
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert not VectorStore(shelf.cache).get(TEXTS, encoder).from_cache
    assert "damaged" in caplog.text
    before = len(encoder.encoded)
    make(shelf, encoder)
    assert 0 < len(encoder.encoded) - before < 50
    assert (shelf.folder / "3.corrupt-1").is_dir()


def vouch(folder: Path, **tensors: torch.Tensor) -> None:
    """Put other tensors into a shard, with a manifest that vouches for the file."""
    save_file(load_file(folder / VECTORS) | tensors, folder / VECTORS)
    manifest = json.loads((folder / MANIFEST).read_text())
    if "vectors" in tensors and len(tensors["vectors"]) == manifest["shape"][0]:
        manifest["shape"] = list(tensors["vectors"].shape)
    manifest |= {
        "sha256": sha256(folder / VECTORS), "bytes": (folder / VECTORS).stat().st_size,
    }  # fmt: skip
    (folder / MANIFEST).write_text(json.dumps(manifest))


def of_shard(folder: Path) -> int:
    return json.loads((folder / MANIFEST).read_text())["shape"][0]


DAMAGES = {
    "truncated": lambda at: (at / VECTORS).write_bytes((at / VECTORS).read_bytes()[:-5]),
    "empty": lambda at: (at / VECTORS).write_bytes(b""),
    "of another width": lambda at: vouch(at, vectors=torch.zeros(of_shard(at), 7)),
    "of fewer rows": lambda at: vouch(at, vectors=torch.zeros(of_shard(at) - 1, 2)),
    "of fewer keys": lambda at: vouch(at, keys=torch.zeros(1, 2, dtype=torch.int64)),
    "not finite": lambda at: vouch(at, vectors=torch.full((of_shard(at), 2), float("nan"))),
    "without a manifest": lambda at: (at / MANIFEST).unlink(),
    "of a broken manifest": lambda at: (at / MANIFEST).write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_is_found_and_mended_by_encoding_again(shelf, encoder, caplog, damage) -> None:
    make(shelf, encoder)
    DAMAGES[damage](shelf.folder / "2")
    store = VectorStore(shelf.cache)
    assert not store.get(TEXTS, encoder).from_cache and "encode --shards again" in caplog.text
    before = len(encoder.encoded)
    assert make(shelf, encoder)["texts"] == 102
    assert 0 < len(encoder.encoded) - before < 50
    assert (shelf.folder / "2.corrupt-1").is_dir()
    assert shelf.missing() == []
    some = TEXTS[:-1]  # not what the store has encoded itself meanwhile
    assert store.get(some, encoder).vectors.tolist() == [[len(one), ord(one[-1])] for one in some]


def test_a_shard_that_another_process_is_at_comes_last(shelf, encoder) -> None:
    shelf.scatter([TEXTS], size=1)
    counts = _here(shelf, range(5), encoder)
    with shelf.entries.lock("1"):
        first = [next(counts) for _ in range(4)]
    assert all(first) and shelf.missing() == [1]
    (last,) = counts
    assert sum(first) + last == 102 and shelf.missing() == []


@pytest.mark.slow
def test_two_processes_share_the_shards_and_encode_each_text_once(shelf, encoder, fork) -> None:
    def work() -> None:
        shelf.scatter([TEXTS], size=1)
        for _ in _here(shelf, range(5), encoder):
            time.sleep(0.3)

    children = [fork(work), fork(work)]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert shelf.finish()["texts"] == 102
    assert sorted(encoder.encoded) == sorted(TEXTS)


def test_a_full_disk_says_so_and_leaves_nothing(shelf, encoder, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shelf.scatter([TEXTS], size=1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", full)
        with pytest.raises(StoreError, match="no room"):
            shelf.encode(0, encoder)
    assert shelf.missing() == [0, 1, 2, 3, 4] and not list(shelf.folder.glob(".0*"))
    assert shelf.encode(0, encoder)


def test_a_shelf_with_a_missing_shard_is_not_one(shelf, encoder) -> None:
    shelf.scatter([TEXTS], size=1)
    shelf.encode(0, encoder)
    with pytest.raises(StoreError, match="4 shards are missing"):
        shelf.finish()
    assert not (shelf.folder / PLAN).exists()


def test_more_shards_than_texts(tmp_path, encoder) -> None:
    shelf = Shelf(tmp_path / "cache", encoder.fingerprint(), {}, 64)
    shelf.scatter([["a", "b"]], size=1)
    for shard in range(64):
        shelf.encode(shard, encoder)
    assert shelf.finish() == {"texts": 2, "dim": 2, "truncated": 0}
    assert VectorStore(tmp_path / "cache").get(["a", "b"], encoder).vectors.tolist() == [
        [1, 97],
        [1, 98],
    ]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, encoder) -> None:
    (tmp_path / "file").write_text("")
    shelf = Shelf(tmp_path / "file" / "cache", encoder.fingerprint(), {}, 2)
    with pytest.raises(StoreError, match="cannot be written"):
        shelf.scatter([TEXTS], size=1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def while_texts_are_scattered() -> None:
    """Let this process die over a text."""
    digest = module._digest
    module._digest = lambda text: die() if text == "text 50" else digest(text)


def while_a_shard_is_written() -> None:
    """Let this process die when it has written the vectors of a shard."""
    save = module.save_file

    def save_and_die(tensors: dict, path: Path) -> None:
        save(tensors, path)
        if "/.3." in str(path):
            die()

    module.save_file = save_and_die


@pytest.mark.slow
@pytest.mark.parametrize("fault", [while_texts_are_scattered, while_a_shard_is_written])
def test_killed_it_goes_on_and_holds_each_text_once(shelf, encoder, fork, fault) -> None:
    child = fork(lambda: (fault(), make(shelf, encoder)))
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    before = len(encoder.encoded)
    assert make(shelf, encoder) == {"texts": 102, "dim": 2, "truncated": 0}
    again = len(encoder.encoded) - 102  # the shard that was being written
    assert (before, again) == (0, 0) if fault is while_texts_are_scattered else before > again > 0
    received = VectorStore(shelf.cache).get(TEXTS, encoder)
    assert received.from_cache
    assert received.vectors.tolist() == [[len(text), ord(text[-1])] for text in TEXTS]
    left = {path.name for path in shelf.folder.iterdir() if path.suffix != ".lock"}
    assert left == {"0", "1", "2", "3", "4", PLAN}
