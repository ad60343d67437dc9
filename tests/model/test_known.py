"""Items that training must not know: no candidates, and untrained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RequestError
from recbole_llm.model.known import KnownItems, KnownSoftmax
from recbole_llm.model.losses import FullSoftmax

SMALL = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 16, "topk": [2],
    "valid_metric": "NDCG@2", "show_progress": False, "n_heads": 2,
    "eval_args": {"split": {"cold_start": {"shares": [0.6, 0.2, 0.2]}}}, "learning_rate": 0.1,
}  # fmt: skip


def test_a_softmax_is_over_the_known_items_alone() -> None:
    ids, targets = torch.tensor([1, 3]), torch.tensor([3, 1, 1])
    table, interest = torch.zeros(6, 4), torch.ones(3, 4)
    known = KnownItems.of(ids, num_items=6)
    loss = FullSoftmax(temperature=1.0)(interest, *known(table, targets))
    assert float(loss) == pytest.approx(math.log(2))  # two known items, equally likely
    assert KnownItems.of(None, num_items=6) is None
    stock = KnownSoftmax(torch.nn.CrossEntropyLoss(), ids=ids, num_items=6)
    assert float(stock(torch.zeros(3, 6), targets)) == pytest.approx(math.log(3))  # and padding


def world(write_dataset, model: str, **settings: Any) -> tuple[LLMConfig, list]:
    rng = np.random.default_rng(0)
    events = [(f"u{k % 30}", f"i{rng.integers(20)}", float(k)) for k in range(300)]
    settings = {**SMALL, "data_path": str(write_dataset(events)), **settings}
    config = LLMConfig(model, "toy", None, settings)
    return config, list(prepare(config)[1:])


def item_ids(model: Any) -> torch.Tensor:
    embedding = model.items.embedding if hasattr(model, "items") else model.item_embedding
    return embedding.weight.detach().clone()


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("LLMInterestLSTM", {"item_features": "id"}),
        ("LLMInterestLSTM", {"item_features": "id", "loss_type": "BCE"}),
        ("LLMInterestLSTM", {"item_features": "id", "loss_type": "SCE", "training": "prefixes"}),
        ("LLMInterestLSTM", {"item_features": "id", "weight_decay": 0.1, "ema_decay": 0.5}),
        ("SASRec", {"training": "all_positions"}),
        ("GRU4Rec", {}),
    ],
)
def test_held_out_ids_stay_as_they_began(write_dataset, model, settings) -> None:
    config, (train, valid, _) = world(write_dataset, model, **settings)
    network = build_model(config, train)
    before = item_ids(network)
    trainer_class(config)(config, network).fit(train, valid, saved=False, verbose=False)
    is_known = torch.zeros(len(before), dtype=torch.bool)
    is_known[train.dataset.known_items] = True
    assert is_known.sum() == 12 and len(before) == 21
    changed = (item_ids(network) != before).any(1)
    assert torch.equal(changed[1:], is_known[1:])
    is_zero = (before[1:] == 0).all(1)  # ours rank them by what else is known of them
    assert torch.equal(is_zero, ~is_known[1:] & model.startswith("LLMInterest"))


def test_a_loss_that_would_train_them_is_refused(write_dataset) -> None:
    config, (train, *_) = world(write_dataset, "FPMC")
    with pytest.raises(RequestError, match="FPMC draws negatives"):
        build_model(config, train)
