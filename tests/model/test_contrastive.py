"""Contrastive losses against values derived by hand: interests along two axes, at right angles."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recbole_llm.model import contrastive
from recbole_llm.model.contrastive import contrast_targets, contrast_views

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def views_loss(one, other, *, users=(1, 2), targets=(1, 2), temperature=1.0) -> Tensor:
    return contrast_views(
        torch.tensor(one), torch.tensor(other), users=torch.tensor(users),
        targets=torch.tensor(targets).repeat(2), temperature=temperature,
    )  # fmt: skip


def targets_loss(states, targets, *, users=(1, 2, 3, 4), temperature=1.0) -> Tensor:
    return contrast_targets(
        torch.tensor(states), users=torch.tensor(users), targets=torch.tensor(targets),
        temperature=temperature,
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_equal_views_at_right_angles_to_both_negatives(temperature: float) -> None:
    loss = views_loss([EAST, NORTH], [EAST, NORTH], temperature=temperature)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-1 / temperature)))


def test_views_at_right_angles_whose_negatives_are_equal() -> None:
    loss = views_loss([EAST, NORTH], [NORTH, EAST])  # each: positive 0, negatives 0 and 1
    assert loss.item() == pytest.approx(math.log(2 + math.e))


def test_cosine_forgets_length() -> None:
    loss = views_loss([[9.0, 0.0], NORTH], [EAST, [0.0, 0.1]])
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e))


@pytest.mark.parametrize("same", [{"users": (1, 1)}, {"targets": (3, 3)}], ids=str)
def test_one_user_or_one_target_is_never_a_negative(same: dict) -> None:
    assert views_loss([EAST, NORTH], [NORTH, EAST], **same).item() == 0
    three = views_loss(
        [EAST, EAST, NORTH], [EAST, EAST, NORTH],
        users=(*same.get("users", (1, 2)), 3), targets=(*same.get("targets", (1, 2)), 4),
    )  # fmt: skip
    expected = 2 * math.log(1 + 2 / math.e) + math.log(1 + 4 / math.e)
    assert three.item() == pytest.approx(expected / 3)


def test_interests_of_one_target_are_positives_and_those_without_any_do_not_count() -> None:
    loss = targets_loss([EAST, EAST, NORTH, NORTH], [5, 5, 6, 7])
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e))


def test_the_positives_of_an_interest_are_averaged() -> None:
    loss = targets_loss([EAST, EAST, NORTH, NORTH], [5, 5, 5, 6])
    near, far = math.log(1 + 1 / math.e), math.log(2)  # of the two in the east
    assert loss.item() == pytest.approx((2 * (near + far) / 2 + math.log(1 + math.e)) / 3)


def test_positions_of_one_user_are_neither_positives_nor_negatives() -> None:
    loss = targets_loss([EAST, EAST, EAST, NORTH], [5, 5, 6, 5], users=(1, 1, 1, 2))
    assert loss.item() == pytest.approx(2 * math.log(1) / 3 + math.log(1 + 1) / 3)


def test_a_batch_without_positives_teaches_nothing() -> None:
    states = torch.eye(4).requires_grad_()
    ids = torch.arange(4)
    loss = contrast_targets(states, users=ids, targets=ids, temperature=0.1)
    loss.backward()
    assert loss.item() == 0 and not states.grad.any()


def test_gradients_are_finite_where_there_are_no_negatives() -> None:
    one = torch.tensor([EAST, NORTH]).requires_grad_()
    ids = torch.tensor([1, 1])
    contrast_views(
        one, one.detach() * 2, users=ids, targets=ids.repeat(2), temperature=0.1
    ).backward()
    assert torch.isfinite(one.grad).all()


def test_the_gradient_is_as_exact_where_precision_is_mixed() -> None:
    torch.manual_seed(0)
    states, ids = torch.randn(32, 16), torch.arange(32)
    found = []
    for enabled in (False, True):
        mine = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = contrast_targets(mine, users=ids, targets=ids % 8, temperature=0.05)
        loss.backward()
        found.append(mine.grad)
    assert torch.allclose(*found, rtol=1e-4, atol=1e-7)


def test_at_most_so_many_interests_are_compared(monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(contrastive, "MAX_INTERESTS", 3)
    monkeypatch.setattr(contrastive, "info_nce", lambda states, **_: seen.append(states))
    ids = torch.arange(50)
    for _ in range(2):
        contrast_targets(ids[:, None], users=ids, targets=ids, temperature=1.0)
    assert [len(set(states.flatten().tolist())) for states in seen] == [3, 3]
    assert seen[0].tolist() != seen[1].tolist()
