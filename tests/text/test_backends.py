"""Every backend against PyTorch in float32, by tiny models and by the real MiniLM."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity

from recbole_llm import hardware
from recbole_llm.cli import main
from recbole_llm.errors import EncoderError
from recbole_llm.text import models
from recbole_llm.text.backends import BACKENDS
from recbole_llm.text.encoders import Encoding, TextEncoder
from recbole_llm.text.models import EncoderSpec

EXPORTED = [
    ("onnx", "float32"),
    ("onnx", "int8"),
    ("openvino", "float32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
]
QUICK = ("openvino", "int8")
TORCH_BF16 = pytest.param(
    "torch", "bf16",
    marks=pytest.mark.skipif(
        not hardware.cpu_has_bf16(), reason="this processor emulates bf16, which takes minutes"
    ),
)  # fmt: skip
CASES = [
    pytest.param(
        name, *case, marks=[] if name == "tiny_bert" and case == QUICK else pytest.mark.slow
    )
    for name in ("tiny_bert", "tiny_gpt", "tiny_multilingual")
    for case in EXPORTED
    if (name, *case) != ("tiny_gpt", "onnx", "int8")
]
LEAST = {"float32": 0.999999, "bf16": 0.9998, "int8": 0.996}  # cosines; of real titles: 0.9973
BATCHES = {"float32": 1e-5, "bf16": 4e-3, "int8": 5e-3}  # of an entry; measured: 1.1e-3 and 3.7e-3
CLEAR = {"float32": 1e-4, "bf16": 0.005, "int8": 0.02}  # measured: all, all, and above 0.007
TITLES = [f"{word} number {k}" + " and more" * (k % 7) for k in range(16) for word in "ab"]
TITLES += ["x " * 600]
TEXTS = ["toy story", "漫画 海贼王", "🎬🍿", "فيلم قديم", "x", "a longer text than all the others"]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a vector cache whose exported models serve all tests of a process."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(autouse=True)
def _has_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpu_has_bf16", "cpu_is_faster_in_bf16"):
        monkeypatch.setattr(models, name, lambda: True)


def encoder(name: str | Path, backend: str, dtype: str, cache: Path, **spec) -> TextEncoder:
    return TextEncoder(
        EncoderSpec(name=str(name), backend=backend, dtype=dtype, **spec), cache=cache
    )


@pytest.mark.parametrize(("model", "backend", "dtype"), CASES)
def test_vectors_are_those_of_torch(request, exports, model, backend, dtype) -> None:
    folder = request.getfixturevalue(model)
    for pooling in ("mean", "last"):
        plain = encoder(folder, "torch", "float32", exports, pooling=pooling).encode(TEXTS)
        other = encoder(folder, backend, dtype, exports, pooling=pooling).encode(TEXTS)
        assert cosine_similarity(plain.vectors, other.vectors).min() > LEAST[dtype]
        assert (plain.truncated, plain.tokens) == (other.truncated, other.tokens)
        if dtype == "float32":
            assert torch.allclose(plain.vectors, other.vectors, atol=1e-5)


@pytest.fixture
def titles(ml_100k: Path) -> list[str]:
    """Return titles of films, others that are much alike, and a text that is cut."""
    rows = (ml_100k / "ml-100k.item").read_text().splitlines()[1:65]
    return [row.split("\t")[1] for row in rows] + TITLES


def likeness(encoding: Encoding) -> torch.Tensor:
    """Return the cosines of texts with each other, that with themselves apart."""
    return (encoding.vectors @ encoding.vectors.T).fill_diagonal_(-1)


def assert_batches_change_nothing(plain: Encoding, *others: Encoding, dtype: str) -> None:
    """Compare texts encoded alone and in one batch with what torch in float32 makes of them.

    The text that is most alike is the same in all three where it is more so than the next by what
    the precision can tell.
    """
    alone, batched = others
    assert cosine_similarity(plain.vectors, batched.vectors).min() > LEAST[dtype]
    assert plain.truncated == alone.truncated == batched.truncated == 1
    assert torch.allclose(alone.vectors, batched.vectors, atol=BATCHES[dtype])
    best = likeness(plain).topk(2, dim=1)
    is_clear = best.values[:, 0] - best.values[:, 1] > CLEAR[dtype]
    assert is_clear.sum() > 40
    for one in others:
        assert torch.equal(likeness(one).argmax(1)[is_clear], best.indices[is_clear, 0])


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "dtype"), [*EXPORTED, TORCH_BF16])
def test_the_real_model_and_its_batches(minilm, exports, titles, backend, dtype) -> None:
    one, many = (encoder(minilm.spec.name, backend, dtype, exports) for _ in range(2))
    one.budget.tokens, many.budget.tokens = 1, 10_000
    one.model = many.model
    encoded = [part.encode(titles) for part in (minilm, one, many)]
    assert_batches_change_nothing(*encoded, dtype=dtype)


@pytest.mark.slow
def test_the_real_model_compiled_and_its_batches(minilm, titles, tmp_path) -> None:
    # In a process of its own, as a user's: the other runtimes bring OpenMP libraries of their own.
    # Where bf16 is emulated, this takes minutes, and users are refused it.
    dtypes = ["float32", "bf16"] if hardware.cpu_has_bf16() else ["float32"]
    code = """
import json, socket, sys, torch
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
socket.socket.connect = socket.getaddrinfo = None  # it needs no network either
texts, made = json.load(sys.stdin), {}
for dtype in sys.argv[2:]:
    encoder = TextEncoder(EncoderSpec(dtype=dtype, backend="torch_compiled"))
    for encoder.budget.tokens in (1, 10_000):
        made.setdefault(dtype, []).append(encoder.encode(texts))
