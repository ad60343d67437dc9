"""Encoders: the real MiniLM against sentence-transformers, and what can go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from torch.nn.functional import cosine_similarity

from recbole_llm.errors import EncoderError, NonFiniteError
from recbole_llm.text import hub, models
from recbole_llm.text.encoders import Encoding, TextEncoder
from recbole_llm.text.models import BUNDLED_SHA256, EncoderSpec
from recbole_llm.text.store import VectorStore

TITLES = ["Toy Story", "GoldenEye", "Four Rooms", "Toy Story", "漫画 🎬 فيلم", "x " * 600]


@pytest.fixture(scope="session")
def reference(minilm: TextEncoder) -> torch.Tensor:
    return torch.tensor(minilm.model.encode(TITLES))


def test_vectors_are_those_of_sentence_transformers(minilm, reference) -> None:
    encoding = minilm.encode(TITLES)
    assert encoding.vectors.shape == (6, 384)
    assert torch.allclose(encoding.vectors, reference, atol=1e-5)
    assert encoding.truncated == 1


@pytest.mark.slow
def test_bf16_keeps_the_direction(minilm, reference, monkeypatch) -> None:
    monkeypatch.setattr(models, "cpu_has_bf16", lambda: True)
    fast = TextEncoder(EncoderSpec(dtype="bf16"))
    fast.model = minilm.model
    assert cosine_similarity(fast.encode(TITLES).vectors, reference).min() > 0.9998


def test_bf16_is_refused_where_the_processor_would_emulate_it(monkeypatch) -> None:
    for name in ("cpu_has_bf16", "cpu_is_faster_in_bf16"):
        monkeypatch.setattr(models, name, lambda: False)
    assert EncoderSpec().precision("cpu") == "float32"
    assert EncoderSpec().precision("cuda") == "bf16"
    with pytest.raises(EncoderError, match="float32"):
        EncoderSpec(dtype="bf16").precision("cpu")


def test_the_batch_does_not_change_a_vector(minilm) -> None:
    titles = [f"{word} number {k}" + " and more" * (k % 7) for k in range(32) for word in "ab"]
    one_by_one, together = (TextEncoder(minilm.spec, token_budget=budget) for budget in (1, 10_000))
    one_by_one.model = together.model = minilm.model
    alone, batched = one_by_one.encode(titles).vectors, together.encode(titles).vectors
    assert torch.allclose(alone, batched, atol=1e-5)
    assert torch.equal(
        (alone @ alone.T).argsort(1)[:, -5:], (batched @ batched.T).argsort(1)[:, -5:]
    )


def test_each_distinct_text_is_encoded_once(minilm, monkeypatch) -> None:
    seen = []
    forward = TextEncoder._forward
    monkeypatch.setattr(
        TextEncoder,
        "_forward",
        lambda self, t, rows: (seen.extend(rows), forward(self, t, rows))[1],
    )
    vectors = minilm.encode(["b", "a", "b", "b"]).vectors
    assert len(seen) == 2
    assert torch.equal(vectors[0], vectors[2]) and not torch.equal(vectors[0], vectors[1])


def test_bundled_weights_are_checked(tmp_path: Path, monkeypatch) -> None:
    folder = EncoderSpec().folder()
    assert models.sha256(folder / "model.safetensors") == BUNDLED_SHA256
    copy = tmp_path / "model"
    copy.mkdir()
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    monkeypatch.setattr(models.resources, "files", lambda _: tmp_path)
    with pytest.raises(EncoderError, match=f"must have sha256 {BUNDLED_SHA256}"):
        EncoderSpec().folder()


def test_the_key_of_stored_vectors_stays_what_it_was(minilm, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(TextEncoder, "encode", lambda _, texts: Encoding(torch.ones(2, 384), 0, 1))
    received = VectorStore(tmp_path).get(["a", "b"], minilm)
    assert received.key == "c20c4628682679fcf1a2a49b5bb18b61cc799d08"
    assert received.content == "77a0295ea7e85ec0d8398f7c5073eb4efe7db95a"


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_pooling(tiny_bert: Path, pooling: str) -> None:
    encoder = TextEncoder(EncoderSpec(name=str(tiny_bert), pooling=pooling, dtype="float32"))
    vectors = encoder.encode(["toy story", "four"]).vectors
    words = encoder.model.tokenizer("toy story", return_tensors="pt")
    states = encoder.model[0].model(**words).last_hidden_state[0]  # (4, 16)
    pooled = {"mean": states.mean(0), "cls": states[0], "max": states.amax(0), "last": states[-1]}
    assert torch.allclose(vectors[0], pooled[pooling], atol=1e-5)


def test_prompt_and_length_reach_the_model(tiny_bert: Path) -> None:
    def vector(text: str, **spec) -> torch.Tensor:
        return TextEncoder(EncoderSpec(name=str(tiny_bert), dtype="float32", **spec)).encode([text])

    assert torch.equal(vector("story", prompt="toy ").vectors, vector("toy story").vectors)
    cut = vector("toy story film", max_length=3)
    assert torch.equal(cut.vectors, vector("toy").vectors) and cut.truncated == 1


def test_a_local_model_needs_no_network(tiny_bert: Path, asked) -> None:
    assert TextEncoder(EncoderSpec(name=str(tiny_bert))).encode(["toy"]).vectors.shape == (1, 16)
    assert not asked


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("nobody/no-such is not a local folder and is not a valid model"), "local path"),
        (OSError("You are trying to access a gated repo. 401"), "hf auth login"),
        (OSError("We couldn't connect to the hub: offline mode is enabled"), "network"),
        (HfHubHTTPError.__bases__[0]("read timed out"), "network"),
        (ValueError("requires you to set trust_remote_code=True"), "trust_remote_code: true"),
    ],
)
def test_a_model_that_does_not_load_is_one_line_with_a_hint(monkeypatch, error, words) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", refuse)
    monkeypatch.setattr(hub, "locate", lambda name, revision: (None, False))
    with pytest.raises(EncoderError, match=words) as caught:
        TextEncoder(EncoderSpec(name="nobody/no-such")).encode(["toy"])
    assert "nobody/no-such" in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_length_beyond_the_model_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(EncoderError, match="reads at most 32, received 33"):
        TextEncoder(EncoderSpec(name=str(tiny_bert), max_length=33)).encode(["toy"])


def test_a_part_of_a_model_may_be_a_link(tiny_bert, deep_bert, tmp_path) -> None:
    found = set()
    for bert in (tiny_bert, deep_bert):
        folder = tmp_path / bert.name
        folder.mkdir()
        (folder / "0_Transformer").symlink_to(bert, target_is_directory=True)
        (folder / "again").symlink_to(folder, target_is_directory=True)  # without end
        found.add(EncoderSpec(name=str(folder), dtype="float32").fingerprint("cpu")["weights"])
    assert len(found) == 2


def test_positions_that_begin_behind_the_padding_are_not_overrun(write_encoder) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16, "max_position_embeddings": 34}  # fmt: skip
    name = str(write_encoder("Roberta", **sizes))  # the tokenizer says 64
    encoding = TextEncoder(EncoderSpec(name=name)).encode(["a", "漫x" * 30])
    assert encoding.truncated == 1 and encoding.tokens == 1 + 32
    with pytest.raises(EncoderError, match="reads at most 32, received 33"):
        TextEncoder(EncoderSpec(name=name, max_length=33)).encode(["toy"])


@pytest.mark.parametrize("spoil", ["truncate", "resize"])
def test_a_damaged_local_model_is_one_line(tiny_bert: Path, tmp_path: Path, spoil: str) -> None:
    copy = tmp_path / "bert"
    shutil.copytree(tiny_bert, copy)
    if spoil == "truncate":
        weights = copy / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
    else:
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(EncoderError, match="cannot be loaded"):
        TextEncoder(EncoderSpec(name=str(copy))).encode(["toy"])


def stand_in(monkeypatch: pytest.MonkeyPatch, forward) -> TextEncoder:
    """Return an encoder whose forward pass is the one given; tokens are characters."""
    encoder = TextEncoder(EncoderSpec(dtype="float32"), token_budget=8)

    def tokenizer(texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    class Model(SimpleNamespace):
        def __getitem__(self, _: int) -> None:
            """Have a first module that says nothing."""

    encoder.model = Model(tokenizer=tokenizer, max_seq_length=None)
    monkeypatch.setattr(TextEncoder, "_forward", forward)
    return encoder


def test_out_of_memory_halves_the_batch_until_it_fits(monkeypatch) -> None:
    sizes = []

    def forward(self, tokens, rows):
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return torch.tensor(rows, dtype=torch.float32)[:, None]

    encoder = stand_in(monkeypatch, forward)
    assert encoder.encode(["aaa", "bbb", "ccc"]).vectors.flatten().tolist() == [0, 1, 2]
    assert sizes == [2, 1, 1, 1]


def test_a_text_that_never_fits_is_an_error(monkeypatch) -> None:
    def forward(self, tokens, rows):
        raise torch.OutOfMemoryError

    with pytest.raises(EncoderError, match=r"one text of 5 tokens: .*\. Set text_max_length"):
        stand_in(monkeypatch, forward).encode(["aaaaa"])


def test_a_vector_that_is_not_finite_names_its_text(monkeypatch) -> None:
    def forward(self, tokens, rows):
        return torch.tensor([[float("nan") if row == 1 else 0.0] for row in rows])

    with pytest.raises(NonFiniteError, match="'bbb'"):
        stand_in(monkeypatch, forward).encode(["aaa", "bbb"])
