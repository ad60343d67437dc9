"""The ring world: twelve items on a circle, users who step from one to the next.

An item's text vector is (cos θ, sin θ). A rotation by one step solves the world, and any matrix on
the last item can be that rotation. Items 5 and 11 occur only as test targets: a model that reads
text must still rank them, one that does not cannot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from recbole.data import data_preparation
from recbole.utils import init_seed
from torch import Tensor

from recbole_llm.config import LLMConfig
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.data.features import ItemVectors
from recbole_llm.train.trainer import InterestTrainer

NUM_ITEMS = 12
UNSEEN = (5, 11)


def ring_events() -> list[tuple[str, str, float]]:
    """Return walks on both arcs that end in every possible place, the unseen items last."""
    walks = []
    for begin in (0, 6):
        for first in range(begin, begin + 2):
            for last in range(first + 3, begin + 6):
                walks += [range(first, last + 1)] * 4
    return [
        (f"u{user}", f"i{item}", float(step))
        for user, walk in enumerate(walks)
        for step, item in enumerate(walk)
    ]


@dataclass
class World:
    """A built ring world: what a trainer needs."""

    config: LLMConfig
    train: Any
    valid: Any
    test: Any
    model: Any

    def fit(self) -> Any:
        """Train to the end and return the trainer."""
        trainer = InterestTrainer(self.config, self.model)
        trainer.fit(self.train, self.valid, verbose=False)
        return trainer


@pytest.fixture
def ring(write_dataset, monkeypatch: pytest.MonkeyPatch):
    """Return a function that builds the ring world for a model."""

    def build(name: str, *, shuffled: bool = False, **settings: Any) -> World:
        folder = write_dataset(ring_events(), {f"i{k}": f"item {k}" for k in range(NUM_ITEMS)})

        def on_the_circle(self: InterestDataset) -> ItemVectors | None:
            if settings.get("item_features") == "id":
                return None
            angles = [
                2 * math.pi * int(token[1:]) / NUM_ITEMS
                for token in self.field2id_token["item_id"][1:]
            ]
            table = torch.tensor([[math.cos(a), math.sin(a)] for a in angles])
            if shuffled:
                table = table[torch.randperm(NUM_ITEMS, generator=torch.Generator().manual_seed(3))]
            table = torch.cat([torch.zeros(1, 2), table])
            return ItemVectors(table, None, "ring", 0.0, True, 0)

        monkeypatch.setattr(InterestDataset, "item_vectors", on_the_circle)
        defaults = {
            "data_path": str(folder), "item_features": "text", "embedding_size": 16,
            "hidden_size": 32, "dropout_prob": 0.0, "learning_rate": 0.02, "epochs": 60,
            "train_batch_size": 16, "stopping_step": 60, "metrics": ["Hit"], "topk": [1],
            "valid_metric": "Hit@1", "show_progress": False, "MAX_ITEM_LIST_LENGTH": 8,
        }  # fmt: skip
        config = LLMConfig(name, "toy", None, defaults | settings)
        init_seed(config["seed"], True)
        loaders = data_preparation(config, InterestDataset(config))
        model = config.model_class(config, loaders[0].dataset)
        return World(config, *loaders, model)

    return build


@pytest.fixture
def histories() -> tuple[Tensor, Tensor]:
    """Return three histories of the ring, ``(3, 6)``, and their lengths."""
    ids = torch.tensor([[1, 2, 3, 4, 0, 0], [7, 8, 0, 0, 0, 0], [2, 3, 4, 5, 6, 7]])
    return ids, torch.tensor([4, 2, 6])
