"""A small dataset and settings that train on it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def small() -> dict:
    """Return settings of a small model and a short training."""
    return {
        "item_features": "id", "embedding_size": 8, "hidden_size": 8, "epochs": 3,
        "train_batch_size": 8, "show_progress": False, "topk": [3], "valid_metric": "NDCG@3",
    }  # fmt: skip


@pytest.fixture
def walks() -> list[tuple[str, str, float]]:
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
