"""A shop whose titles a tiny BERT reads, and finished runs on it whose data is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_llm import run_recbole
from recbole_llm.recommend.recommender import Recommender

USERS, ITEMS, LENGTH = 70, 45, 7
WORDS = [f"w{number}" for number in range(10)]
SMALL = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 32, "topk": [1, 5],
    "valid_metric": "NDCG@5", "metrics": ["NDCG"], "MAX_ITEM_LIST_LENGTH": 4,
    "show_progress": False, "item_features": "text", "text_dtype": "float32",
    "enable_amp": False, "dropout_prob": 0.0,
}  # fmt: skip
Trained = Callable[..., Path]


class Shop:
    """What the tests know of the shop."""

    num_users, num_items, length = USERS, ITEMS, LENGTH

    @staticmethod
    def title(item: str) -> str:
        """Return an item's title; the last two items share theirs."""
        number = min(int(item[1:]), ITEMS - 2)
        return f"w{number // 10} w{number % 10} the {WORDS[number * 7 % 10]}"

    @staticmethod
    def history(user: str) -> list[str]:
        """Return a user's items in time order; no one meets an item twice."""
        rng = np.random.default_rng(int(user[1:]))
        return [f"i{item}" for item in rng.permutation(ITEMS)[:LENGTH]]


def write_shop(folder: Path) -> None:
    """Write the shop's atomic files."""
    folder.mkdir(parents=True)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    rows += [
        f"u{user}\t{item}\t{10.0 * step + user / 100}"
        for user in range(USERS)
        for step, item in enumerate(Shop.history(f"u{user}"))
    ]
    (folder / "shop.inter").write_text("\n".join(rows) + "\n")
    rows = ["item_id:token\ttitle:token_seq\tkind:token_seq"]
    rows += [f"i{item}\t{Shop.title(f'i{item}')}\tgoods" for item in range(ITEMS)]
    (folder / "shop.item").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def shop() -> type[Shop]:
    """Return what the tests know of the shop."""
    return Shop


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of one layer with random weights, made here."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "goods", ",", *WORDS]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Trained:
    """Return a function that trains a run, once, removes its data, and returns its directory."""
    done: dict[str, Path] = {}

    def train(model: str = "LLMInterestLSTM", *, keep_data: bool = False, **settings: Any) -> Path:
        key = repr((model, keep_data, settings))
        if key not in done:
            folder = tmp_path_factory.mktemp("run")
            write_shop(folder / "data")
            own = {
                "data_path": str(folder / "data"), "run_dir": str(folder / "run"),
                "text_encoder": str(encoder), "text_cache_dir": str(folder / "cache"),
            }  # fmt: skip
            run_recbole(model, "shop", config_dict=SMALL | own | settings)
            shutil.rmtree(folder / "cache", ignore_errors=True)
            if not keep_data:
                shutil.rmtree(folder / "data")
            done[key] = folder / "run"
        return done[key]

    return train


@pytest.fixture(scope="session")
def recommender(trained: Trained) -> Recommender:
    """Return the recommender of a run that reads text alone."""
    return Recommender.load(trained())


@pytest.fixture
def write_items(tmp_path: Path) -> Callable[[list[str]], Path]:
    """Return a function that writes rows of id, title and kind into a file of new items."""

    def write(rows: list[str]) -> Path:
        header = "item_id:token\ttitle:token_seq\tkind:token_seq"
        (path := tmp_path / "new.item").write_text("\n".join([header, *rows]) + "\n")
        return path

    return write
