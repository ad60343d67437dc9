"""Texts that are alike: by hand, against whole matrices of scores, and learned from a world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm import load_run, run_recbole
from recbole_llm.model import similarity, softmax
from recbole_llm.model.losses import FullSoftmax, Negatives, SampledSoftmax
from recbole_llm.model.repeats import Read, RepeatBias
from recbole_llm.model.similarity import TextSimilarity

HISTORY = torch.tensor([[3, 1, 3, 2], [2, 4, 0, 0]])
TARGETS = torch.tensor([[1, 0, 2, 3], [4, 5, 0, 0]])  # five targets
LAST = torch.tensor([3, 3, 2, 2, 4])  # what was read last before each
BOTH = {"repeat_bias": True, "similarity_bias": True}


class Parts:
    """Six items, five interests, text vectors and what was read, at a temperature of 1/2."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.own = torch.randn(6, 3, requires_grad=True)
        self.states = torch.randn(5, 3, requires_grad=True)
        self.texts = TextSimilarity(functional.pad(torch.randn(5, 4), (0, 0, 1, 0)), place=0)
        self.repeats = RepeatBias(repeats=0, events=5)
        self.table = torch.cat([self.own, self.texts.units], 1)
        self.interest = torch.cat([self.states, self.texts.weight * self.texts.units[LAST]], 1)
        self.targets = TARGETS[TARGETS > 0]
        self.learned = (self.own, self.states, self.texts.weight, self.repeats.value)

    @property
    def read(self) -> Read:
        """What was read, with the similarity of texts."""
        similar = self.texts.before(HISTORY[TARGETS > 0], self.table).divided_by(0.5)
        return replace(self.repeats.before(HISTORY, TARGETS), similar=similar)

    @property
    def scores(self) -> Tensor:
        """All scores before all targets, made at once, ``(P, N)``."""
        units = self.texts.units
        is_read = torch.zeros(5, 6).scatter(1, self.repeats.before(HISTORY, TARGETS).items(), 1.0)
        inner = self.states @ self.own.T + self.texts.weight * (units[LAST] @ units.T)
        return inner / 0.5 + self.repeats.value * is_read


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kept", [similarity.MOST_KEPT, 0], ids=["kept", "made anew"])
@pytest.mark.parametrize("cells", [softmax.MAX_CELLS, 2 * 5])
def test_the_softmax_is_that_of_the_whole_scores(monkeypatch, cells, kept, weighted) -> None:
    monkeypatch.setattr(softmax, "MAX_CELLS", cells)
    monkeypatch.setattr(similarity, "MOST_KEPT", kept)
    parts = Parts()
    weights = torch.tensor([0.0, 1, 2, 3, 4, 5]) if weighted else None
    loss = FullSoftmax(temperature=0.5, label_smoothing=0.1)
    received = loss(parts.interest, parts.table, parts.targets, weights, parts.read)
    logs = parts.scores[:, 1:].log_softmax(1)
    own = logs.gather(1, parts.targets[:, None] - 1)[:, 0]
    plain = parts.scores[:, 1:]
    smoothed = plain.gather(1, parts.targets[:, None] - 1)[:, 0] - plain.mean(1)
    losses = 0.1 * smoothed - own
    expected = (losses if weights is None else losses * weights[parts.targets]).mean()
    assert received.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(expected, parts.learned)
    for _ in range(2):  # as adversarial training asks
        found = torch.autograd.grad(received, parts.learned, retain_graph=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))


def test_drawn_items_have_it_in_their_vectors(monkeypatch) -> None:
    parts, seen = Parts(), {}
    loss = SampledSoftmax(
        temperature=0.5, negatives=Negatives(how="uniform", number=4, counts=torch.ones(6))
    )
    monkeypatch.setattr(
        loss, "compare", lambda *scores, drawn, **_: seen.update(scores=scores, ids=drawn.ids)
    )
    loss(parts.interest, parts.table, parts.targets, None, parts.read)
    positive, negative, _ = seen["scores"]
    scores = parts.scores
    assert torch.allclose(positive, scores.gather(1, parts.targets[:, None])[:, 0], atol=1e-6)
    assert torch.allclose(negative, scores[:, seen["ids"]], atol=1e-6)


WORDS = ("mint soap", "oak comb", "rose oil", "lip balm", "nail file", "hair dye", "sun milk",
         "bath salt", "clay mask", "eye cream")  # fmt: skip


def series(write_dataset: Any) -> Any:
    """Write users who have all three parts of a series, in any order, and then of any other."""
    torch.manual_seed(0)
    events = []
    for user in range(80):
        walk = [3 * one + part for one in torch.randperm(10)[:4].tolist() for part in _order()]
        events += [(f"u{user}", f"i{item}", float(step)) for step, item in enumerate(walk)]
    return write_dataset(events, {f"i{k}": f"{WORDS[k // 3]} no {k % 3}" for k in range(30)})


def _order() -> list[int]:
    order: list[int] = torch.randperm(3).tolist()
    return order


@pytest.fixture
def run(write_dataset) -> Any:
    """Return a function that trains on the series."""
    folder = series(write_dataset)

    def train(**settings: Any) -> dict[str, Any]:
        given = {
            "embedding_size": 8, "hidden_size": 8, "epochs": 40, "train_batch_size": 16,
            "topk": [1], "valid_metric": "NDCG@1", "metrics": ["NDCG"], "show_progress": False,
            "learning_rate": 0.02, "data_path": str(folder), "stopping_step": 40,
        }  # fmt: skip
        result: dict[str, Any] = run_recbole(
            "LLMInterestLSTM", "toy", config_dict=given | BOTH | settings
        )
        return result

    return train


@pytest.mark.parametrize("scoring", ["inner", "cosine"])
def test_a_score_has_the_cosine_of_the_last_text(run, scoring) -> None:
    _, model, _, _, _, test = load_run(run(epochs=1, scoring=scoring, temperature=0.5)["run_dir"])
    cases = test.dataset[torch.arange(20)]
    last = cases[model.ITEM_SEQ].gather(1, cases[model.ITEM_SEQ_LEN][:, None] - 1)[:, 0]
    units = functional.normalize(model.items.features[0].vectors, dim=1)
    weight = model.items.similarity.weight
    with torch.no_grad():
        scores, one = model.full_sort_predict(cases).view(20, -1), model.predict(cases)
        part = weight / 0.5 * units[last] @ units.T
        weight.fill_(0.0)
        plain = model.full_sort_predict(cases).view(20, -1)
    assert torch.allclose((scores - plain)[:, 1:], part[:, 1:], atol=1e-5)
    assert torch.allclose(one, scores.gather(1, cases[model.ITEM_ID][:, None])[:, 0], atol=1e-5)


def test_what_is_alike_comes_next_and_new_items_have_texts_too(run) -> None:
    result = run(item_features="text", whitening="none")
    assert result["test_result"]["ndcg@1"] > 0.9  # the third part, after two
    _, model, *_ = load_run(result["run_dir"])
    assert model.items.similarity.weight > 1.5  # where it began at 1
    with torch.no_grad():
        table = model.items.table()
        new = model.items.unseen([model.items.features[0].vectors])
    assert torch.allclose(new[1:], table[1:], atol=1e-6)
