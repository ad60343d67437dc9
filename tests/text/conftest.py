"""The bundled encoder, loaded once, and a tiny BERT that tests make."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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


@pytest.fixture(scope="session")
def minilm() -> TextEncoder:
    """Return the real bundled MiniLM in float32."""
    return TextEncoder(EncoderSpec(dtype="float32"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of one layer with random weights, made here."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
