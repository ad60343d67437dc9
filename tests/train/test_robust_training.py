"""Whole runs with every term of robustness at once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import run_recbole
from recbole_llm.run_dir import RESULT, WEIGHTS

EVENTS = [(f"u{u}", f"i{(u + k) % 9}", float(k)) for u in range(12) for k in range(5 + u % 4)]
TERMS = {
    "item_noise": 0.2, "augmentation": ["drop", "mask", "crop", "reorder"],
    "augmentation_rate": 0.4, "adversarial_weight": 0.5, "contrastive_weight": 0.1,
    "label_smoothing": 0.1, "weight_decay": 0.01,
}  # fmt: skip


@pytest.fixture
def toy(write_dataset) -> dict:
    """Return settings that train a small model for two epochs on windows that are cut."""
    folder = write_dataset(EVENTS, {f"i{k}": f"title {k}" for k in range(9)})
    return {
        "data_path": str(folder), "item_features": "text", "embedding_size": 8, "hidden_size": 8,
        "epochs": 2, "train_batch_size": 8, "show_progress": False,
        "topk": [3], "valid_metric": "NDCG@3", "MAX_ITEM_LIST_LENGTH": 4, "window_overlap": 1,
    }  # fmt: skip


def weights(settings: dict, *, model: str = "LLMInterestLSTM") -> dict[str, torch.Tensor]:
    result = run_recbole(model, "toy", config_dict=settings)
    stored = json.loads((Path(result["run_dir"]) / RESULT).read_text())
    assert stored["epochs"] == 2 and math.isfinite(stored["test_result"]["ndcg@3"])
    return load_file(Path(result["run_dir"]) / WEIGHTS)


@pytest.mark.parametrize(
    ("views", "amp"),
    [("augmented", True), ("augmented", False), ("dropout", True), ("same_target", False)],
)
def test_a_run_with_all_terms(toy, views: str, amp: bool) -> None:
    model = "LLMInterestGRU" if amp else "LLMInterestLSTM"  # not all have an LSTM in bf16
    more = {"contrastive_views": views, "enable_amp": amp}
    learned = weights(toy | TERMS | more, model=model)
    assert all(torch.isfinite(tensor).all() for tensor in learned.values())


def test_a_run_with_all_terms_repeats_itself(toy) -> None:
    first, again = weights(toy | TERMS), weights(toy | TERMS)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_augmentation_reaches_a_run(toy) -> None:
    plain, other = weights(toy), weights(toy | {"augmentation": ["mask"]})
    assert not all(torch.equal(plain[name], other[name]) for name in plain)
