"""Losses against values derived by hand: one-dimensional interests and items."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from recbole_llm.model import softmax
from recbole_llm.model.losses import (
    BPR,
    BinaryCrossEntropy,
    Drawn,
    FullSoftmax,
    InterestMSE,
    Negatives,
    SampledSoftmax,
)
from recbole_llm.settings import Settings
from recbole_llm.train.trainer import InterestTrainer

TABLE = torch.tensor([[9.0], [1.0], [0.0], [-1.0]])  # padding would win if it were a candidate
COUNTS = torch.tensor([0, 2, 1, 1])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def drawn(*ids: int, how: str = "uniform") -> Negatives:
    """Return negatives that are always the ones given."""
    negatives = Negatives(how=how, number=len(ids), counts=COUNTS)
    negatives.draw = lambda targets: Drawn(torch.tensor(ids))
    return negatives


def test_uniform_scores_cost_the_log_of_the_number_of_items() -> None:
    loss = FullSoftmax(temperature=1.0)(torch.zeros(2, 1), TABLE, torch.tensor([1, 3]))
    assert loss.item() == pytest.approx(math.log(3))


def test_a_softmax_by_hand() -> None:
    loss = FullSoftmax(temperature=2.0)(torch.tensor([[2.0]]), TABLE[:3], torch.tensor([1]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_label_smoothing_by_hand() -> None:
    loss = FullSoftmax(temperature=1.0, label_smoothing=0.5)
    received = loss(torch.tensor([[1.0]]), TABLE[:3], torch.tensor([1]))
    first, second = -math.log(sigmoid(1)), -math.log(sigmoid(-1))
    assert received.item() == pytest.approx(0.75 * first + 0.25 * second)


@pytest.mark.parametrize("has_fused", [True, False], ids=["fused", "torch before 2.14"])
def test_chunks_change_neither_loss_nor_gradient(monkeypatch, has_fused: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    interest = torch.randn(11, 4, generator=generator, requires_grad=True)
    table = torch.randn(7, 4, generator=generator, requires_grad=True)
    targets = torch.randint(1, 7, (11,), generator=generator)
    loss = FullSoftmax(temperature=0.5, label_smoothing=0.1)
    whole = loss(interest, table, targets)
    expected = torch.autograd.grad(whole, (interest, table))
    monkeypatch.setattr(softmax, "MAX_CELLS", 3 * 7)
    if not has_fused:
        monkeypatch.delattr(softmax.functional, "linear_cross_entropy", raising=False)
    cut = loss(interest, table, targets)
    received = torch.autograd.grad(cut, (interest, table))
    assert torch.allclose(cut, whole)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(received, expected, strict=True))


def test_a_sampled_softmax_of_every_item_twice_is_nearly_the_full_one() -> None:
    """With the target they are seven, of which three are of the target's item."""
    interest, target = torch.tensor([[2.0]]), torch.tensor([1])
    negatives = drawn(1, 2, 3, 1, 2, 3)
    sampled = SampledSoftmax(temperature=1.0, negatives=negatives)(interest, TABLE, target)
    raised = [math.exp(2.0 * float(vector)) for vector in TABLE[1:, 0]]
    share = 3 * raised[0] / (3 * raised[0] + 2 * raised[1] + 2 * raised[2])
    assert sampled.item() == pytest.approx(-math.log(share))


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("how", ["uniform", "popularity"])
def test_a_sampled_softmax_is_least_where_the_full_one_is_right(how: str, number: int) -> None:
    """Over all targets and all draws, with the log of an item's probability for its score."""
    true = [1.0, 0.6, 0.3, 0.1]  # of padding and of three items
    table = torch.tensor(true).log()[:, None].requires_grad_()
    total = torch.zeros(())
    for items in itertools.product((1, 2, 3), repeat=number):
        negatives = drawn(*items, how=how)
        chance = float(negatives.probability[list(items)].prod())
        loss = SampledSoftmax(temperature=1.0, negatives=negatives)
        for target in (1, 2, 3):
            one = loss(torch.ones(1, 1), table, torch.tensor([target]))
            total = total + chance * true[target] * one
    (slope,) = torch.autograd.grad(total, table)
    assert slope.abs().max() < 1e-6


