"""What was read has a bias: by hand, against whole matrices of scores, and learned from a world."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm import load_run, run_recbole
from recbole_llm.model import softmax
from recbole_llm.model.losses import (
    BPR,
    BinaryCrossEntropy,
    Drawn,
    FullSoftmax,
    Negatives,
    SampledSoftmax,
)
from recbole_llm.model.repeats import RepeatBias, distinct

HISTORY = torch.tensor([[3, 1, 3, 2], [2, 4, 0, 0]])
TARGETS = torch.tensor([[1, 0, 2, 3], [4, 5, 0, 0]])  # five targets; 1, 2, 3 come back or not
READ = [{3}, {3, 1}, {3, 1, 2}, {2}, {2, 4}]
IS_READ = torch.tensor([[float(item in read) for item in range(6)] for read in READ])


def parts() -> tuple[Tensor, Tensor, Tensor]:
    """Return five interests, six items and a bias, all with gradients."""
    generator = torch.Generator().manual_seed(0)
    interest = torch.randn(5, 3, generator=generator, requires_grad=True)
    table = torch.randn(6, 3, generator=generator, requires_grad=True)
    return interest, table, torch.tensor(-1.5, requires_grad=True)


def biased(bias: Tensor) -> RepeatBias:
    """Return the module with this bias."""
    module = RepeatBias(repeats=0, events=0)
    del module.value
    module.value = bias
    return module


def test_each_item_of_a_history_counts_once() -> None:
    assert distinct(HISTORY).tolist() == [[1, 2, 3, 0], [0, 0, 2, 4]]


def test_it_begins_at_the_log_share_of_repeats() -> None:
    assert RepeatBias(repeats=0, events=999).value.item() == pytest.approx(-6.9078, abs=1e-4)
    assert RepeatBias(repeats=499, events=999).value.item() == pytest.approx(-0.6931, abs=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cells", [softmax.MAX_CELLS, 2 * 5])
def test_the_softmax_is_that_of_the_whole_scores(monkeypatch, cells: int, weighted: bool) -> None:
    monkeypatch.setattr(softmax, "MAX_CELLS", cells)
    interest, table, bias = parts()
    targets = TARGETS[TARGETS > 0]
    weights = torch.tensor([0.0, 1, 2, 3, 4, 5]) if weighted else None
    read = biased(bias).before(HISTORY, TARGETS)
    received = FullSoftmax(temperature=0.5)(interest, table, targets, weights, read)
    scores = (interest / 0.5) @ table.T + bias * IS_READ
    losses = functional.cross_entropy(scores[:, 1:], targets - 1, reduction="none")
    expected = (losses if weights is None else losses * weights[targets]).mean()
    assert received.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(expected, (interest, table, bias))
    for _ in range(2):  # as adversarial training asks
        found = torch.autograd.grad(received, (interest, table, bias), retain_graph=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", [SampledSoftmax, BPR, BinaryCrossEntropy])
def test_drawn_items_and_targets_have_the_bias_too(monkeypatch, kind: Any) -> None:
    interest, table, bias = parts()
    negatives = Negatives(how="uniform", number=4, counts=torch.ones(6))
    drawn, targets = torch.tensor([3, 1, 3, 5]), TARGETS[TARGETS > 0]
    monkeypatch.setattr(negatives, "draw", lambda _: Drawn(drawn))
    more = {"calibration": 0.0} if kind is BinaryCrossEntropy else {}
    loss = kind(temperature=1.0, negatives=negatives, **more)
    seen: dict[str, Tensor] = {}
    compare = loss.compare

    def spy(positive: Tensor, negative: Tensor, *given: Any, **more: Any) -> Tensor:
        seen.update(positive=positive, negative=negative)
        return compare(positive, negative, *given, **more)

    monkeypatch.setattr(loss, "compare", spy)
    loss(interest, table, targets, None, biased(bias).before(HISTORY, TARGETS))
    scores = interest @ table.T + bias * IS_READ
    assert torch.allclose(seen["positive"], scores.gather(1, targets[:, None])[:, 0], atol=1e-6)
    assert torch.allclose(seen["negative"], scores[:, drawn], atol=1e-6)


def settings(folder: Any) -> dict[str, Any]:
    return {
        "embedding_size": 8, "hidden_size": 8, "epochs": 6, "train_batch_size": 16, "topk": [3],
        "valid_metric": "NDCG@3", "metrics": ["NDCG"], "show_progress": False,
        "MAX_ITEM_LIST_LENGTH": 5, "training": "all_positions", "data_path": str(folder),
        "repeat_bias": True, "learning_rate": 0.02,
    }  # fmt: skip


def events(*, comes_back: bool) -> list[tuple[str, str, float]]:
    """Return users who hear one of three songs of their own again and again, or walk a circle."""

    def item(user: int, step: int) -> int:
        return (3 * user + step * step % 3) % 30 if comes_back else (user + step) % 30

    return [(f"u{u}", f"i{item(u, s)}", float(s)) for u in range(60) for s in range(9)]


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "GRU4Rec"])
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_world_says_whether_what_was_read_comes_back(write_dataset, model, comes_back) -> None:
    folder = write_dataset(events(comes_back=comes_back), {f"i{k}": "x" for k in range(30)})
    given = settings(folder) | ({} if model == "GRU4Rec" else {"item_features": "id"})
    run = run_recbole(model, "toy", config_dict=given)
    _, loaded, _, _, _, test = load_run(run["run_dir"])
    begin = loaded.repeats.value.item()
    assert (begin > -1) == comes_back
    cases = test.dataset[torch.arange(20)]
    with torch.no_grad():
        scores = loaded.full_sort_predict(cases).view(20, -1)
        one = loaded.predict(cases)
        history = cases[loaded.ITEM_SEQ]
        loaded.repeats.value.fill_(0.0)
        plain = loaded.full_sort_predict(cases).view(20, -1)
    is_read = torch.zeros(20, scores.shape[1]).scatter(1, history, 1.0)[:, 1:]
    assert torch.allclose((scores - plain)[:, 1:], begin * is_read, atol=1e-5)
    assert torch.allclose(one, scores.gather(1, cases[loaded.ITEM_ID][:, None])[:, 0], atol=1e-5)
    first = scores[:, 1:].argmax(1)
    share = is_read.gather(1, first[:, None]).mean().item()
    assert share > 0.5 if comes_back else share == 0
