"""A shop of two genres whose customers switch once, at any time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_llm import run_recbole
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.trajectory.atlas import Atlas

SETTINGS = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 12, "learning_rate": 0.02, "topk": [5],
    "valid_metric": "NDCG@5", "metrics": ["NDCG"], "MAX_ITEM_LIST_LENGTH": 20,
    "train_batch_size": 8, "show_progress": False, "item_features": "text",
    "text_dtype": "float32", "enable_amp": False, "dropout_prob": 0.0,
}  # fmt: skip


class World:
    """What the tests know of the shop.

    Attributes:
        size: Items of a genre.
        events: Events of a customer.
    """

    size, events = 20, 18
    odd_name, genres = "<b>u0</b>", ("calm", "wild")

    @classmethod
    def history(cls, seed: int, *, begins: int = 0, stays: int = 9) -> list[str]:
        """Return items of a genre, then of the other, ``events`` in all."""
        draw = np.random.default_rng(seed).permutation
        first, second = (draw(cls.size) + cls.size * at for at in (begins, 1 - begins))
        return [f"i{item}" for item in (*first[:stays], *second[: cls.events - stays])]


def write_world(folder: Path) -> None:
    """Write the shop's atomic files."""
    folder = folder / "world"
    folder.mkdir(parents=True)
    names = [World.odd_name, *(f"u{user}" for user in range(1, 60))]
    baskets = {
        name: World.history(user, begins=user % 2, stays=1 + user // 2 % (World.events - 2))
        for user, name in enumerate(names)
    }
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    rows += [
        f"{user}\t{item}\t{at}"
        for user, basket in baskets.items()
        for at, item in enumerate(basket)
    ]
    (folder / "world.inter").write_text("\n".join(rows) + "\n")
    rows = ["item_id:token\ttitle:token_seq\tgenre:token_seq"]
    for item in range(2 * World.size):
        genre = item // World.size
        first, second = (5 * genre + part for part in (item % 5, item // 5 % 5))
        rows.append(f"i{item}\tw{first} w{second} the $x_1$ <i>\tgoods {World.genres[genre]}")
    (folder / "world.item").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def world() -> type[World]:
    """Return what the tests know of the shop."""
    return World


@pytest.fixture(scope="session")
def world_run(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """Return the directory of a finished run on the shop."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    own = {
        "data_path": str(folder), "run_dir": str(folder / "run"), "text_encoder": str(encoder),
        "text_cache_dir": str(folder / "cache"),
    }  # fmt: skip
    run_recbole("LLMInterestGRU", "world", config_dict=SETTINGS | own)
    return folder / "run"


@pytest.fixture(scope="session")
def atlas(world_run: Path) -> Atlas:
    """Return the atlas of the run."""
    return Atlas(Recommender.load(world_run))
