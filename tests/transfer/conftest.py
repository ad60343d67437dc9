"""Two rings whose items share no name and no place, but a geometry of texts.

Each ring has twelve items on a circle. A title is one word, and the encoder's vector of it is its
place (3 + cos θ, sin θ); ring B's items lie a third of a step behind ring A's. Users step from one
item to the next. A model that has learned on ring A that an interest is a turn by one step can rank
ring B's items without having seen one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_llm import run_recbole

RING, STEP = 12, 2 * math.pi / 12
PLACES = {"a": [STEP * k for k in range(RING)], "b": [STEP * (k + 1 / 3) for k in range(RING)]}
SMALL = {
    "item_features": "text", "embedding_size": 8, "hidden_size": 8, "dropout_prob": 0.0,
    "learning_rate": 0.05, "train_batch_size": 4, "metrics": ["Hit"], "topk": [1],
    "valid_metric": "Hit@1", "show_progress": False, "enable_amp": False, "text_dtype": "float32",
    "MAX_ITEM_LIST_LENGTH": 4, "epochs": 10, "eval_step": 10,
}  # fmt: skip
Run = Callable[..., dict[str, Any]]


def write_rings(folder: Path) -> None:
    """Write the atomic files of both rings: walks of seven items from every place."""
    for ring in PLACES:
        (folder / ring).mkdir(parents=True)
        rows = ["user_id:token\titem_id:token\ttimestamp:float"]
        rows += [
            f"u{user}\t{ring}{(user + step) % RING}\t{float(step)}"
            for user in range(4 * RING)
            for step in range(7)
        ]
        (folder / ring / f"{ring}.inter").write_text("\n".join(rows) + "\n")
        rows = ["item_id:token\ttitle:token_seq"]
        rows += [f"{ring}{item}\tword{ring}{item}" for item in range(RING)]
        (folder / ring / f"{ring}.item").write_text("\n".join(rows) + "\n")


def write_encoder(folder: Path) -> None:
    """Write an encoder that gives the place of an item to its word."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"word{ring}{k}": at for ring, places in PLACES.items() for k, at in enumerate(places)}
    vocabulary = {"[UNK]": 0, **{word: row for row, word in enumerate(words, 1)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rows = [(0.0, 0.0), *((3 + math.cos(at), math.sin(at)) for at in words.values())]
    static = StaticEmbedding(tokenizer, embedding_weights=np.array(rows, dtype=np.float32))
    SentenceTransformer(modules=[static]).save(str(folder))


@pytest.fixture(scope="session")
def rings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the rings in ``data`` and their encoder in ``encoder``."""
    folder = tmp_path_factory.mktemp("rings")
    write_rings(folder / "data")
    write_encoder(folder / "encoder")
    return folder


@pytest.fixture(scope="session")
def run(rings: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs a model on a ring and returns the whole result."""

    def go(dataset: str, *, model: str = "LLMInterestLinear", **settings: Any) -> dict[str, Any]:
        run_dir = tmp_path_factory.mktemp("run") / "run"
        own = {
            "data_path": str(rings / "data"), "text_encoder": str(rings / "encoder"),
            "run_dir": str(run_dir), "text_cache_dir": str(rings / "cache"),
        }  # fmt: skip
        run_recbole(model, dataset, config_dict=SMALL | own | settings)
        found: dict[str, Any] = json.loads((run_dir / "result.json").read_text())
        return found

    return go


@pytest.fixture(scope="session")
def source(run: Run) -> Path:
    """Return the directory of a run on ring A."""
    return Path(run("a")["run_dir"])