@pytest.mark.parametrize(("positions", "number"), [(2, 9), (3, 9), (3, 2)])
def test_a_softmax_over_a_batch_is_least_where_the_full_one_is_right(
    monkeypatch, positions: int, number: int
) -> None:
    """Over all contexts, targets and draws of a batch; a context is a row of probabilities."""
    true = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    counts = torch.cat([torch.zeros(1), true.mean(0) * 1000])
    table = torch.cat([torch.zeros(1, 2), true.log().T]).requires_grad_()
    negatives = Negatives(how="in_batch", number=number, counts=counts)
    loss, total = SampledSoftmax(temperature=1.0, negatives=negatives), torch.zeros(())
    orders = [torch.arange(positions)]
    if number < positions:
        orders = list(map(torch.tensor, itertools.permutations(range(positions))))
    for order in orders:
        monkeypatch.setattr(torch, "randperm", lambda *_, order=order, **__: order)
        for contexts in itertools.product((0, 1), repeat=positions):
            for targets in itertools.product((1, 2, 3), repeat=positions):
                chance = true[list(contexts), [one - 1 for one in targets]].prod()
                one = loss(torch.eye(2)[list(contexts)], table, torch.tensor(targets))
                total = total + chance * one
    (slope,) = torch.autograd.grad(total, table)
    assert slope.abs().max() < 1e-4


def test_log_q_lowers_what_is_drawn_often() -> None:
    loss = SampledSoftmax(temperature=1.0, negatives=drawn(1, 1, how="popularity"))
    received = loss(torch.tensor([[1.0]]), TABLE, torch.tensor([2]))
    # expected among two draws: item 1 once, item 2 half a time; scores 1 - log 1 and 0 - log 0.5
    target, negative = math.log(2), 1.0
    expected = -math.log(math.exp(target) / (math.exp(target) + 2 * math.exp(negative)))
    assert received.item() == pytest.approx(expected)


def test_binary_cross_entropy_by_hand() -> None:
    loss = BinaryCrossEntropy(temperature=1.0, negatives=drawn(2, 3), calibration=0.0)
    received = loss(torch.tensor([[2.0]]), TABLE, torch.tensor([1]))
    bias = -math.log(2)
    terms = [sigmoid(2 + bias), 1 - sigmoid(bias), 1 - sigmoid(-2 + bias)]
    assert received.item() == pytest.approx(-sum(map(math.log, terms)) / 3)


def test_the_bias_of_binary_cross_entropy_begins_where_all_candidates_are_alike() -> None:
    """Of one target and K negatives, whose probabilities sum to one, nothing moves the bias."""
    loss = BinaryCrossEntropy(temperature=1.0, negatives=drawn(2, 3, 3), calibration=0.0)
    loss(torch.zeros(1, 1), TABLE, torch.tensor([1])).backward()
    assert loss.bias.sigmoid().item() == pytest.approx(1 / 4)
    assert loss.bias.grad.item() == pytest.approx(0, abs=1e-6)
    loss(torch.tensor([[2.0]]), TABLE, torch.tensor([1])).backward()
    assert loss.bias.grad.item() != pytest.approx(0, abs=1e-3)


def test_gbce_by_hand() -> None:
    loss = BinaryCrossEntropy(temperature=1.0, negatives=drawn(2), calibration=1.0)
    received = loss(torch.tensor([[2.0]]), TABLE, torch.tensor([1]))
    rate = 1 / 2  # one of the two items that are not the target; t = 1 makes it the power
    expected = -(rate * math.log(sigmoid(2)) + math.log(1 - sigmoid(0))) / 2
    assert received.item() == pytest.approx(expected)


