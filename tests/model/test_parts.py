"""Parts of a model against values derived by hand."""

from __future__ import annotations

import pytest
import torch

from recbole_llm.model.attention import rotate
from recbole_llm.model.evolution import (
    Combination,
    LinearEvolution,
    SequenceDropout,
    running_interest,
)
from recbole_llm.model.losses import item_scores


def test_scores_are_inner_products_over_the_temperature() -> None:
    interest, table = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert item_scores(interest, table, temperature=0.5).tolist() == [[0.0, 22.0]]


@pytest.mark.parametrize(
    ("pooling", "expected"), [("sum", [1.0, 3.0, 6.0]), ("mean", [1.0, 1.5, 2.0])]
)
def test_running_interest(pooling: str, expected: list[float]) -> None:
    items = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert running_interest(items, pooling=pooling).flatten().tolist() == expected


def test_running_sum_of_a_long_half_precision_history_does_not_stall() -> None:
    items = torch.full((1, 4096, 1), 1.0, dtype=torch.bfloat16)  # bf16 alone would stop at 256
    assert running_interest(items, pooling="sum")[0, -1].item() == 4096


def test_linear_evolution_is_theta_on_both_interests() -> None:
    layer = LinearEvolution(size=1, pooling="mean")
    with torch.no_grad():
        layer.theta.weight.copy_(torch.tensor([[10.0, 1.0]]))
        layer.theta.bias.zero_()
    received = layer(torch.tensor([[[2.0], [4.0]]]))
    assert received.flatten().tolist() == [10 * 2 + 2, 10 * 3 + 4]


@pytest.mark.parametrize(
    ("kind", "expected"), [("current", [5.0, 7.0]), ("sum", [7.0, 10.0]), ("gate", [3.5, 5.0])]
)
def test_current_and_long_term_interest_by_hand(kind: str, expected: list[float]) -> None:
    combination = Combination(kind=kind, size=1)
    if combination.gate is not None:
        torch.nn.init.zeros_(combination.gate.weight)
        torch.nn.init.zeros_(combination.gate.bias)  # half of each
    items = torch.tensor([[[2.0], [4.0]]])  # running means 2 and 3
    received = combination(torch.tensor([[[5.0], [7.0]]]), items)
    assert received.flatten().tolist() == expected


def test_rotated_products_depend_on_the_distance_only() -> None:
    query, key = torch.randn(8), torch.randn(8)
    turned = [rotate(vector.expand(1, 1, 6, 8))[0, 0] for vector in (query, key)]
    products = turned[0] @ turned[1].T  # (L, L)
    for distance in range(-5, 6):
        along = products.diagonal(distance)
        assert torch.allclose(along, along[:1].expand_as(along), atol=1e-5)
    assert products[0, 0].item() == pytest.approx((query @ key).item(), rel=1e-5)
    assert not torch.allclose(products[0, 1], products[0, 2])


def test_one_mask_for_all_steps_of_a_sequence() -> None:
    dropout = SequenceDropout(0.5)
    received = dropout(torch.ones(64, 5, 32))
    assert torch.equal(received, received[:, :1].expand_as(received))
    assert set(received.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(received[0], received[1])
    assert received.mean().item() == pytest.approx(1.0, abs=0.1)
    ones = torch.ones(2, 3, 4)
    assert torch.equal(dropout.eval()(ones), ones)
