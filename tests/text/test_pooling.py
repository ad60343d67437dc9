"""Pooling, padding, prompts and truncation, against one text at a time through the bare model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from recbole_llm.errors import EncoderError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec

TEXTS = [
    "toy story",
    "漫画 海贼王",
    "🎬🍿",
    "فيلم قديم",
    "סרט",
    "a longer text than all the others",
    "x",
]
POOLED = {
    "cls": lambda states: states[0],
    "mean": lambda states: states.mean(0),
    "max": lambda states: states.amax(0),
    "last": lambda states: states[-1],
    "weighted_mean": lambda states: (
        torch.arange(1.0, len(states) + 1) @ states * 2 / (len(states) * (len(states) + 1))
    ),
}


def load(folder: Path, **spec) -> TextEncoder:
    return TextEncoder(EncoderSpec(**{"name": str(folder), "dtype": "float32"} | spec))


def states(encoder: TextEncoder, text: str) -> torch.Tensor:
    """Return the last hidden states of a text alone, ``(L, D)``, without padding."""
    words = encoder.model.tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        return encoder.model[0].model(**words).last_hidden_state[0]


def padded_on(folder: Path, side: str, copy: Path) -> Path:
    """Return a copy of a model whose tokenizer pads on a side."""
    shutil.copytree(folder, copy)
    file = copy / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": side}))
    return copy


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model", ["tiny_gpt", "tiny_multilingual"])
def test_a_batch_pools_as_one_text_at_a_time(request, tmp_path, model: str, side: str) -> None:
    folder = padded_on(request.getfixturevalue(model), side, tmp_path / "copy")
    for pooling, pooled in POOLED.items():
        encoder = load(folder, pooling=pooling)
        received = encoder.encode(TEXTS).vectors
        expected = torch.stack([pooled(states(encoder, text)) for text in TEXTS])
        assert torch.allclose(received, expected, atol=1e-5), pooling


def test_every_script_is_read_whole(tiny_gpt: Path, tiny_multilingual: Path) -> None:
    for folder in (tiny_gpt, tiny_multilingual):
        encoder = load(folder)
        for text in TEXTS:
            ids = encoder.model.tokenizer(text)["input_ids"]
            assert encoder.model.tokenizer.decode(ids, skip_special_tokens=True) == text
        vectors = encoder.encode(TEXTS).vectors
        assert torch.pdist(vectors).min() > 1e-3


def test_a_decoder_saved_for_generation_pools_its_last_token(tiny_gpt, tmp_path) -> None:
    shutil.copytree(tiny_gpt, tmp_path / "gpt")  # GPT-2's own class has another name
    file = tmp_path / "gpt" / "config.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"architectures": ["GPT2ForCausalLM"]})
    )
    encoder = load(tmp_path / "gpt")
    expected = torch.stack([states(encoder, text)[-1] for text in TEXTS])
    assert torch.allclose(encoder.encode(TEXTS).vectors, expected, atol=1e-5)


def test_weights_stored_in_bf16_are_computed_with_in_float32(tiny_gpt, tmp_path) -> None:
    from transformers import GPT2Model

    shutil.copytree(tiny_gpt, tmp_path / "gpt")
    stored = GPT2Model.from_pretrained(tiny_gpt, dtype=torch.bfloat16)
    stored.save_pretrained(tmp_path / "gpt")
    encoder = load(tmp_path / "gpt", pooling="mean")
    words = encoder.model.tokenizer("toy story", return_tensors="pt")
    expected = stored.float().eval()(**words).last_hidden_state[0].mean(0)
    assert torch.allclose(encoder.encode(["toy story"]).vectors[0], expected, atol=1e-6)


def test_a_tokenizer_without_a_limit_reads_all(tiny_gpt: Path) -> None:
    encoder = load(tiny_gpt, pooling="mean")
    encoder.model.max_seq_length = 10**30
    encoding = encoder.encode(["toy story"])
    assert encoding.truncated == 0 and encoding.vectors.shape == (1, 16)


def test_matryoshka_truncation_of_the_real_model(minilm: TextEncoder) -> None:
    short = load(Path("all-MiniLM-L6-v2"), dim=64)
    short.model = minilm.model
    received, whole = short.encode(TEXTS).vectors, minilm.encode(TEXTS).vectors
    assert torch.allclose(received, normalize(whole[:, :64]), atol=1e-6)  # MiniLM normalises


def test_matryoshka_truncation_of_a_model_that_does_not_normalise(tiny_gpt: Path) -> None:
    whole = load(tiny_gpt, pooling="mean").encode(TEXTS).vectors
    assert torch.equal(load(tiny_gpt, pooling="mean", dim=4).encode(TEXTS).vectors, whole[:, :4])
    assert torch.equal(load(tiny_gpt, pooling="mean", dim=16).encode(TEXTS).vectors, whole)
    with pytest.raises(EncoderError, match=r"text_dim: .* 16 entries, received 17"):
        load(tiny_gpt, dim=17).encode(TEXTS)


def test_a_prompt_is_part_of_the_text_as_sentence_transformers_has_it(minilm) -> None:
    prompt = "Instruct: Represent the item\nQuery: "
    encoder = load(Path("all-MiniLM-L6-v2"), prompt=prompt)
    encoder.model = minilm.model
    expected = torch.tensor(minilm.model.encode(TEXTS, prompt=prompt))
    assert torch.allclose(encoder.encode(TEXTS).vectors, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["default", "max"])
def test_a_model_that_leaves_the_prompt_out_of_its_pooling(
    tiny_multilingual: Path, tmp_path: Path, pooling: str
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_multilingual), device="cpu")
    model.set_pooling_include_prompt(include_prompt=False)
    model.save(str(tmp_path / "instructor"))
    encoder = load(tmp_path / "instructor", prompt="query: ", pooling=pooling)
    received = encoder.encode(TEXTS).vectors
    expected = torch.tensor(encoder.model.encode(TEXTS, prompt="query: "))
    assert torch.allclose(received, expected, atol=1e-5)
    everywhere = load(tiny_multilingual, prompt="query: ", pooling=pooling).encode(TEXTS).vectors
    assert not torch.allclose(received, everywhere, atol=1e-3)


def test_prompts_of_the_model_that_are_not_used_are_told(tiny_bert, tmp_path, caplog) -> None:
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "query: ", "document": "passage: "}
    SentenceTransformer(str(tiny_bert), device="cpu", prompts=prompts).save(str(tmp_path / "e5"))
    load(tmp_path / "e5", prompt="passage: ").encode(["toy"])
    assert "prompts" not in caplog.text
    load(tmp_path / "e5").encode(["toy"])
    assert "passage: " in caplog.text and "text_prompt" in caplog.text


def test_a_model_of_static_word_vectors(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "toy": 1, "story": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]])
    static = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))
    encoding = load(tmp_path / "static").encode(["toy story", "story", "toy story"])
    assert encoding.vectors.tolist() == [[1.0, 2.0], [0.0, 4.0], [1.0, 2.0]]
    assert load(tmp_path / "static", dim=1).encode(["toy"]).vectors.tolist() == [[2.0]]
    with pytest.raises(EncoderError, match=r"text_pooling: .*way of its own, received max"):
        load(tmp_path / "static", pooling="max").encode(["toy"])
    with pytest.raises(EncoderError, match=r"text_max_length: .* reads whole texts, received 8"):
        load(tmp_path / "static", max_length=8).encode(["toy"])


def test_static_vectors_take_no_prompt_of_their_own(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "toy": 1, "query": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    static = StaticEmbedding(tokenizer, embedding_weights=torch.tensor([[0.0], [2.0], [4.0]]))
    own = {"prompts": {"query": "query "}, "default_prompt_name": "query"}
    SentenceTransformer(modules=[static], device="cpu", **own).save(str(tmp_path / "static"))
    assert load(tmp_path / "static").encode(["toy"]).vectors.tolist() == [[2.0]]
    prompted = load(tmp_path / "static", prompt="query ").encode(["toy"])
    assert prompted.vectors.tolist() == [[3.0]]


@pytest.mark.parametrize("options", [{"max_length": 4}, {"add_special_tokens": False}])
def test_texts_are_tokenised_as_the_models_own_files_say(tiny_bert, tmp_path, options) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    words = Transformer(str(tiny_bert), processing_kwargs={"text": options})
    whole = SentenceTransformer(modules=[words, Pooling(16, pooling_mode="mean")], device="cpu")
    whole.save(str(tmp_path / "bert"))
    encoder, texts = load(tmp_path / "bert"), ["toy story film toy", "toy"]
    assert torch.allclose(encoder.encode(texts).vectors, torch.tensor(whole.encode(texts)))
    assert encoder.token_lengths(texts)[1] == (1 if "add_special_tokens" in options else 3)


def with_own_code(folder: Path, *first: str) -> Path:
    """Give a BERT code of its own, which begins with these lines."""
    lines = (*first, "from transformers import BertConfig, BertModel",
             "class Own(BertConfig):\n    model_type = 'own'",
             "class OwnModel(BertModel):\n    config_class = Own\n")  # fmt: skip
    (folder / "modeling.py").write_text("\n".join(lines))
    file = folder / "config.json"
    own = {"AutoConfig": "modeling.Own", "AutoModel": "modeling.OwnModel"}
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"model_type": "own", "auto_map": own}))
    return folder


def test_code_of_a_model_runs_only_where_it_is_trusted(tiny_bert: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    lines = "from pathlib import Path", f"Path({str(canary)!r}).touch()"
    folder = with_own_code(shutil.copytree(tiny_bert, tmp_path / "bert"), *lines)
    with pytest.raises(EncoderError, match="trust_remote_code: true"):
        load(folder).encode(["toy"])
    assert not canary.exists()
    load(folder, trust_remote_code=True).encode(["toy"])
    assert canary.exists()


def test_a_package_that_a_model_needs_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    folder = with_own_code(shutil.copytree(tiny_bert, tmp_path / "needy"), "import no_such_package")
    with pytest.raises(EncoderError, match=r"no_such_package.*Install what it needs"):
        load(folder, trust_remote_code=True).encode(["toy"])


@pytest.mark.parametrize("broken", [{"hidden_size": "many"}, {"hidden_act": "none such"}])
def test_a_broken_configuration_is_one_message(tiny_bert: Path, tmp_path: Path, broken) -> None:
    folder = shutil.copytree(tiny_bert, tmp_path / "bert")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | broken))
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load(folder).encode(["toy"])
