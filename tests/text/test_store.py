"""The vector cache: what hits, what misses, what is damaged, and what two processes do."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import recbole_llm.text.store as module
from recbole_llm.errors import StoreError
from recbole_llm.text.encoders import Encoding
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.store import MANIFEST, VECTORS, VectorStore

TEXTS = ["b", "a", "b", "c"]


class CountingEncoder:
    """Encodes a text as its length and its first letter, and counts its calls in a file."""

    def __init__(self, log: Path, *, seconds: float = 0.0, **spec: object) -> None:
        self.spec = EncoderSpec(**{"dtype": "float32", **spec})
        self.device = "cpu"
        self.log, self.seconds = log, seconds

    def fingerprint(self) -> dict[str, object]:
        return self.spec.fingerprint(self.device)

    def encode(self, texts: list[str]) -> Encoding:
        with self.log.open("a") as file:
            file.write("x")
        time.sleep(self.seconds)
        rows = [[len(text), ord(text[0])] for text in texts]
        return Encoding(torch.tensor(rows, dtype=torch.float32), 0, len(texts))

    @property
    def calls(self) -> int:
        return len(self.log.read_text()) if self.log.exists() else 0


@pytest.fixture
def encoder(tmp_path: Path) -> CountingEncoder:
    return CountingEncoder(tmp_path / "calls")


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    return VectorStore(tmp_path / "cache")


def entry(store: VectorStore, key: str) -> Path:
    return store.root / key


def test_a_second_request_encodes_nothing(store, encoder) -> None:
    first, second = store.get(TEXTS, encoder), store.get(TEXTS, encoder)
    assert encoder.calls == 1
    assert (first.from_cache, second.from_cache) == (False, True)
    assert torch.equal(first.vectors, second.vectors)
    assert first.vectors[:, 1].tolist() == [98, 97, 98, 99]


def test_another_order_hits_and_is_aligned_again(store, encoder) -> None:
    store.get(TEXTS, encoder)
    received = store.get(["c", "a", "b"], encoder)
    assert received.from_cache
    assert received.vectors[:, 1].tolist() == [99, 97, 98]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"}, {"name": "other", "revision": "12345678"}, {"pooling": "cls"},
        {"max_length": 8}, {"prompt": "query: "}, {"dtype": "bf16"}, {"trust_remote_code": True},
        {"dim": 8}, {"pooling": "weighted_mean"}, {"backend": "onnx"},
        {"backend": "torch_compiled"},
        {"backend": "openvino"}, {"backend": "openvino", "dtype": "int8"},
    ],
    ids=lambda change: ",".join(change),
)  # fmt: skip
def test_what_changes_vectors_changes_the_key(store, tmp_path, monkeypatch, change) -> None:
    monkeypatch.setattr("recbole_llm.text.models.cpu_has_bf16", lambda: True)
    plain = CountingEncoder(tmp_path / "calls")
    other = CountingEncoder(tmp_path / "calls", **change)
    assert store.get(TEXTS, plain).key != store.get(TEXTS, other).key
    assert plain.calls == 2


def test_every_field_of_the_spec_is_in_the_key() -> None:
    fields = {field.name for field in dataclasses.fields(EncoderSpec)}
    assert fields == EncoderSpec(dtype="float32", dim=8, backend="onnx").fingerprint(
        "cpu"
    ).keys() - {"weights"}


def test_other_texts_and_other_weights_of_one_path_miss(
    store, encoder, tiny_bert, tmp_path
) -> None:
    import shutil

    assert store.get(["a"], encoder).key != store.get(["a", "b"], encoder).key
    copy = tmp_path / "bert"
    shutil.copytree(tiny_bert, copy)
    before = EncoderSpec(name=str(copy), dtype="float32").fingerprint("cpu")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    after = EncoderSpec(name=str(copy), dtype="float32").fingerprint("cpu")
    (copy / "modeling.py").write_text("# other code")
    last = EncoderSpec(name=str(copy), dtype="float32").fingerprint("cpu")
    assert before != after != last


def test_a_copy_of_a_local_model_hits(tiny_bert: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_bert, tmp_path / "copy")
    first = EncoderSpec(name=str(tiny_bert), dtype="float32").fingerprint("cpu")
    assert EncoderSpec(name=str(tmp_path / "copy"), dtype="float32").fingerprint("cpu") == first


def truncate(folder: Path) -> None:
    (folder / VECTORS).write_bytes((folder / VECTORS).read_bytes()[:-5])


def empty(folder: Path) -> None:
    (folder / VECTORS).write_bytes(b"")


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / VECTORS).read_bytes())
    content[-1] ^= 1
    (folder / VECTORS).write_bytes(content)


def rewrite(folder: Path, vectors: torch.Tensor) -> None:
    """Put other vectors into the entry, with a manifest that vouches for the file."""
    from recbole_llm.files import sha256

    save_file({"vectors": vectors}, folder / VECTORS)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest |= {"sha256": sha256(folder / VECTORS), "shape": list(vectors.shape)}
    manifest["bytes"] = (folder / VECTORS).stat().st_size
    (folder / MANIFEST).write_text(json.dumps(manifest))


def foreign_shape(folder: Path) -> None:
    rewrite(folder, torch.zeros(7, 2))


def not_finite(folder: Path) -> None:
    rewrite(folder, torch.full((3, 2), float("nan")))


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def broken_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    "damage",
    [truncate, empty, flip_a_bit, foreign_shape, not_finite, no_manifest, broken_manifest],
)
def test_damage_is_moved_aside_and_made_again(store, encoder, caplog, damage) -> None:
    first = store.get(TEXTS, encoder)
    damage(entry(store, first.key))
    second = store.get(TEXTS, encoder)
    assert encoder.calls == 2 and torch.equal(first.vectors, second.vectors)
    assert (store.root / f"{first.key}.corrupt-1").is_dir()
    assert "damaged" in caplog.text
    assert store.get(TEXTS, encoder).from_cache


def test_a_folder_that_cannot_be_written_keeps_nothing_and_goes_on(
    encoder, tmp_path, caplog
) -> None:
    (tmp_path / "file").write_text("")
    received = VectorStore(tmp_path / "file" / "cache").get(TEXTS, encoder)
    assert received.vectors[:, 1].tolist() == [98, 97, 98, 99]
    assert "cannot be written" in caplog.text


def test_a_file_system_without_locks_is_a_warning(store, encoder, monkeypatch, caplog) -> None:
    def refuse(self: object, **_: object) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr("recbole_llm.text.entries.FileLock.acquire", refuse)
    assert store.get(TEXTS, encoder).vectors.shape == (4, 2)
    assert "no lock" in caplog.text and store.get(TEXTS, encoder).from_cache


@pytest.mark.slow
def test_of_two_processes_one_encodes_and_the_other_waits(store, encoder, fork, tmp_path) -> None:
    encoder.seconds = 1.0

    def get(answer: Path) -> None:
        answer.write_text(str(store.get(["b", "a"], encoder).vectors.tolist()))

    answers = [tmp_path / "one", tmp_path / "other"]
    for child in [fork(get, answer) for answer in answers]:
        child.join(60)
    assert [answer.read_text() for answer in answers] == ["[[1.0, 98.0], [1.0, 97.0]]"] * 2
    assert encoder.calls == 1


@pytest.mark.slow
def test_a_killed_owner_frees_the_lock_and_leaves_no_entry(store, encoder, fork, until) -> None:
    encoder.seconds = 60.0
    child = fork(store.get, ["b", "a"], encoder)
    until(lambda: encoder.calls)
    child.kill()
    child.join()
    encoder.seconds = 0.0
    assert not [path for path in store.root.iterdir() if path.suffix != ".lock"]
    assert not store.get(["b", "a"], encoder).from_cache
    assert encoder.calls == 2


def test_killed_while_writing_leaves_no_entry_that_is_read(store, encoder, fork) -> None:
    def die(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    def get() -> None:
        module.save_file = die
        store.get(["b", "a"], encoder)

    child = fork(get)
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert not list(store.root.glob(f"*/{MANIFEST}"))
    received = store.get(["b", "a"], encoder)
    assert not received.from_cache and received.vectors[:, 1].tolist() == [98, 97]
    assert store.get(["b", "a"], encoder).from_cache
    assert sorted(path.name for path in store.root.iterdir()) == [
        received.key, f"{received.key}.lock"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_process_that_comes_while_another_writes_waits(
    store, encoder, fork, until, tmp_path
) -> None:
    write_json, writing = module.write_json, tmp_path / "writing"

    def slowly(*arguments: object) -> None:
        writing.touch()
        time.sleep(2)
        write_json(*arguments)

    def get() -> None:
        module.write_json = slowly
        store.get(["b", "a"], encoder)

    child = fork(get)
    until(writing.exists)
    received = store.get(["b", "a"], encoder)
    child.join(60)
    assert child.exitcode == 0 and encoder.calls == 1 and received.from_cache
    assert not list(store.root.glob("*.corrupt-*"))


def test_precision_is_in_the_key_and_not_in_the_content(store, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("recbole_llm.text.models.cpu_has_bf16", lambda: True)
    one, other = (CountingEncoder(tmp_path / "calls", dtype=d) for d in ("float32", "bf16"))
    first, second = store.get(TEXTS, one), store.get(TEXTS, other)
    assert first.key != second.key and first.content == second.content
    prompted = CountingEncoder(tmp_path / "calls", prompt="query: ")
    assert store.get(TEXTS, prompted).content != first.content


def test_a_full_disk_says_the_bytes_needed_and_leaves_no_junk(
    store, encoder, fork, tmp_path
) -> None:
    answer = tmp_path / "answer"

    def get() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            store.get([f"{k:07}" for k in range(50_000)], encoder)
        except Exception as error:
            answer.write_text(f"{type(error).__name__} {error}")

    fork(get).join(60)
    output = answer.read_text()
    assert output.startswith(StoreError.__name__)
    assert "400000 bytes" in output and "text_cache_dir" in output
    assert not [path for path in store.root.iterdir() if path.suffix != ".lock"]
