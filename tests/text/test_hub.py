"""Models of the hub: from the cache without a socket, and every way in which the hub can fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from recbole_llm.errors import EncoderError
from recbole_llm.text.backends import BACKENDS
from recbole_llm.text.encoders import Encoding, TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.store import VectorStore

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the tiny BERT where a download would have put it; return the cache."""
    repository = tmp_path / "hub" / "models--somebody--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_bert, repository / "snapshots" / COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def spec(name: str = "somebody/tiny", **other) -> EncoderSpec:
    return EncoderSpec(name=name, dtype="float32", **other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("asked", "hub_cache")
def test_vectors_in_the_cache_need_no_model(tmp_path, monkeypatch, backend) -> None:
    monkeypatch.setattr("recbole_llm.text.encoders.load_model", None)
    encoder = TextEncoder(spec(backend=backend))
    assert encoder.fingerprint()["weights"] == COMMIT
    store = VectorStore(tmp_path / "vectors")
    with pytest.raises(TypeError):  # nothing is cached yet: it would load the model
        store.get(["toy"], encoder)
    encoder.encode = lambda texts: Encoding(torch.ones(len(texts), 16), 0, 1)
    store.get(["toy"], encoder)
    again = store.get(["toy"], TextEncoder(spec(backend=backend)))
    assert again.from_cache and again.vectors.shape == (1, 16)


@pytest.mark.usefixtures("asked", "hub_cache")
def test_a_model_in_the_cache_loads_without_a_network(tiny_bert, caplog) -> None:
    import sentence_transformers  # noqa: F401  # whose time is not the hub's

    begin = time.perf_counter()
    received = TextEncoder(spec()).encode(["toy story"]).vectors
    assert time.perf_counter() - begin < 20  # the hub's own retries take longer
    assert torch.equal(received, TextEncoder(spec(str(tiny_bert))).encode(["toy story"]).vectors)
    assert "somebody/tiny is read from the cache" in caplog.text


@pytest.mark.usefixtures("asked", "hub_cache")
def test_a_model_that_is_not_in_the_cache_says_so_at_once() -> None:
    with pytest.raises(EncoderError, match=r"somebody/cold.*cannot be reached"):
        TextEncoder(spec("somebody/cold")).encode(["toy"])


@pytest.mark.usefixtures("hub_cache")
def test_offline_by_wish_the_cache_serves_and_the_rest_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert TextEncoder(spec()).encode(["toy"]).vectors.shape == (1, 16)
    with pytest.raises(EncoderError, match=r"HF_HUB_OFFLINE.*hf download somebody/cold"):
        TextEncoder(spec("somebody/cold")).encode(["toy"])


@pytest.mark.usefixtures("hub_cache")
def test_which_commit_the_cache_has(hub_cache, monkeypatch) -> None:
    assert spec().commit() == COMMIT == spec(revision=COMMIT).commit()
    assert spec(revision="v2").commit() is None and spec("somebody/other").commit() is None
    assert spec("./no-such").commit() is None and spec("/no/such/path").commit() is None
    (hub_cache / "models--somebody--tiny").rename(hub_cache / "models--bert-tiny")
    assert spec("bert-tiny").commit() == COMMIT
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", "/no/such/cache")
    assert spec("bert-tiny").commit() is None


@pytest.mark.parametrize("name", ["./no-such", "/no/such/path", "a/b/c"])
def test_a_path_that_does_not_exist_is_one_line(name: str) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded: There is no such folder") as caught:
        TextEncoder(spec(name)).encode(["toy"])
    assert "\n" not in str(caught.value)


REFUSED = {
    "missing": (401, "RepoNotFound"),
    "forbidden": (403, ""),
    "busy": (429, ""),
    "broken": (503, ""),
}


class FakeHub(BaseHTTPRequestHandler):
    """Answers as the hub does, as far as loading a model asks it."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        if "/slow" in self.path:
            time.sleep(30)  # whoever asked has left by then
            self.close_connection = True
            return
        name = next((name for name in REFUSED if f"/{name}" in self.path), None)
        if name:
            self._answer(*REFUSED[name])
        elif "/resolve/" in self.path:
            self._send_file()
        elif "/tree/" in self.path:
            self._answer(404, "EntryNotFound")
        elif "/no-such-revision" in self.path:
            self._answer(404, "RevisionNotFound")
        else:
            self._answer(200, body=json.dumps({"id": "somebody/tiny", "sha": COMMIT}).encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_file(self) -> None:
        file = self.folder / self.path.rpartition("/")[2]
        if "/gated" in self.path:
            self._answer(401, "GatedRepo")
        elif file.is_file():
            self._answer(200, body=file.read_bytes(), etag=file.name.replace(".", "-"))
        else:
            self._answer(404, "EntryNotFound")

    def _answer(self, status: int, code: str = "", *, body: bytes = b"", etag: str = "x") -> None:
        self.send_response(status)
        headers = {"X-Error-Code": code, "X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
        headers |= {"Content-Length": str(len(body)), "Connection": "close"}  # none is left open
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


CHILD = """
import contextlib, io, json, sys, time
import recbole_llm.quick_start, sentence_transformers  # whose time is not the hub's
from recbole_llm.cli import main, run_recbole_command
SHARED = ["--dataset=toy", "--data_path=data", "--text_dtype=float32", "--use_gpu=false",
          "--text_cache_dir=vectors"]
for line in sys.stdin:
    answers = {}
    for asked in json.loads(line):
        name, *more = asked.split()
        model, _, revision = name.partition("@")
        argv = [*SHARED, *more, f"--text_encoder={model}"]
        argv += [f"--text_revision={revision}"] * bool(revision)
        begin, err, out = time.perf_counter(), io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
            trains = more and more[0].startswith("--model")
            code = run_recbole_command(argv) if trains else main(["encode", *argv])
        answers[asked] = [code, err.getvalue(), time.perf_counter() - begin]
    print(json.dumps(answers), flush=True)
"""
Answers = dict[str, tuple[int, str, float]]


@contextmanager
def asking(root: Path, *, port: int) -> Iterator[Callable[..., Answers]]:
    """Yield what runs a command with each model, in one process with its own cache.

    A command is ``recbole-llm encode``, or with a ``--model`` ``run_recbole``.
    """
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(root / "home")}
    short = {"HF_HUB_ETAG_TIMEOUT": "2", "HF_HUB_DOWNLOAD_TIMEOUT": "2", "NO_PROXY": "127.0.0.1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=root, env=os.environ | hub | short, **pipes
    ) as child:

        def ask(*names: str) -> Answers:
            print(json.dumps(names), file=child.stdin, flush=True)
            return json.loads(next(line for line in child.stdout if line.startswith("{")))

        yield ask


FAULTS = {
    "somebody/missing": "no such model or hides it. Check the name",
    "somebody/gated": "It is gated. Accept its terms",
    "somebody/forbidden": "hf auth login",
    "somebody/busy": "wait and run again",
    "somebody/broken": "out of order: wait",
    "somebody/slow": "cannot be reached: give a local path",
    "somebody/tiny@no-such-revision": "text_revision: the hub has no 'no-such-revision'",
}
FAULTS |= {
    f"{name} {how}": FAULTS[name]
    for how in (
        "--text_backend=torch_compiled", "--text_backend=onnx", "--text_backend=openvino",
        "--model=LLMInterestClassifier",
        "--model=LLMInterestLSTM --topk=[3] --valid_metric=NDCG@3 --text_tuning=lora",
        "--model=LLMInterestLSTM --topk=[3] --valid_metric=NDCG@3 --text_tuning=full",
    )
    for name in ("somebody/missing", "somebody/gated", "somebody/slow")
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    root = tmp_path_factory.mktemp("hub")
    (root / "data" / "toy").mkdir(parents=True)
    events = [f"u{u}\ti{item}\t{1 + 4 * (item % 2)}\t{item}" for u in range(3) for item in range(5)]
    items = [f"i{item}\ttoy story {item}" for item in range(5)]
    for kind, head, rows in (
        ("inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", events),
        ("item", "item_id:token\ttitle:token_seq", items),
    ):
        (root / "data" / "toy" / f"toy.{kind}").write_text("\n".join([head, *rows]) + "\n")
    handler = type("Handler", (FakeHub,), {"folder": tiny_bert})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with asking(root, port=server.server_port) as ask:
        online = ask(*FAULTS, "somebody/tiny")
        server.shutdown()
        server.server_close()
        assert online["somebody/tiny"][0] == 0, online["somebody/tiny"][1]
        shutil.rmtree(root / "vectors")
        offline = ask("somebody/tiny", "somebody/cold")
    return online | {f"offline {name}": answer for name, answer in offline.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_hub_is_one_line_and_soon(answers: Answers, name: str) -> None:
    code, err, seconds = answers[name]
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(lines) == 1 and FAULTS[name] in lines[0]
    assert name.split()[0].partition("@")[0] in lines[0] and "Traceback" not in err
    assert seconds < 30  # the hub's own retries take minutes


@pytest.mark.slow
def test_a_model_comes_from_the_hub_and_then_from_the_cache(answers: Answers) -> None:
    assert answers["somebody/tiny"][0] == 0 == answers["offline somebody/tiny"][0]
    assert "read from the cache" in answers["offline somebody/tiny"][1]
    code, err, seconds = answers["offline somebody/cold"]
    assert code == 2 and "cannot be reached" in err and "Traceback" not in err and seconds < 30