def test_gbce_at_its_default_calibration_by_hand() -> None:
    loss = BinaryCrossEntropy(
        temperature=1.0, negatives=drawn(2), calibration=Settings().gbce_calibration
    )
    received = loss(torch.tensor([[2.0]]), TABLE, torch.tensor([1]))
    power = 0.5 * (0.75 * (1 - 2) + 2)  # α = 1 of 2, t = 0.75
    expected = -(power * math.log(sigmoid(2)) + math.log(1 - sigmoid(0))) / 2
    assert received.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SampledSoftmax, -math.log(math.exp(4) / (math.exp(4) + 1))),
        (BPR, -math.log(1 / (1 + math.exp(-4)))),
        (BinaryCrossEntropy, -(math.log(1 / (1 + math.exp(-4))) + math.log(0.5)) / 2),
    ],
)
def test_a_temperature_divides_scores_by_hand(kind, expected: float) -> None:
    """Of a target with the score 2 and one negative with 0, at half the temperature."""
    own = {"calibration": 0.0} if kind is BinaryCrossEntropy else {}
    loss = kind(temperature=0.5, negatives=drawn(2), **own)
    interest, target = torch.tensor([[2.0]]), torch.tensor([1])
    assert loss(interest, TABLE, target).item() == pytest.approx(expected, abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss(interest.bfloat16(), TABLE, target)
    assert mixed.dtype == torch.float32 and mixed.item() == pytest.approx(expected, abs=1e-6)


def test_bpr_by_hand() -> None:
    loss = BPR(temperature=1.0, negatives=drawn(2, 3, 1))
    received = loss(torch.tensor([[2.0]]), TABLE, torch.tensor([1]))
    expected = -(math.log(sigmoid(2)) + math.log(sigmoid(4))) / 2  # the target does not count
    assert received.item() == pytest.approx(expected)


def test_mse_by_hand_moves_the_interest_only() -> None:
    interest = torch.tensor([[3.0], [0.0]], requires_grad=True)
    table = TABLE.clone().requires_grad_()
    loss = InterestMSE()(interest, table, torch.tensor([1, 3]))
    assert loss.item() == pytest.approx((2**2 + 1**2) / 2)
    loss.backward()
    assert interest.grad.flatten().tolist() == [2.0, 1.0] and table.grad is None


@pytest.mark.parametrize(
    ("how", "share"), [("uniform", [1 / 3] * 3), ("popularity", [0.5, 0.25, 0.25])]
)
def test_negatives_come_as_often_as_they_say(how: str, share: list[float]) -> None:
    torch.manual_seed(0)
    ids = Negatives(how=how, number=20_000, counts=COUNTS).draw(torch.tensor([1])).ids
    frequency = torch.bincount(ids, minlength=4) / 20_000
    assert frequency[0] == 0
    assert frequency[1:].tolist() == pytest.approx(share, abs=0.02)


def test_negatives_of_the_batch_are_its_targets() -> None:
    negatives = Negatives(how="in_batch", number=5, counts=COUNTS)
    assert negatives.draw(torch.tensor([3, 1])).ids.tolist() == [3, 1]
    assert negatives.log_expected(torch.tensor([1]), number=2).exp().item() == pytest.approx(1.0)


def test_of_many_targets_in_a_batch_each_is_as_often_a_negative_and_none_twice() -> None:
    torch.manual_seed(0)
    negatives = Negatives(how="in_batch", number=3, counts=COUNTS)
    draws = [negatives.draw(torch.arange(9)).ids for _ in range(1000)]  # positions stand for items
    assert all(len(set(ids.tolist())) == 3 for ids in draws)
    share = torch.bincount(torch.cat(draws), minlength=9) / 1000
    assert share.tolist() == pytest.approx([1 / 3] * 9, abs=0.06)


def test_memory_of_negatives_of_the_batch_is_bounded() -> None:
    seen = []
    loss = SampledSoftmax(
        temperature=1.0, negatives=Negatives(how="in_batch", number=4, counts=COUNTS)
    )
    loss.compare = lambda positive, negative, *_, **__: seen.append(negative.shape)
    loss(torch.zeros(50, 1), TABLE, torch.ones(50, dtype=torch.long))
    assert seen == [(50, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["SCE", "BCE", "GBCE", "BPR"])
@pytest.mark.parametrize("sampling", ["uniform", "popularity", "in_batch"])
def test_a_model_learns_the_ring_by_drawn_negatives(ring, loss, sampling) -> None:
    world = ring("LLMInterestLSTM", loss_type=loss, negative_sampling=sampling, num_negatives=8)
    trainer = world.fit()
    assert trainer.evaluate(world.valid, load_best_model=False)["hit@1"] > 0.8


@pytest.mark.slow
def test_mse_on_given_vectors_learns_the_ring_by_cosine(ring) -> None:
    world = ring("LLMInterestLSTM", loss_type="MSE", scoring="cosine")
    trainer = world.fit()
    assert trainer.evaluate(world.valid, load_best_model=False)["hit@2"] > 0.5


def test_cosine_scores_and_their_loss_by_hand(ring, monkeypatch) -> None:
    """Neither the length of an interest nor that of an item counts, and T divides the cosine."""
    world = ring(
        "LLMInterestLSTM", scoring="cosine", temperature=0.5, item_features="id", embedding_size=2
    )
    model = world.model.eval()
    directions = {1: [6.0, 8.0], 2: [-0.3, -0.4]}  # with the interest, and against it
    with torch.no_grad():
        for item, weight in enumerate(model.items.embedding.weight):
            weight.copy_(torch.tensor(directions.get(item, [40.0, -30.0])))  # across it

    def always(self, current, own, past=None):
        return torch.tensor([3.0, 4.0]).expand_as(own)

    monkeypatch.setattr(type(model.combination), "forward", always)
    cases, *_ = next(iter(world.test))
    scores = model.full_sort_predict(cases)
    assert torch.allclose(scores[:, 1:4], torch.tensor([2.0, -2.0, 0.0]), atol=1e-6)
    batch = next(iter(InterestTrainer(world.config, model)._windows(world.train)))
    others = math.exp(2) + math.exp(-2) + model.n_items - 3  # the sum of all items' exponentials
    targets = batch.targets[batch.targets > 0].tolist()
    costs = [math.log(others) - {1: 2, 2: -2}.get(item, 0) for item in targets]
    assert len(set(costs)) == 3
    assert model.calculate_loss(batch).item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)
