"""SASRec and GRU4Rec trained on every position of a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import RequestError
from recbole_llm.model.all_positions import AllPositions, with_all_positions
from recbole_llm.train.trainer import WindowLoader

pytestmark = pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])


@pytest.fixture
def ring_walk(write_dataset) -> dict:
    """Return settings for users who walk a circle of nine items."""
    events = [(f"u{u}", f"i{(u + k) % 9}", float(k)) for u in range(36) for k in range(7)]
    return {
        "data_path": str(write_dataset(events, {f"i{k}": f"title {k}" for k in range(9)})),
        "training": "all_positions", "epochs": 60, "train_batch_size": 8, "learning_rate": 0.01,
        "MAX_ITEM_LIST_LENGTH": 5, "topk": [1], "valid_metric": "NDCG@1", "show_progress": False,
    }  # fmt: skip


def test_it_learns_and_loads_again(ring_walk, model: str) -> None:
    result = run_recbole(model, "toy", config_dict=ring_walk)
    assert result["test_result"]["ndcg@1"] > 0.9
    assert "windows" in next(Path(result["run_dir"]).glob("*.log")).read_text()
    config, loaded, *_ = load_run(result["run_dir"])
    assert isinstance(loaded, AllPositions) and config["training"] == "all_positions"


def test_each_position_has_the_state_of_its_prefix(ring_walk, model: str) -> None:
    run = run_recbole(model, "toy", config_dict=ring_walk | {"epochs": 1})
    _, loaded, _, train, _, _ = load_run(run["run_dir"])
    cases = train.dataset[np.arange(len(train.dataset))]
    loaded._keeps_positions = True
    longest = cases["item_length"] == 4
    whole = loaded.forward(cases["item_id_list"][longest], cases["item_length"][longest])
    loaded._keeps_positions = False
    users = cases["user_id"][longest]
    for length in range(1, 5):
        chosen = cases["item_length"] == length
        assert torch.equal(cases["user_id"][chosen], users)
        alone = loaded.forward(cases["item_id_list"][chosen], cases["item_length"][chosen])
        assert torch.allclose(whole[:, length - 1], alone, atol=1e-5)


def test_the_loss_is_that_of_recboles_cases_but_for_padding(ring_walk, model: str) -> None:
    run = run_recbole(model, "toy", config_dict=ring_walk | {"epochs": 1})
    config, loaded, _, train, _, _ = load_run(run["run_dir"])
    cases = train.dataset[np.arange(len(train.dataset))]
    config["train_batch_size"] = 10_000
    (windows,) = list(WindowLoader(train.dataset, config))
    received = loaded.calculate_loss(windows)
    scores = loaded.full_sort_predict(cases)[:, 1:]
    expected = torch.nn.functional.cross_entropy(scores, cases["item_id"] - 1)
    assert torch.allclose(received, expected, atol=1e-5)


def test_text_and_windows_together(ring_walk, model: str) -> None:
    settings = ring_walk | {"epochs": 2, "item_features": "text"}
    assert run_recbole(model, "toy", config_dict=settings)["epochs"] == 2


def test_batches_are_128_windows_unless_said(ring_walk, model: str) -> None:
    from recbole_llm.config import LLMConfig

    del ring_walk["train_batch_size"]
    config = LLMConfig(model, "toy", None, ring_walk)
    assert config["train_batch_size"] == 128 and "128 windows" in config.notices[-1]


def test_other_models_and_losses_are_refused(ring_walk, model: str) -> None:
    with pytest.raises(RequestError, match="which are causal; received it for NARM"):
        run_recbole("NARM", "toy", config_dict=ring_walk)
    with pytest.raises(RequestError, match="needs loss_type CE"):
        run_recbole(model, "toy", config_dict=ring_walk | {"loss_type": "BPR"})


def test_a_class_is_made_once(model: str) -> None:
    from recbole.utils import get_model

    assert with_all_positions(get_model(model)) is with_all_positions(get_model(model))
