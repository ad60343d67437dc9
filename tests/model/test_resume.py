"""An interest that is moved event by event is the interest of the whole history."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_llm.model.evolution import (
    Combination,
    LinearEvolution,
    Past,
    RecurrentEvolution,
    running_interest,
)

SIZE = 6


def recurrent(cell, pooling: str) -> RecurrentEvolution:
    """Return two layers, so that each has a state of its own."""
    return RecurrentEvolution(
        cell=cell, size=SIZE, hidden_size=5, num_layers=2, dropout=0.0, pooling=pooling
    )


LAYERS = {
    "linear": lambda pooling: LinearEvolution(size=SIZE, pooling=pooling),
    "rnn": lambda pooling: recurrent(nn.RNN, pooling),
    "gru": lambda pooling: recurrent(nn.GRU, pooling),
    "lstm": lambda pooling: recurrent(nn.LSTM, pooling),
}


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("parts", [[1] * 40, [40], [7, 1, 1, 20, 11]])
def test_a_history_in_parts_is_the_whole(name: str, pooling: str, parts: list[int]) -> None:
    torch.manual_seed(0)
    layer, items = LAYERS[name](pooling).eval(), torch.randn(3, 40, SIZE)
    past, found = Past.none(items), []
    for part in items.split(parts, dim=1):
        states, past = layer.resume(part, past)
        found.append(states)
    assert past.count == 40 and past.total.shape == (3, SIZE)
    torch.testing.assert_close(torch.cat(found, 1), layer(items), atol=1e-5, rtol=1e-5)


def test_the_running_interest_goes_on_by_hand() -> None:
    past = Past(torch.tensor([[10.0]]), 4, None)
    items = torch.tensor([[[5.0], [6.0]]])
    for pooling, expected in {"sum": [15.0, 21.0], "mean": [3.0, 3.5]}.items():
        received = running_interest(items, pooling=pooling, past=past)
        assert received.flatten().tolist() == expected
    later = past.then(items, memory="m")
    assert (later.total.item(), later.count, later.memory) == (21.0, 6, "m")


@pytest.mark.parametrize("kind", ["current", "sum", "gate"])
def test_the_long_term_interest_goes_on(kind: str) -> None:
    torch.manual_seed(0)
    combination, items = Combination(kind=kind, size=SIZE), torch.randn(2, 9, SIZE)
    current = torch.randn(2, 9, SIZE)
    past = Past.none(items).then(items[:, :6], memory=None)
    received = combination(current[:, 6:], items[:, 6:], past)
    torch.testing.assert_close(received, combination(current, items)[:, 6:])
