"""The bundled encoder, loaded once, and tiny models that tests make."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "toy",
    "story",
    "golden",
    "eye",
    "four",
    "film",
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Refuse every connection, and return the list of what was asked for.

    Threads that were there before (Ray's, which ask its metrics for good) do not count.
    """
    asked, others = [], {*threading.enumerate()} - {threading.current_thread()}

    def refuse(*where: object, **_: object) -> None:
        if threading.current_thread() not in others:
            asked.append(where)
        raise OSError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


@pytest.fixture(scope="session")
def minilm() -> TextEncoder:
    """Return the real bundled MiniLM in float32."""
    return TextEncoder(EncoderSpec(dtype="float32"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of one layer with random weights, made here."""
    return write_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def wide_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of one layer whose weights are wide enough to learn fast."""
    return write_bert(tmp_path_factory.mktemp("wide-bert"), spread=0.5)


@pytest.fixture(scope="session")
def deep_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of two layers with random weights."""
    return write_bert(tmp_path_factory.mktemp("deep-bert"), layers=2)


def write_bert(folder: Path, *, layers: int = 1, spread: float = 0.02) -> Path:
    """Write a BERT with random weights into a folder, and return it."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, initializer_range=spread,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def byte_tokenizer(**special: str) -> Any:
    """Return a byte-level BPE tokenizer: it reads any language, and emoji."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["toy story", "漫画 漫画", "فيلم فيلم"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special)


@pytest.fixture(scope="session")
def tiny_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a GPT-2 of two layers with random weights and no padding token."""
    from transformers import GPT2Config, GPT2Model

    folder = tmp_path_factory.mktemp("tiny-gpt")
    tokenizer = byte_tokenizer(eos_token="<|end|>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    GPT2Model(
        GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, n_positions=64)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an XLM-RoBERTa of one layer, whose positions skip padding."""
    from tokenizers.processors import TemplateProcessing
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = tmp_path_factory.mktemp("tiny-multilingual")
    tokenizer = byte_tokenizer(bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a T5 encoder of one layer."""
    from transformers import T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("tiny-t5")
    tokenizer = byte_tokenizer(eos_token="</s>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
    )
    T5EncoderModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def write_encoder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an encoder of an architecture and returns its folder."""

    def write(kind: str, **sizes: int) -> Path:
        tokenizer = byte_tokenizer(bos_token="<s>", pad_token="<pad>", eos_token="</s>")
        tokenizer.save_pretrained(tmp_path / kind)
        marks = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
        config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **marks, **sizes)
        getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return write
