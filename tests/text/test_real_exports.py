"""Faults of cache, memory and machine with each backend itself, not with what stands in for it."""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_llm.errors import StoreError
from recbole_llm.files import sha256
from recbole_llm.text import exports
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec

pytestmark = pytest.mark.slow
CASES = [("onnx", "float32"), ("openvino", "int8")]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["toy story", "golden eye", "film"]


class Runtime:
    """A runtime that converts a model once, writes it as often as asked, and counts how often."""

    def __init__(self, name: str, dtype: str, cache: Path) -> None:
        self.name, self.dtype, self.cache = name, dtype, cache
        self.module: Any = importlib.import_module(f"recbole_llm.text.runtimes.{name}")
        self.convert, self.saved, self.calls = self.module.converted, None, 0

    def converted(self, *model: object, is_int8: bool) -> Callable[[Path], None]:
        self.calls += 1
        self.saved = self.saved or self.convert(*model, is_int8=is_int8)
        return self.saved

    def encoder(self, cache: Path) -> TextEncoder:
        return TextEncoder(
            EncoderSpec(name="somebody/tiny", backend=self.name, dtype=self.dtype), cache=cache
        )

    def vectors(self, cache: Path) -> torch.Tensor:
        return self.encoder(cache).encode(TEXTS).vectors

    def copy(self, cache: Path) -> Path:
        """Copy the export that was made first into a cache and return its folder."""
        shutil.copytree(self.cache, cache)
        return next(cache.glob("models/*/manifest.json")).parent


@pytest.fixture(scope="module")
def hub(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Put the tiny BERT where a download would have put it, with a hub that may not be asked."""
    hub = tmp_path_factory.mktemp("hub")
    repository = hub / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_bert, repository / "snapshots" / COMMIT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield hub


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def runtime(request, hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """Return a runtime that has exported the tiny BERT once."""
    made = Runtime(*request.param, tmp_path_factory.mktemp("exports"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.module, "converted", made.converted)
        made.expected = made.vectors(made.cache)
        yield made


@pytest.fixture(autouse=True)
def _nothing_is_counted_yet(request: pytest.FixtureRequest) -> None:
    if "runtime" in request.fixturenames:
        request.getfixturevalue("runtime").calls = 0


def largest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


def truncate(folder: Path) -> None:
    largest(folder).write_bytes(largest(folder).read_bytes()[:-5])


def empty(folder: Path) -> None:
    largest(folder).write_bytes(b"")


def flip_a_bit(folder: Path) -> None:
    content = bytearray(largest(folder).read_bytes())
    content[len(content) // 2] ^= 1
    largest(folder).write_bytes(content)


def lose_a_file(folder: Path) -> None:
    largest(folder).unlink()


def put_another_file(folder: Path) -> None:
    """Put what is no model into the entry, with a manifest that vouches for it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        (folder / name).write_bytes(b"no model")
        manifest["files"][name] = [8, sha256(folder / name)]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, lose_a_file, put_another_file])
def test_a_damaged_export_is_moved_aside_and_made_again(runtime, tmp_path, caplog, damage) -> None:
    cache = tmp_path / "cache"
    entry = runtime.copy(cache)
    damage(entry)
    assert torch.equal(runtime.vectors(cache), runtime.expected) and runtime.calls == 1
    assert f"moved to {entry.name}.corrupt-1, made again" in caplog.text
    assert (entry.parent / f"{entry.name}.corrupt-1").is_dir()
    assert torch.equal(runtime.vectors(cache), runtime.expected) and runtime.calls == 1


@pytest.mark.parametrize("may_ask", [False, True])
def test_a_warm_cache_needs_no_network(runtime, tmp_path, monkeypatch, asked, may_ask) -> None:
    cache = tmp_path / "cache"
    runtime.copy(cache)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", not may_ask)
    assert torch.equal(runtime.vectors(cache), runtime.expected) and runtime.calls == 0
    assert bool(asked) == may_ask  # one question to the hub, unless it may not be asked