torch.save(made, sys.argv[1])
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(tmp_path / "made.pt"), *dtypes]
    done = subprocess.run(command, input=json.dumps(titles), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plain = minilm.encode(titles)
    made = torch.load(tmp_path / "made.pt", weights_only=False)
    assert made.keys() == set(dtypes)
    for dtype, encoded in made.items():
        assert_batches_change_nothing(plain, *encoded, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "dtype"), [("onnx", "int8"), ("openvino", "int8")])
def test_neither_exporting_nor_running_opens_a_socket(
    tiny_bert, tmp_path, asked, backend, dtype
) -> None:
    encoder(tiny_bert, backend, dtype, tmp_path).encode(["toy story"])
    assert not asked and len(list((tmp_path / "models").glob("*/manifest.json"))) == 1


@pytest.mark.slow
def test_a_quantiser_keeps_its_steps_to_itself(tiny_bert, tmp_path) -> None:
    code = (
        "import sys; from recbole_llm.text.encoders import TextEncoder; "
        "from recbole_llm.text.models import EncoderSpec; "
        "spec = EncoderSpec(name=sys.argv[1], backend='onnx', dtype='int8'); "
        "TextEncoder(spec, cache=sys.argv[2]).encode(['toy story'])"
    )
    command = [sys.executable, "-c", code, str(tiny_bert), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "quantiz" not in done.stdout + done.stderr


@pytest.mark.slow
def test_exporting_leaves_the_log_and_the_environment_alone(tiny_bert, tmp_path) -> None:
    def state() -> tuple[object, ...]:
        root = logging.getLogger()
        handlers = [(one, one.level) for one in root.handlers]
        return root.level, handlers, logging.getLoggerClass(), dict(os.environ)

    before = state()
    encoder(tiny_bert, "onnx", "int8", tmp_path).encode(["toy story"])
    encoder(tiny_bert, "openvino", "int8", tmp_path).encode(["toy story"])
    assert state() == before


@pytest.mark.parametrize(
    ("backend", "dtype", "received"),
    [
        ("torch", "auto", "bf16"), ("torch_compiled", "auto", "bf16"), ("onnx", "auto", "float32"),
        ("openvino", "auto", "bf16"), ("openvino", "int8", "int8"),
    ],
)  # fmt: skip
def test_what_a_backend_computes_in(backend, dtype, received) -> None:
    spec = EncoderSpec(backend=backend, dtype=dtype)
    assert spec.precision("cpu") == received
    assert spec.fingerprint("cpu").get("backend", "torch") == backend
    assert TextEncoder(spec, device="cuda").device == ("cuda" if "torch" in backend else "cpu")


@pytest.mark.parametrize(("backend", "dtype"), [("torch", "int8"), ("onnx", "bf16")])
def test_a_precision_that_a_backend_lacks_is_refused(backend, dtype) -> None:
    with pytest.raises(EncoderError, match=f"{backend} computes in float32 or .*received {dtype}"):
        EncoderSpec(backend=backend, dtype=dtype).precision("cpu")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_missing_extra_says_what_to_install(monkeypatch, capsys, toy_data, backend) -> None:
    find, packages = importlib.util.find_spec, BACKENDS[backend].packages
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: name not in packages and find(name, *rest)
    )
    arguments = [f"--data_path={toy_data}", "--use_gpu=false", "--text_cache_dir=vectors"]
    assert main(["encode", "--dataset=toy", f"--text_backend={backend}", *arguments]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"error: text_backend: {backend} needs {backend}")
    assert message.endswith(f"(or pip install '.[{backend}]')")


def test_a_missing_compiler_is_told(monkeypatch, tiny_bert, tmp_path) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with pytest.raises(EncoderError, match=r"torch_compiled needs a C\+\+ compiler"):
        encoder(tiny_bert, "torch_compiled", "float32", tmp_path).encode(["toy"])


def test_a_model_without_a_transformer_is_refused(tmp_path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "toy": 1}, unk_token="[UNK]"))
    static = StaticEmbedding(tokenizer, embedding_weights=torch.eye(2))
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    with pytest.raises(EncoderError, match="onnx runs transformers, and StaticEmbedding is none"):
        encoder(tmp_path / "static", "onnx", "float32", tmp_path).encode(["toy"])


@pytest.mark.slow
def test_int8_that_would_be_float32_is_refused(tiny_gpt, tmp_path) -> None:
    with pytest.raises(EncoderError, match="none of its products is one that int8 knows"):
        encoder(tiny_gpt, "onnx", "int8", tmp_path).encode(["toy"])


@pytest.mark.slow
def test_the_command_line_prints_its_result_alone(toy_data, tiny_bert, capfd) -> None:
    arguments = [f"--data_path={toy_data}", "--use_gpu=false", "--text_cache_dir=vectors"]
    arguments += [f"--text_encoder={tiny_bert}", "--text_backend=openvino", "--text_dtype=int8"]
    assert main(["encode", "--dataset=toy", *arguments]) == 0
    assert json.loads(capfd.readouterr().out)["from_cache"] is False
    assert main(["encode", "--dataset=toy", *arguments]) == 0
    assert json.loads(capfd.readouterr().out)["from_cache"] is True


@pytest.mark.slow
def test_an_export_that_is_lost_beside_a_long_text_is_refused(write_encoder, tmp_path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
             "intermediate_size": 16, "local_attention": 8}  # fmt: skip
    name = str(write_encoder("ModernBert", **sizes))
    texts = ["a", "xyz" * 20]
    spec = EncoderSpec(name=name, dtype="float32")
    assert torch.isfinite(TextEncoder(spec).encode(texts).vectors).all()
    with pytest.raises(EncoderError, match=r"openvino gives other vectors .* Use torch"):
        TextEncoder(replace(spec, backend="openvino"), cache=tmp_path).encode(texts)
