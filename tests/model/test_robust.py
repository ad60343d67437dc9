"""The terms of robustness: each by hand, in the loss of a model, and all in the ring world."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.model import softmax
from recbole_llm.model.robust import ItemNoise, adversarial_table
from recbole_llm.train.trainer import WindowLoader

NAME = "LLMInterestLSTM"
NOISE = {"item_noise": 0.3}
ADVERSARIAL = {"adversarial_weight": 0.5}
CONTRAST = {"contrastive_weight": 0.3}
BY_DROPOUT = CONTRAST | {"contrastive_views": "dropout"}
BY_TARGET = CONTRAST | {"contrastive_views": "same_target"}
TERMS = [NOISE, ADVERSARIAL, CONTRAST, BY_DROPOUT, BY_TARGET]
MILD = {
    "item_noise": 0.05, "augmentation": ["drop", "mask", "crop"], "augmentation_rate": 0.1,
    "adversarial_weight": 0.2, "adversarial_epsilon": 0.05, "contrastive_weight": 0.01,
}  # fmt: skip


def loss_of(world, batch, *, seed: int = 3, amp: bool = False):
    """Return a loss in training, of random draws that begin at a seed."""
    world.model.train()
    torch.manual_seed(seed)
    with torch.autocast("cpu", enabled=amp):
        return world.model.calculate_loss(batch)


def windows(world):
    return next(iter(WindowLoader(world.train.dataset, world.config)))


def test_noise_has_the_share_of_each_vectors_rms() -> None:
    torch.manual_seed(0)
    size = torch.tensor([0.1, 1.0, 10.0])[:, None, None]
    items = size * torch.randn(3, 500, 64)
    noise = ItemNoise(share=0.2)(items) - items
    received = noise.square().mean((1, 2)).sqrt() / items.square().mean((1, 2)).sqrt()
    assert torch.allclose(received, torch.full((3,), 0.2), rtol=0.02)
    positions = torch.nn.functional.normalize(noise[1], dim=-1)
    assert (positions @ positions.T - torch.eye(500)).abs().max() < 0.8  # drawn for each anew


def test_noise_spares_padding_and_evaluation() -> None:
    noise, items = ItemNoise(share=0.5), torch.ones(2, 3, 4)
    items[:, 2] = 0
    assert not noise(items)[:, 2].any()
    assert torch.equal(noise.eval()(items), items)


def test_a_linear_loss_moves_each_item_along_its_own_slope() -> None:
    table = torch.tensor([[0.0, 0.0], [3.0, 4.0], [5.0, 0.0], [0.0, 5.0]], requires_grad=True)
    slope = torch.tensor([[7.0, 7.0], [0.0, 2.0], [-3.0, 4.0], [0.0, 0.0]])
    moved = adversarial_table(table, loss=(slope * table).sum(), epsilon=0.1)  # norms are 5
    expected = [[0.0, 0.0], [3.0, 4.5], [5.0 - 0.3, 0.4], [0.0, 5.0]]
    assert torch.allclose(moved, torch.tensor(expected))
    grown = (slope * moved).sum() - (slope * table).sum()
    assert grown.item() == pytest.approx(0.1 * 5 * (2 + 5))


def test_entries_behind_the_size_stay_and_do_not_count() -> None:
    table = torch.tensor([[0.0, 0.0], [3.0, 9.0], [-5.0, 9.0]], requires_grad=True)
    moved = adversarial_table(table, loss=table.sum(), epsilon=0.2, size=1)
    length = 0.2 * math.sqrt((9 + 25) / 2)
    assert torch.allclose(moved, table + torch.tensor([[0.0, 0], [length, 0], [length, 0]]))


def test_the_length_of_a_move_is_relative_to_the_rms_norm() -> None:
    table = torch.tensor([[0.0], [1.0], [7.0]], requires_grad=True)
    for scale in (1e-4, 1.0, 1e4):  # of the loss, on which the move does not depend
        moved = adversarial_table(table, loss=scale * table.sum(), epsilon=0.2)
        assert moved[2].item() == pytest.approx(7 + 0.2 * math.sqrt((1 + 49) / 2))


def test_what_is_learned_on_moved_items_reaches_the_items() -> None:
    table = torch.tensor([[0.0], [1.0]], requires_grad=True)
    moved = adversarial_table(table, loss=table.square().sum(), epsilon=0.5)
    moved.square().sum().backward()
    assert table.grad[1].item() == pytest.approx(2 * 1.5)


def test_with_all_off_the_loss_and_its_random_draws_are_the_plain_ones(ring) -> None:
    world = ring(NAME, dropout_prob=0.4)
    batch, model = windows(world), world.model
    assert batch.views == ()
    received = loss_of(world, batch)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    table, has_target = model.items.table(), batch.targets > 0
    states = model.interest(batch.history, table)[has_target]
    expected = model.loss(states, model.candidates(table), batch.targets[has_target])
    assert torch.equal(received, expected) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("term", TERMS, ids=str)
def test_each_term_moves_the_loss_and_reaches_the_weights(ring, term: dict, amp: bool) -> None:
    found = []
    name = "LLMInterestGRU" if amp else NAME  # not each processor has an LSTM in bf16
    for settings in ({}, term):
        world = ring(name, item_features=["text", "id"], dropout_prob=0.2, **settings)
        loss = loss_of(world, windows(world), amp=amp)
        loss.backward()
        found.append((loss, dict(world.model.named_parameters())))
    (plain, before), (robust, after) = found
    assert torch.isfinite(robust) and not torch.isclose(plain, robust, atol=1e-4)
    for key, parameter in after.items():
        assert torch.isfinite(parameter.grad).all()
        assert torch.equal(parameter, before[key])
        assert not torch.allclose(parameter.grad, before[key].grad, rtol=1e-3), key


@pytest.mark.parametrize("scoring", ["inner", "cosine"])
def test_the_adversarial_loss_is_that_of_moved_items_and_is_worse(ring, scoring) -> None:
    plain = ring(NAME, scoring=scoring)
    batch, model = windows(plain), plain.model
    loss, table = loss_of(plain, batch), model.items.table()
    clean = model.target_loss(model.interest(batch.history, table), table, batch)
    moved = adversarial_table(table, loss=clean, epsilon=0.1)
    misled = model.target_loss(model.interest(batch.history, moved), moved, batch)
    assert misled > clean
    received = loss_of(ring(NAME, scoring=scoring, **ADVERSARIAL), batch)
    assert torch.allclose(received, loss + 0.5 * misled)


def test_the_adversarial_loss_is_the_same_where_scores_are_made_in_chunks(
    ring, monkeypatch
) -> None:
    world = ring(NAME, **ADVERSARIAL)
    batch = windows(world)
    found = []
    for cells in (softmax.MAX_CELLS, 60):
        monkeypatch.setattr(softmax, "MAX_CELLS", cells)
        world.model.zero_grad()
        loss = loss_of(world, batch)
        loss.backward()
        found.append([loss, *(p.grad.clone() for p in world.model.parameters())])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


def test_views_are_compared_by_the_interest_after_their_last_input(ring) -> None:
    world = ring(NAME, **CONTRAST)
    batch, model = windows(world), world.model
    batch = replace(batch, users=torch.arange(len(batch.users)) // 2)  # two windows of each
    seen = []
    model.contrast.register_forward_hook(lambda *call: seen.append(call[2]))
    loss_of(world, batch)
    table = model.items.table()
    ends = [
        torch.stack([
            model.interest(row[None, :length], table)[0, -1]
            for row, length in zip(view.history, view.lengths, strict=True)
        ])
        for view in batch.views
    ]  # fmt: skip
    one, other = (torch.nn.functional.normalize(end, dim=-1) for end in ends)
    states = torch.cat([one, other])
    scores = (states @ states.T / 0.2).exp()
    users, targets = batch.users.repeat(2), torch.cat([view.last_target for view in batch.views])
    assert (targets != batch.last_target.repeat(2)).any()  # a view may end elsewhere
    is_other = targets[:, None] != targets
    far = (users[:, None] != users) & is_other
    assert (far != is_other).any()
    near = (one * other).sum(-1).div(0.2).exp().repeat(2)
    expected = -(near / (near + (scores * far).sum(1))).log().mean()
    assert torch.allclose(seen[0], expected, atol=1e-5)


@pytest.mark.parametrize("term", [NOISE, ADVERSARIAL, BY_DROPOUT, BY_TARGET], ids=str)
def test_prefixes_have_the_terms_that_need_no_windows(ring, term: dict) -> None:
    found = []
    for settings in ({}, term):
        world = ring(NAME, training="prefixes", dropout_prob=0.2, **settings)
        dataset = world.train.dataset
        found.append(loss_of(world, dataset[np.arange(len(dataset))]))
    assert torch.isfinite(found[1]) and not torch.isclose(*found, atol=1e-4)


@pytest.mark.parametrize("settings", [{"augmentation": ["crop"]}, CONTRAST], ids=str)
def test_prefixes_that_come_where_windows_are_needed_are_refused(ring, settings: dict) -> None:
    world = ring(NAME, **settings)
    with pytest.raises(RequestError, match="Use training: all_positions"):
        world.model.calculate_loss(world.train.dataset[np.arange(4)])


@pytest.mark.slow
@pytest.mark.parametrize("views", ["augmented", "same_target"])
def test_the_ring_is_learned_with_all_terms_at_once(ring, views: str) -> None:
    world = ring("LLMInterestLinear", contrastive_views=views, epochs=40, **MILD)
    result = world.fit().evaluate(world.valid, load_best_model=False)
    assert result["hit@1"] == 1
