"""The ring world: ten items on a circle, users who step from one to the next, and two new items.

An item's text vector is (cos θ, sin θ). A rotation by one step solves the world, and any matrix on
the last item can be that rotation. Two more items, i10 and i11, occur only as test targets; their
texts nearly repeat those of i3 and i8. A model that reads text must rank a new item beside its
twin; one that cannot read has never seen it.
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
from recbole_llm.settings import Settings
from recbole_llm.train.trainer import InterestTrainer

RING = 10
TWINS = {10: 3, 11: 8}  # new item: the item whose text it nearly has


def ring_events() -> list[tuple[str, str, float]]:
    """Return walks of eight items from every place, some of which end in a new item."""
    walks = [[(begin + step) % RING for step in range(8)] for begin in range(RING)] * 4
    for new, twin in TWINS.items():
        walks += [[*((twin - 7 + step) % RING for step in range(7)), new]] * 3
    return [
        (f"u{user}", f"i{item}", float(step))
        for user, walk in enumerate(walks)
        for step, item in enumerate(walk)
    ]


def angle(item: int) -> float:
    """Return an item's place on the circle; a new one is a tenth of a step behind its twin."""
    return 2 * math.pi * (TWINS.get(item, item) + 0.1 * (item in TWINS)) / RING


@dataclass
class World:
    """A built ring world: what a trainer needs."""

    config: LLMConfig
    train: Any
    valid: Any
    test: Any
    model: Any

    def fit(self) -> Any:
        """Train to the end, with no validation to stop at, and return the trainer."""
        trainer = InterestTrainer(self.config, self.model)
        trainer.fit(self.train, None, saved=False, verbose=False)
        return trainer


@pytest.fixture
def ring(write_dataset, monkeypatch: pytest.MonkeyPatch):
    """Return a function that builds the ring world for a model."""

    def build(name: str, *, shuffled: int | None = None, **settings: Any) -> World:
        folder = write_dataset(ring_events(), {f"i{k}": f"item {k}" for k in range(12)})

        def on_the_circle(self: InterestDataset) -> ItemVectors | None:
            if "text" not in Settings.from_config(self.config).features:
                return None
            angles = [angle(int(token[1:])) for token in self.field2id_token["item_id"][1:]]
            table = torch.tensor([[math.cos(a), math.sin(a)] for a in angles])
            if shuffled is not None:
                order = torch.randperm(
                    len(table), generator=torch.Generator().manual_seed(shuffled)
                )
                table = table[order]
            table = torch.cat([torch.zeros(1, 2), table])
            return ItemVectors(table, None, "ring", "ring", 0.0, True, 0, table[1:], range(1, 13))

        monkeypatch.setattr(InterestDataset, "item_vectors", on_the_circle)
        defaults = {
            "data_path": str(folder), "item_features": "text", "embedding_size": 16,
            "hidden_size": 32, "dropout_prob": 0.0, "learning_rate": 0.02, "epochs": 100,
            "train_batch_size": 16, "stopping_step": 100, "metrics": ["Hit"], "topk": [1, 2],
            "valid_metric": "Hit@1", "show_progress": False, "enable_amp": False,
            "MAX_ITEM_LIST_LENGTH": 4,
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
