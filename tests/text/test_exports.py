"""Exported transformers in the cache: made once, checked, mended; a stand-in is the runtime."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from recbole_llm.errors import EncoderError, StoreError
from recbole_llm.hardware import is_out_of_memory
from recbole_llm.text.exports import exported
from recbole_llm.text.runtimes import openvino

EXAMPLES = [{"input_ids": torch.arange(1, 3 * length + 1).reshape(3, length)} for length in (4, 7)]


class Doubling(nn.Module):
    """A transformer whose hidden states are the ids and their doubles."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, input_ids: torch.Tensor, return_dict: bool) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=input_ids[..., None] * self.weight)


class StandIn:
    """A runtime that writes the weights as text, and counts its conversions in a file."""

    PACKAGES = ()

    def __init__(self, log: Path, *, write=None, error: Exception | None = None) -> None:
        self.log, self.write, self.error = log, write, error

    @property
    def calls(self) -> int:
        return len(self.log.read_text()) if self.log.exists() else 0

    def converted(self, module: nn.Module, values: tuple, *, is_int8: bool):
        with self.log.open("a") as file:
            file.write("x")
        if self.error:
            raise self.error
        weights = " ".join(map(str, module.transformer.weight.tolist()))
        return self.write or (lambda folder: (folder / "model.txt").write_text(weights))

    def load(self, folder: Path, *, precision: str):
        weights = np.array((folder / "model.txt").read_text().split(), dtype=np.float32)
        return lambda arrays: arrays["input_ids"][..., None].astype(np.float32) * weights


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(tmp_path / "calls")
    monkeypatch.setattr("recbole_llm.text.exports.importlib.import_module", lambda _: stand_in)
    return stand_in


def export(cache: Path, **change: object) -> list[float]:
    """Return the hidden states of one id, 3."""
    asked = {"backend": "onnx", "precision": "float32", "fingerprint": {"weights": "w"}} | change
    run = exported(Doubling(), examples=EXAMPLES, cache=cache, **asked)
    return run({"input_ids": np.array([[3]])}).flatten().tolist()


def test_an_export_is_made_once(runtime, tmp_path) -> None:
    assert export(tmp_path / "cache") == export(tmp_path / "cache") == [3.0, 6.0]
    assert runtime.calls == 1


@pytest.mark.parametrize(
    "change", [{"fingerprint": {"weights": "v"}}, {"precision": "int8"}, {"backend": "openvino"}]
)
def test_what_changes_an_export_has_one_of_its_own(runtime, tmp_path, change) -> None:
    export(tmp_path / "cache"), export(tmp_path / "cache", **change)
    assert runtime.calls == 2


def test_bf16_computes_from_the_float32_export(runtime, tmp_path) -> None:
    export(tmp_path / "cache"), export(tmp_path / "cache", precision="bf16")
    assert runtime.calls == 1


@pytest.mark.parametrize("spoil", [b"", b"1.0 3.0"], ids=["empty", "changed"])
def test_a_damaged_export_is_moved_aside_and_made_again(runtime, tmp_path, caplog, spoil) -> None:
    export(tmp_path / "cache")
    next((tmp_path / "cache").glob("*/model.txt")).write_bytes(spoil)
    assert export(tmp_path / "cache") == [3.0, 6.0] and runtime.calls == 2
    assert "damaged" in caplog.text and len(list((tmp_path / "cache").glob("*.corrupt-1"))) == 1


def test_an_export_that_gives_other_vectors_is_refused_and_not_kept(runtime, tmp_path) -> None:
    runtime.write = lambda folder: (folder / "model.txt").write_text("2.0 1.0")
    with pytest.raises(EncoderError, match=r"text_backend: onnx gives other vectors.*0\.8000"):
        export(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*"))


def test_an_encoder_that_cannot_be_exported_is_one_line(runtime, tmp_path) -> None:
    runtime.error = KeyError("no such operator\nand a long report")
    with pytest.raises(EncoderError, match=r"cannot take this encoder.*Use torch") as caught:
        export(tmp_path / "cache")
    assert "\n" not in str(caught.value) and caught.value.__suppress_context__


def test_a_cache_that_cannot_be_written_exports_for_this_run_alone(
    runtime, tmp_path, caplog
) -> None:
    (tmp_path / "file").write_text("")
    assert export(tmp_path / "file" / "cache") == [3.0, 6.0]
    assert "cannot be written" in caplog.text


def test_a_full_disk_is_an_error_and_leaves_no_junk(runtime, tmp_path) -> None:
    runtime.write = lambda folder: (folder / "model.txt").write_bytes(bytes(200_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(
            StoreError, match=rf"{2**20 + 8} bytes of exported models.*text_cache_dir"
        ):
            export(tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "cache").glob("*/*"))


@pytest.mark.slow
def test_killed_while_exporting_leaves_nothing_that_is_read(runtime, tmp_path, fork, until) -> None:
    cache, started = tmp_path / "cache", tmp_path / "started"

    def write(folder: Path) -> None:
        (folder / "model.txt").write_text("1.0")
        started.touch()
        time.sleep(60)

    def begin() -> None:
        runtime.write = write
        export(cache)

    child = fork(begin)
    until(started.exists)
    child.kill()
    child.join()
    assert export(cache) == [3.0, 6.0] and runtime.calls == 2
    assert len([path for path in cache.iterdir() if path.suffix != ".lock"]) == 1


@pytest.mark.parametrize(
    ("words", "kind"), [("can't alloc", RuntimeError), ("Broken promise", MemoryError)]
)
def test_a_request_of_openvino_that_failed_is_not_used_again(
    tmp_path, monkeypatch, words, kind
) -> None:
    (tmp_path / openvino.MODEL).touch()
    requests = [Mock(), Mock()]
    requests[0].wait.side_effect = RuntimeError(words)
    requests[1].get_output_tensor().data = np.ones(2)
    core = Mock()
    core.compile_model().create_infer_request.side_effect = requests
    monkeypatch.setattr(openvino, "_core", lambda: core)
    run = openvino.load(tmp_path, precision="float32")
    with pytest.raises(kind, match=words) as caught:
        run({})
    assert is_out_of_memory(caught.value)
    assert run({}).tolist() == run({}).tolist() == [1, 1]  # by the other request, both times
    requests[1].wait.side_effect = RuntimeError(words)
    (tmp_path / openvino.MODEL).unlink()
    with pytest.raises(kind):
        run({})
    with pytest.raises(EncoderError, match=r"memory ran out.*Set text_cache_dir"):
        run({})
