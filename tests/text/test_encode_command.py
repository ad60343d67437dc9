"""``recbole-llm encode --shards``: from a file to training, whatever dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import ray
import torch
from pyarrow import parquet
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from recbole_llm.cli import main
from recbole_llm.encode_command import _settled
from recbole_llm.errors import EncoderError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shard_worker import ShardWorker, forget_tries
from recbole_llm.text.shelf import Shelf
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


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Return the dataset's items as a Parquet file."""
    table = pyarrow.table({"item_id": list(TITLES), "title": list(TITLES.values())})
    parquet.write_table(table, tmp_path / "items.parquet")
    return tmp_path / "items.parquet"


def test_items_of_a_parquet_file(encode, items, tiny_bert) -> None:
    assert encode("--shards=2", f"--items={items}")["encoded"] == 40
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
        (
            "--gpus=many",
            "--gpus: must be a number of GPUS a worker, whole above 1; received 'many'",
        ),
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
    monkeypatch.setattr("recbole_llm.text.models.cpu_is_faster_in_bf16", lambda: True)
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


def test_a_worker_tells_in_words_what_is_wrong(tmp_path: Path) -> None:
    """As where a machine does not see the folder that the texts are in."""
    worker = ShardWorker(Shelf(tmp_path / "own", {}, {}, 2), EncoderSpec(), "cpu")
    told = worker({"shard": [1]})
    assert (
        told["exit_code"] == [1] and "the texts of shard 1 cannot be read on" in told["problem"][0]
    )
    texts = worker.shelf.folder / "texts"
    texts.mkdir(parents=True)
    (texts / "1.tries").write_text("....")
    assert worker({"shard": [1]})["problem"][0].startswith("shard 1 has ended 4 workers, perhaps")
    forget_tries(worker.shelf)
    assert "cannot be read on" in worker({"shard": [1]})["problem"][0]
    worker.shelf = None
    assert worker({"shard": [1]})["problem"][0].startswith("not foreseen, AttributeError: ")


def test_a_cluster_that_is_not_there_is_refused_before_texts_are_read(arguments, capsys) -> None:
    assert main([*arguments, "--shards=2", "--address=127.0.0.1:1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: --address: 127.0.0.1:1 is no Ray cluster that answers")
    assert not list(Path("vectors").glob("shelves/*/texts"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Return the address of a Ray cluster of two nodes on this machine, of a core each."""
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


class Deadly:
    """Ends the process that would encode with it."""

    def encode(self, texts: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_on_two_nodes_a_killed_worker_begins_its_shard_again(
    encode, monkeypatch, tmp_path, address, items
) -> None:
    nodes, marker = tmp_path / "nodes", tmp_path / "died"
    nodes.mkdir()

    class Dying(ShardWorker):
        """Begins when there are two, and dies once, in the middle of a shard."""

        def __call__(self, batch: Any) -> Any:
            (nodes / ray.get_runtime_context().get_node_id()).touch()
            until = time.monotonic() + 240
            while len(list(nodes.iterdir())) < 2 and time.monotonic() < until:
                time.sleep(0.1)
            if 2 in batch["shard"] and not marker.exists():
                marker.touch()
                self.encoder = Deadly()
            return super().__call__(batch)

    monkeypatch.setattr("recbole_llm.encode_command.ShardWorker", Dying)
    result = encode("--shards=6", "--workers=2", f"--address={address}", f"--items={items}")
    assert marker.exists() and len(list(nodes.iterdir())) == 2
    assert (result["encoded"], result["shape"]) == (40, [40, 16])
    assert_each_text_is_there_once(shards=6)
    assert encode()["from_cache"]


def assert_each_text_is_there_once(*, shards: int) -> None:
    keys = [load_file(file)["keys"] for file in Path("vectors").glob("shelves/*/*/*.safetensors")]
    assert len(keys) == shards
    assert len(torch.cat(keys).unique(dim=0)) == len(torch.cat(keys)) == 40


@pytest.mark.slow
def test_on_ray_a_shard_that_kills_its_workers_is_given_up_and_the_next_command_goes_on(
    arguments, encode, capsys, monkeypatch, address
) -> None:
    class Dying(ShardWorker):
        """Dies whenever it is at a certain shard."""

        most_tries = 1

        def __call__(self, batch: Any) -> Any:
            if 2 in batch["shard"]:
                self.encoder = Deadly()
            return super().__call__(batch)

    options = ["--shards=4", "--workers=1", f"--address={address}"]
    with monkeypatch.context() as patch:
        patch.setattr("recbole_llm.encode_command.ShardWorker", Dying)
        assert main([*arguments, *options]) == 1
    (error,) = errors_of(capsys)
    assert error.startswith("error: shard 2 has ended 1 workers, perhaps for want of memory")
    assert 0 < encode(*options)["encoded"] < 40
    assert_each_text_is_there_once(shards=4)
    assert encode()["from_cache"]


@pytest.mark.slow
def test_an_error_of_ray_is_one_line(arguments, capsys, monkeypatch, address) -> None:
    def fail(shards: Any) -> None:
        raise ray.exceptions.ObjectLostError("ab" * 14, "127.0.0.1", "\x1b[36mput\x1b[0m()")

    monkeypatch.setattr("ray.data.Dataset.iter_rows", fail)
    assert main([*arguments, "--shards=1", f"--address={address}"]) == 1
    (error,) = errors_of(capsys)
    assert error.startswith("error: Ray gave a shard up (Failed to retrieve object abab")
    assert error.endswith("run again for the rest. Ray's logs hold what its worker said.")
    assert "\x1b" not in error


@pytest.mark.slow
def test_on_ray_a_column_that_is_not_there_is_one_line(arguments, capsys, address, items) -> None:
    words = f"--items={items}", "--text_fields=[tilte]"
    assert main([*arguments, "--shards=2", f"--address={address}", *words]) == 2
    (error,) = errors_of(capsys)
    assert f"{items}: unknown column 'tilte'. Did you mean 'title'?" in error


@pytest.mark.slow
def test_on_ray_an_error_of_the_encoder_is_one_line(arguments, capsys, monkeypatch) -> None:
    class NoModel:
        def encode(self, texts: Any) -> None:
            raise EncoderError("text_encoder: no such thing")

    class Refusing(ShardWorker):
        """Cannot load its model."""

        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            self.encoder = NoModel()

    monkeypatch.setattr("recbole_llm.encode_command.ShardWorker", Refusing)
    assert main([*arguments, "--shards=2", "--workers=1"]) == 2
    assert errors_of(capsys) == ["error: text_encoder: no such thing"]


def errors_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of errors; there is no traceback."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("error: ")]
