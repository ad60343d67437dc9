"""A small dataset and settings that train on it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Events = list[tuple[str, str, float]]


@pytest.fixture
def small() -> dict:
    """Return settings of a small model and a short training."""
    return {
        "item_features": "id", "embedding_size": 8, "hidden_size": 8, "epochs": 3,
        "train_batch_size": 8, "show_progress": False, "topk": [3], "valid_metric": "NDCG@3",
    }  # fmt: skip


@pytest.fixture
def walks() -> Events:
    """Return the events of twelve users who walk a circle of nine items."""
    return [(f"u{user}", f"i{(user + k) % 9}", float(k)) for user in range(12) for k in range(7)]


@pytest.fixture
def toy(write_dataset, walks, small) -> dict:
    """Return settings that train a small model on a small dataset."""
    titles = {f"i{k}": f"title {k}" for k in range(9)}
    return {"data_path": str(write_dataset(walks, titles)), **small}


@pytest.fixture
def numbers() -> Callable[[dict[str, Any]], tuple]:
    """Return a function of a result's numbers that do not depend on the machine's speed."""
    names = ("best_valid_result", "test_result", "epochs", "best_epoch")
    return lambda result: tuple(result[name] for name in names)


@pytest.fixture
def brief() -> dict[str, Any]:
    """Return settings of a model, any, that trains two epochs on the events of ``shop``."""
    return {
        "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 32, "topk": [1, 5],
        "valid_metric": "NDCG@5", "MAX_ITEM_LIST_LENGTH": 4, "show_progress": False,
        "metric_decimal_place": 15, "eval_args": {"mode": "full"}, "metrics": ["NDCG"],
    }  # fmt: skip


@pytest.fixture
def shop() -> Callable[..., Events]:
    """Return a function of random events of users who never meet an item twice."""

    def events(num_users: int = 70, num_items: int = 45, length: int = 7) -> Events:
        rng = np.random.default_rng(0)
        return [
            (f"u{user}", f"i{item}", float(step))
            for user in range(num_users)
            for step, item in enumerate(rng.permutation(num_items)[:length])
        ]

    return events
