"""Popularity as a confounder: weights of targets, and scores adjusted for popularity, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from recbole_llm.errors import RequestError
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
from recbole_llm.model.propensity import TargetWeights, popularity_offset
from recbole_llm.train.engine import BatchLoss
from recbole_llm.train.trainer import InterestTrainer, WindowLoader

COUNTS = torch.tensor([0, 16, 4, 1, 0])


def weights_of(counts=COUNTS, *, power=0.5, clip=0.0, snips=False) -> TargetWeights:
    return TargetWeights(counts, power=power, clip=clip, is_self_normalised=snips)


def test_propensities_by_hand() -> None:
    targets = torch.tensor([1, 2, 3, 2])
    assert weights_of()(targets)[targets].tolist() == [1, 2, 4, 2]  # sqrt(16 / count)
    assert weights_of(power=1.0)(targets)[targets].tolist() == [1, 4, 16, 4]
    assert weights_of(clip=0.5)(targets)[targets].tolist() == [1, 2, 2, 2]
    assert weights_of(power=0.0)(targets)[targets].tolist() == [1, 1, 1, 1]
    normalised = weights_of(snips=True)(targets)[targets].tolist()
    assert normalised == pytest.approx([4 / 9, 8 / 9, 16 / 9, 8 / 9])


def test_an_item_that_training_lacks_weighs_as_much_as_one_met_once() -> None:
    assert weights_of().of_item[3:].tolist() == [4, 4]


def test_self_normalised_weights_do_not_know_the_scale_of_propensities() -> None:
    targets = torch.tensor([1, 2, 3])
    one, other = weights_of(snips=True), weights_of(COUNTS * 100, snips=True)
    assert torch.allclose(one(targets)[1:4], other(targets)[1:4])


LOSSES = {
    "CE": FullSoftmax(temperature=0.5),
    "CE smoothed": FullSoftmax(temperature=0.5, label_smoothing=0.2),
    "SCE": SampledSoftmax,
    "BCE": BinaryCrossEntropy,
    "BPR": BPR,
    "MSE": InterestMSE(),
}


def loss_of(name: str):
    loss = LOSSES[name]
    if isinstance(loss, torch.nn.Module):
        return loss
    negatives = Negatives(how="uniform", number=2, counts=COUNTS)
    negatives.draw = lambda targets: Drawn(torch.tensor([2, 4]))
    own = {"calibration": 0.5} if name == "BCE" else {}
    return loss(temperature=0.5, negatives=negatives, **own)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_counts_as_often_as_its_weight_says(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    interest, table = (torch.randn(n, 3, generator=generator) for n in (3, 5))
    targets, loss = torch.tensor([1, 2, 3]), loss_of(name)
    alone = [loss(interest[at : at + 1], table, targets[at : at + 1]).item() for at in range(3)]
    whole = loss(interest, table, targets, torch.tensor([9.0, 1.0, 2.0, 4.0, 9.0]))
    assert whole.item() == pytest.approx((alone[0] + 2 * alone[1] + 4 * alone[2]) / 3, rel=1e-5)
    plain = loss(interest, table, targets)
    assert loss(interest, table, targets, torch.ones(5)).item() == pytest.approx(plain.item())


def test_a_weighted_softmax_by_hand() -> None:
    interest, table = torch.tensor([[1.0], [1.0]]), torch.tensor([[9.0], [1.0], [0.0]])
    first, second = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    loss = FullSoftmax(temperature=1.0)
    received = loss(interest, table, torch.tensor([1, 2]), torch.tensor([9.0, 1.0, 3.0]))
    assert received.item() == pytest.approx((first + 3 * second) / 2)


@pytest.mark.parametrize("has_fused", [True, False], ids=["fused", "torch before 2.14"])
def test_chunks_change_neither_a_weighted_loss_nor_its_gradient(monkeypatch, has_fused) -> None:
    generator = torch.Generator().manual_seed(0)
    interest = torch.randn(11, 4, generator=generator, requires_grad=True)
    table = torch.randn(7, 4, generator=generator, requires_grad=True)
    targets = torch.randint(1, 7, (11,), generator=generator)
    weights = torch.rand(7, generator=generator)
    scores = (interest / 0.5) @ table[1:].T
    each = functional.cross_entropy(scores, targets - 1, reduction="none")
    expected = torch.autograd.grad((weights[targets] * each).mean(), (interest, table))
    monkeypatch.setattr(softmax, "MAX_CELLS", 3 * 7)
    if not has_fused:
        monkeypatch.delattr(softmax.functional, "linear_cross_entropy", raising=False)
    cut = FullSoftmax(temperature=0.5)(interest, table, targets, weights)
    received = torch.autograd.grad(cut, (interest, table))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(received, expected, strict=True))


def loss_on_windows(world) -> torch.Tensor:
    loader = WindowLoader(world.train.dataset, world.config)
    return world.model.eval().calculate_loss(next(iter(loader)))


@pytest.mark.parametrize("kind", ["ips", "snips"])
def test_where_all_items_are_as_popular_nothing_is_weighed(ring, kind) -> None:
    plain = loss_on_windows(ring("LLMInterestLSTM"))
    world = ring("LLMInterestLSTM", propensity_weighting=kind)  # the ring's items are
    assert loss_on_windows(world).item() == pytest.approx(plain.item(), rel=1e-6)
    world.model.target_weights.of_item[1] = 3.0
    assert loss_on_windows(world).item() != pytest.approx(plain.item(), rel=1e-4)


@pytest.mark.parametrize("kind", ["ips", "snips"])
def test_parts_of_a_batch_add_up_to_the_loss_of_the_whole(ring, kind) -> None:
    world = ring("LLMInterestLinear", propensity_weighting=kind, train_batch_size=1000)
    weights = world.model.target_weights
    weights.of_item[:] = torch.linspace(0.5, 4.0, len(weights.of_item))
    shared = InterestTrainer(world.config, world.model)._shared_weights()
    assert (shared is None) == (kind == "ips")
    loader = WindowLoader(world.train.dataset, world.config, target_weights=shared)
    (batch,) = list(loader)
    assert batch.weight == 1
    loss, total = BatchLoss(world.model.eval()), 0.0
    for rank in range(3):
        loader.rank, loader.num_ranks = rank, 3
        (part,) = list(loader)
        total += loss(part).item() / 3
    assert total == pytest.approx(loss(batch).item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["CE", "SCE", "GBCE"])
def test_every_loss_and_term_learns_something_else_by_weights(ring, loss) -> None:
    negatives = {} if loss == "CE" else {"num_negatives": 8}

    def learned(rarest: float) -> list[torch.Tensor]:
        world = ring(
            "LLMInterestLinear", propensity_weighting="snips", loss_type=loss, epochs=2,
            adversarial_weight=0.5, gradient_accumulation_steps=2, **negatives,
        )  # fmt: skip
        weights = world.model.target_weights.of_item
        weights[:] = torch.linspace(1, rarest, len(weights))
        world.fit()
        return list(world.model.parameters())

    equal, again, weighed = map(learned, (1.0, 1.0, 4.0))
    assert all(map(torch.equal, equal, again))
    assert not all(map(torch.equal, equal, weighed))
    assert all(value.isfinite().all() for value in weighed)


def test_prefixes_are_weighed_too(ring) -> None:
    world = ring("LLMInterestLinear", training="prefixes", propensity_weighting="ips")
    cases, model = next(iter(world.train)), world.model.eval()
    plain = model.calculate_loss(cases).item()
    model.target_weights.of_item *= 3
    assert model.calculate_loss(cases).item() == pytest.approx(3 * plain, rel=1e-5)


def test_an_offset_by_hand() -> None:
    offset = popularity_offset(torch.tensor([0, 1, 3]), adjustment=0.5)
    assert offset.tolist() == pytest.approx([0, -0.5 * math.log(2), -0.5 * math.log(4)])


def test_scores_are_lowered_by_the_log_of_popularity(ring, histories) -> None:
    plain, lowered = (
        ring("LLMInterestLinear", item_features=["text", "id"], popularity_adjustment=alpha)
        for alpha in (0.0, 2.0)
    )
    assert "offset" not in plain.model.state_dict() and plain.model.offset is None
    lowered.model.load_state_dict(plain.model.state_dict() | {"offset": lowered.model.offset})
    targets = lowered.train.dataset.inter_feat["item_id"]
    count = torch.bincount(targets, minlength=lowered.model.n_items)
    assert int(count[-1]) == 0 and int(count.max()) > 0
    cases = next(iter(lowered.valid))[0]
    with torch.no_grad():
        before, after = (one.model.eval().full_sort_predict(cases) for one in (plain, lowered))
        own = lowered.model.predict(cases)
    assert torch.allclose(after, before - 2 * torch.log1p(count.float()), atol=1e-5)
    at = torch.arange(len(cases)), cases["item_id"]
    assert torch.allclose(own, after[at], atol=1e-5)


def test_a_loss_knows_no_adjustment(ring) -> None:
    plain, lowered = (
        loss_on_windows(ring("LLMInterestLSTM", popularity_adjustment=alpha))
        for alpha in (0.0, 2.0)
    )
    assert plain.item() == lowered.item()


def test_weights_without_end_are_refused() -> None:
    with pytest.raises(RequestError, match=r"propensity_power: by 50 .* propensity_clip above 0"):
        weights_of(torch.tensor([0, 1, 1000]), power=50.0)
    assert weights_of(torch.tensor([0, 1, 1000]), power=50.0, clip=0.1).of_item.max() == 10