def test_a_cache_that_cannot_be_written_serves_this_run_alone(runtime, tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("")
    assert torch.equal(runtime.vectors(tmp_path / "file" / "cache"), runtime.expected)
    assert "cannot be written" in caplog.text and runtime.calls == 1


@pytest.mark.parametrize("cache", ["cache", "file/cache"])
def test_a_full_disk_says_the_bytes_needed_and_leaves_no_junk(
    runtime, tmp_path, monkeypatch, cache
) -> None:
    (tmp_path / "file").write_text("")  # where nothing can be written, a temporary folder serves
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    entry = next(runtime.cache.glob("models/*/manifest.json")).parent
    sizes = sorted(path.stat().st_size for path in entry.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in (2_000, sizes[-1] - 1, sizes[-2] + 1):  # all, or the largest alone: its end, more
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            with pytest.raises(StoreError, match=r"no room for \d+ bytes of exported models.*Free"):
                runtime.vectors(tmp_path / cache)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == [tmp_path / "file"]


def hold(runtime: Runtime, cache: Path, *, started: Path, seconds: float) -> None:
    """Export in a process that was forked, where runtimes do not run, and wait in the middle."""

    def wait(*_: object, **__: object) -> None:
        started.touch()
        time.sleep(seconds)

    exports._require_same, runtime.module.load = wait, lambda *_, **__: None
    assert runtime.encoder(cache).model


def test_killed_while_exporting_leaves_nothing_that_is_read(runtime, tmp_path, fork, until) -> None:
    cache, started = tmp_path / "cache", tmp_path / "started"
    child = fork(lambda: hold(runtime, cache, started=started, seconds=600))
    until(started.exists)
    assert len(list(cache.glob("models/.*/model.*"))) == 2  # it is written, in a place of its own
    child.kill()
    child.join()
    assert not list(cache.glob("models/*/manifest.json"))
    assert torch.equal(runtime.vectors(cache), runtime.expected) and runtime.calls == 1
    assert len([path for path in (cache / "models").iterdir() if path.suffix != ".lock"]) == 1


def test_of_two_processes_one_exports_and_the_other_waits(runtime, tmp_path, fork, until) -> None:
    cache, started = tmp_path / "cache", tmp_path / "started"
    child = fork(lambda: hold(runtime, cache, started=started, seconds=1))
    until(started.exists)
    assert torch.equal(runtime.vectors(cache), runtime.expected) and runtime.calls == 0
    child.join(60)
    assert child.exitcode == 0 and not list(cache.glob("models/*.corrupt-*"))


def in_a_process(code: str, *case: str, hub: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *case, "cache"]
    env = os.environ | {"HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


OUT_OF_MEMORY = """
import json, random, resource, sys, torch
from pathlib import Path
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
backend, dtype, cache = sys.argv[1:]
torch.set_num_threads(1)
encoder = TextEncoder(EncoderSpec(name="somebody/tiny", backend=backend, dtype=dtype), cache=cache)
draw = random.Random(0)
words = ["toy", "story", "golden", "eye", "four", "film"]
texts = [" ".join(draw.choices(words, k=30)) for _ in range(8_000)]
tokens = encoder.tokens(texts)
expected = encoder._vectors(tokens)
status = Path("/proc/self/status").read_text().split()
size = int(status[status.index("VmSize:") + 1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 64 * 2**20, resource.RLIM_INFINITY))
encoder.budget.tokens = most = 2**20
received = encoder._vectors(tokens)
halvings = (most // encoder.budget.tokens).bit_length() - 1
print(json.dumps([halvings, (received - expected).abs().max().item()]))
"""


def assert_half_is_tried(*case: str, hub: Path) -> None:
    done = in_a_process(OUT_OF_MEMORY, *case, hub=hub)
    assert done.returncode == 0, done.stderr
    halvings, difference = json.loads(done.stdout)
    assert halvings > 0 and difference < 1e-5, done.stderr


def test_a_runtime_out_of_memory_is_tried_with_half_the_batch(runtime, hub, tmp_path) -> None:
    runtime.copy(tmp_path / "cache")
    assert_half_is_tried(runtime.name, runtime.dtype, hub=hub)


@pytest.mark.parametrize("backend", ["torch", "torch_compiled"])
def test_torch_out_of_memory_is_tried_with_half_the_batch(hub, backend) -> None:
    assert_half_is_tried(backend, "float32", hub=hub)


SIGNAL_AFTER_TWO = """
import gc, os, signal, sys
from pathlib import Path
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
backend, dtype, cache = sys.argv[1:]
spec = EncoderSpec(name="somebody/tiny", backend=backend, dtype=dtype)
first, second = (TextEncoder(spec, cache=cache) for _ in range(2))
for encoder in (first, second):
    encoder.encode(["toy story"])
del encoder, first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_heard_when_two_models_have_gone(runtime, hub, tmp_path) -> None:
    runtime.copy(tmp_path / "cache")
    done = in_a_process(SIGNAL_AFTER_TWO, runtime.name, runtime.dtype, hub=hub)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
