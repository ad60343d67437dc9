"""``recbole-llm encode --shards``: from a file to training, whatever dies in the middle."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from pyarrow import parquet

from recbole_llm.cli import main
from recbole_llm.encode_command import _settled
from recbole_llm.errors import EncoderError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import ShardWorker, Shelf
from recbole_llm.text.store import VectorStore

TITLES = {f"i{k}": f"title {k % 40} of a film" for k in range(50)}
Command = Callable[..., dict[str, Any]]


@pytest.fixture
def arguments(write_dataset, tiny_bert: Path) -> list[str]:
    """Return a command line for a dataset whose users know 20 of 50 items, 40 texts."""
    folder = write_dataset(
        [(f"u{u}", f"i{u + k}", float(k)) for u in range(15) for k in range(6)], TITLES
    )
    return [
        "encode", "--dataset=toy", f"--data_path={folder}", "--use_gpu=false",
        "--text_cache_dir=vectors", f"--text_encoder={tiny_bert}", "--text_dtype=float32",
        "--show_progress=false",
    ]  # fmt: skip


@pytest.fixture
def encode(arguments, capsys) -> Command:
    """Return a function that runs the command in this process and returns its result."""

    def run(*options: str) -> dict[str, Any]:
        assert main([*arguments, *options]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def test_training_finds_what_the_shards_hold(encode) -> None:
    first, again = encode("--shards=3"), encode("--shards=3")
    assert (first["shape"], first["encoded"], first["from_cache"]) == ([40, 16], 40, False)
    assert (again["shape"], again["encoded"], again["from_cache"]) == ([40, 16], 0, True)
    plain = encode()
    assert plain["from_cache"] and plain["items"] == 20
    assert not encode("--text_pooling=max")["from_cache"]


def test_items_of_a_parquet_file(encode, tmp_path, tiny_bert) -> None:
    table = pyarrow.table({"item_id": list(TITLES), "title": list(TITLES.values())})
    parquet.write_table(table, tmp_path / "items.parquet")
    assert encode("--shards=2", f"--items={tmp_path / 'items.parquet'}")["encoded"] == 40
    received = encode()
    assert received["from_cache"]
    encoder = TextEncoder(EncoderSpec(name=str(tiny_bert), dtype="float32"))
    texts = sorted(set(TITLES.values()))
    stored = VectorStore(Path("vectors")).get(texts, encoder)
    assert stored.from_cache
    assert torch.allclose(stored.vectors, encoder.encode(texts).vectors, atol=1e-6)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--shards=0", "--shards: must be a number from 1 to 512, received '0'"),
        ("--workers=2", "--shards: must be a number from 1 to 512, received None"),
        ("--items=no.parquet", "no.parquet is no file"),
        ("--gpus=many", "--gpus: must be a number of GPUS a worker, received 'many'"),
        ("--shard=4", "unknown setting 'shard'"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, capsys, option, words) -> None:
    more = [] if option.startswith(("--shard", "--workers")) else ["--shards=2"]
    assert main([*arguments, *more, option]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ") and words in message


def test_help(capsys) -> None:
    assert main(["encode", "--help"]) == 0 and "--shards" in capsys.readouterr().out


def test_a_worker_does_not_choose_its_own_precision(monkeypatch) -> None:
    monkeypatch.setattr("recbole_llm.text.models.cpu_has_bf16", lambda: True)
    spec = _settled(TextEncoder(EncoderSpec()))
    monkeypatch.setattr("recbole_llm.text.models.cpu_has_bf16", lambda: False)
    with pytest.raises(EncoderError, match="bf16"):
        spec.fingerprint("cpu")


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(arguments, encode, fork) -> None:
    def die_over_a_shard() -> None:
        whole = Shelf.encode

        def until_the_fourth(self: Shelf, shard: int, encoder: TextEncoder, **how: bool) -> int:
            if shard == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, shard, encoder, **how)

        Shelf.encode = until_the_fourth
        main([*arguments, "--shards=5"])

    child = fork(die_over_a_shard)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    shelf = next(Path("vectors", "shelves").iterdir())
    assert sorted(path.name for path in shelf.iterdir() if path.name.isdecimal()) == ["0", "1", "2"]
    result = encode("--shards=5")
    assert 0 < result["encoded"] < 40 and result["shape"] == [40, 16]
    assert encode()["from_cache"]


@pytest.mark.slow
def test_on_ray_a_killed_worker_begins_its_shard_again(encode, monkeypatch, tmp_path) -> None:
    marker = tmp_path / "died"

    class Dying(ShardWorker):
        """Dies once, with a shard half done."""

        def __call__(self, batch: Any) -> Any:
            if 2 in batch["shard"] and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    monkeypatch.setattr("recbole_llm.encode_command.ShardWorker", Dying)
    result = encode("--shards=4", "--workers=2")
    assert marker.exists() and (result["encoded"], result["shape"]) == (40, [40, 16])
    assert encode()["from_cache"]


@pytest.mark.slow
def test_on_ray_an_error_of_the_encoder_is_one_line(arguments, capsys, monkeypatch) -> None:
    class Refusing(ShardWorker):
        """Cannot load its model."""

        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            self.shelf = self

        def encode(self, shard: int, encoder: TextEncoder) -> int:
            raise EncoderError("text_encoder: no such thing")

    monkeypatch.setattr("recbole_llm.encode_command.ShardWorker", Refusing)
    assert main([*arguments, "--shards=2", "--workers=1"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == ["error: text_encoder: no such thing"]
