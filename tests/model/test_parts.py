"""Parts of a model against values derived by hand."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_llm.model.evolution import LinearEvolution, running_interest
from recbole_llm.model.items import ItemRepresentation
from recbole_llm.model.losses import full_softmax, item_scores


def test_uniform_scores_cost_the_log_of_the_number_of_items() -> None:
    loss = full_softmax(torch.zeros(2, 5), torch.ones(4, 5), torch.tensor([1, 3]), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(3))  # padding and three items


def test_a_softmax_of_two_items_by_hand() -> None:
    table = torch.tensor([[9.0], [1.0], [0.0]])  # padding would win if it were a candidate
    loss = full_softmax(torch.tensor([[2.0]]), table, torch.tensor([1]), temperature=2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


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


def test_text_and_id_are_summed() -> None:
    text = torch.tensor([[0.0], [1.0], [2.0]])
    items = ItemRepresentation(num_items=3, size=2, text=text, use_id=True, dropout=0.0)
    both = items.table()
    expected = items.projection(text) + items.embedding.weight
    assert torch.equal(both[1:], expected[1:])
    assert not both[0].any()
