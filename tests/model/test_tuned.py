"""Text vectors that follow their encoder: which are made anew, and when."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recbole_llm.model.tuned import TunedFeature

TEXTS = torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]])
PLACES = [-1, 0, 1, 2, 1, -1]  # padding, four items of which two share a text, one without text


class Scaled(nn.Module):
    """An encoder with one weight: a text's vector is the weight times its row of ``TEXTS``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.read: list[list[int]] = []

    def forward(self, places: Tensor) -> Tensor:
        self.read.append(places.tolist())
        return self.weight * TEXTS[places]


@pytest.fixture
def feature() -> TunedFeature:
    return make()


def make(most: int | None = None) -> TunedFeature:
    table = torch.zeros(6, 2)
    table[1:5] = TEXTS[PLACES[1:5]]
    return TunedFeature(
        vectors=table, adaptor=nn.Identity(), dropout=0.0, encoder=Scaled(), places=PLACES,
        most=most,
    )  # fmt: skip


def learn(feature: TunedFeature, weight: float) -> None:
    with torch.no_grad():
        feature.encoder.weight.fill_(weight)


def test_a_step_makes_the_batch_anew_with_gradients_and_keeps_the_rest(feature) -> None:
    feature.of_step(torch.tensor([[1, 0]]))
    learn(feature, 2.0)
    table = feature.of_step(torch.tensor([[2, 0], [2, 5]]))
    assert table.tolist() == [[0, 0], [1, 2], [6, 10], [7, 11], [3, 5], [0, 0]]  # 2: 2 × (3, 5)
    table.sum().backward()
    assert feature.encoder.weight.grad == 3 + 5  # of item 2 alone
    assert not feature().requires_grad


def test_what_a_step_made_is_kept_for_the_next(feature) -> None:
    feature.of_step(torch.tensor([3]))
    learn(feature, 2.0)
    feature.of_step(torch.tensor([3]))
    learn(feature, 3.0)
    assert feature.of_step(torch.tensor([1])).tolist()[1:4] == [[3, 6], [3, 5], [14, 22]]


def test_all_are_made_anew_when_the_mode_was_set_and_weights_have_changed(feature) -> None:
    feature.of_step(torch.tensor([1]))
    learn(feature, 2.0)
    feature.eval()
    assert feature().tolist() == [[0, 0], [2, 4], [6, 10], [14, 22], [6, 10], [0, 0]]
    reads = len(feature.encoder.read)
    feature()
    feature.train()
    feature.of_step(torch.tensor([3]))  # the evaluation's are good for the epoch that follows
    assert feature.encoder.read[reads:] == [[2]]
    feature.train()
    feature.of_step(torch.tensor([3]))
    assert feature.encoder.read[reads + 1 :] == [[0, 1, 2], [2]]  # each text once


def test_another_ones_weights_are_noticed(feature) -> None:
    feature.eval()
    feature()
    feature.load_state_dict({"encoder.weight": torch.tensor(4.0)})
    assert feature().tolist()[1] == [4, 8]


def test_no_more_than_most_are_made_anew() -> None:
    feature = make(most=1)
    torch.manual_seed(0)
    for _ in range(5):
        feature.of_step(torch.tensor([1, 2, 3]))
    drawn = feature.encoder.read[1:]
    assert {len(read) for read in drawn} == {1}
    assert len({tuple(read) for read in drawn}) > 1


def test_a_batch_without_text_has_a_gradient_all_the_same(feature) -> None:
    feature.of_step(torch.tensor([0, 5])).sum().backward()
    assert feature.encoder.weight.grad is not None
