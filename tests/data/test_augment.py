"""Augmentation: all outcomes of small windows by hand, and what holds for any window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_llm.data.augment import OPERATIONS, Augmenter
from recbole_llm.data.batches import WindowBatch, WindowSampler


def window(number: int, *, context: int = 0) -> WindowBatch:
    """Return a window of the events 1 .. number, padded by one."""
    events = torch.arange(1, number + 1)
    history = torch.cat([events[:-1], torch.zeros(1, dtype=torch.long)])[None]
    targets = torch.cat([events[1:], torch.zeros(1, dtype=torch.long)])[None]
    targets[:, :context] = 0
    return WindowBatch(history, torch.tensor([number - 1]), targets, users=torch.tensor([0]))


def outcomes(batch: WindowBatch, *operations: str, rate: float) -> set[tuple[str, str]]:
    """Return inputs and targets, as strings of digits, that 300 draws give."""
    augment, found = Augmenter(operations, rate), set()
    for seed in range(300):
        changed = augment(batch, np.random.default_rng(seed))
        assert changed.history.shape == changed.targets.shape == (1, changed.lengths[0])
        rows = (changed.history[0].tolist(), changed.targets[0].tolist())
        found.add(tuple("".join(map(str, row)) for row in rows))
    return found


def test_drop_leaves_items_out_and_histories_skip_them() -> None:
    assert outcomes(window(3), "drop", rate=0.5) == {
        ("12", "23"), ("1", "2"), ("1", "3"), ("2", "3"),
    }  # fmt: skip


def test_mask_zeroes_inputs_and_keeps_places_and_targets() -> None:
    assert outcomes(window(3), "mask", rate=0.5) == {
        ("12", "23"), ("02", "23"), ("10", "23"), ("00", "23"),
    }  # fmt: skip


def test_crop_keeps_a_span() -> None:
    expected = {("12", "23"), ("23", "34"), ("34", "45")}
    assert outcomes(window(5), "crop", rate=0.4) == expected
    assert outcomes(window(3), "crop", rate=0.9) == {("1", "2"), ("2", "3")}


def test_reorder_shuffles_a_span_behind_the_first_input() -> None:
    assert outcomes(window(4), "reorder", rate=0.5) == {
        ("123", "234"), ("132", "324"), ("124", "243"),
    }  # fmt: skip


def test_each_window_has_one_operation_drawn_from_the_list() -> None:
    alone = [outcomes(window(4), name, rate=0.5) for name in ("mask", "crop")]
    assert outcomes(window(4), "mask", "crop", rate=0.5) == set.union(*alone)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("drop", {("123", "004"), ("13", "04"), ("23", "04"), ("3", "4")}),
        ("mask", {(a + b + c, "004") for a in "01" for b in "02" for c in "03"}),
        ("crop", {("123", "004"), ("3", "4")}),
        ("reorder", {("123", "004")}),
    ],
)
def test_context_has_no_target_and_the_last_target_is_not_taken(operation, expected) -> None:
    assert outcomes(window(4, context=2), operation, rate=0.5) == expected


def make_sampler(*lengths: int, **augmenters: Augmenter) -> WindowSampler:
    """Users whose events are numbered 1, 2, 3, ... through, cut into windows with context."""
    lengths = np.array(lengths or np.random.default_rng(0).integers(2, 60, size=40))
    return WindowSampler(
        items=torch.arange(1, lengths.sum() + 1),
        starts=np.cumsum(lengths) - lengths,
        num_targets=lengths - 1,
        max_length=20,
        overlap=5,
        batch_size=8,
        seed=7,
        **augmenters,
    )


def pairs(operations: tuple[str, ...], rate: float = 0.4) -> list[tuple[WindowBatch, WindowBatch]]:
    """Return the batches of three epochs, as they are and changed."""
    plain, other = make_sampler(), make_sampler(augmenter=Augmenter(operations, rate))
    found = []
    for epoch in range(3):
        plain.set_epoch(epoch)
        other.set_epoch(epoch)
        found += zip(plain, other, strict=True)
    return found


@pytest.mark.parametrize("operations", [*((name,) for name in OPERATIONS), OPERATIONS], ids=str)
@pytest.mark.parametrize("rate", [0.05, 0.4, 0.95])
def test_no_window_is_left_without_a_target_and_targets_follow_inputs(operations, rate) -> None:
    for before, after in pairs(operations, rate):
        assert (after.targets > 0).any(1).all()
        assert after.history.shape[1] == after.lengths.max()
        is_input = torch.arange(after.history.shape[1]) < after.lengths[:, None]
        assert not after.history[~is_input].any() and not after.targets[~is_input].any()
        is_pair = (after.targets > 0)[:, :-1] & (after.history[:, 1:] > 0)
        assert torch.equal(after.targets[:, :-1][is_pair], after.history[:, 1:][is_pair])
        for old, new in zip(before.targets, after.targets, strict=True):
            trained = new[new > 0].tolist()
            assert len(set(trained)) == len(trained) and set(trained) <= set(old.tolist())


@pytest.mark.parametrize("operation", ["drop", "crop"])
def test_what_drop_and_crop_leave_is_in_order_and_context_has_no_target(operation) -> None:
    shorter = 0
    for before, after in pairs((operation,)):
        learns = after.targets > 0
        assert (after.targets > after.history)[learns].all()
        shorter += int((after.lengths < before.lengths).sum())
        first = torch.where(before.targets > 0, before.history, 10_000).min(1).values
        assert (after.history >= first[:, None])[learns].all()
    assert shorter > 50


def test_reorder_keeps_what_is_read_and_what_is_trained() -> None:
    moved = 0
    for before, after in pairs(("reorder",)):
        assert torch.equal(before.targets.sort(1).values, after.targets.sort(1).values)
        assert torch.equal(before.targets == 0, after.targets == 0)
        moved += int((before.history != after.history).any(1).sum())
    assert moved > 50


def test_mask_changes_only_the_inputs_it_zeroes() -> None:
    for before, after in pairs(("mask",)):
        assert torch.equal(before.targets, after.targets)
        assert torch.equal(before.lengths, after.lengths)
        kept = after.history > 0
        assert torch.equal(before.history[kept], after.history[kept])


@pytest.mark.parametrize("operation", ["drop", "mask"])
def test_the_rate_is_the_share_that_is_changed(operation) -> None:
    found = pairs((operation,), 0.3)
    ends = 0 if operation == "mask" else 1  # the last target may be dropped too
    before = sum(int((old.history > 0).sum()) + ends * len(old.lengths) for old, _ in found)
    after = sum(int((new.history > 0).sum()) + ends * len(new.lengths) for _, new in found)
    assert after / before == pytest.approx(0.7, abs=0.02)


def contents(sampler: WindowSampler, epoch: int) -> list[list]:
    sampler.set_epoch(epoch)
    return [
        [part.history.tolist(), part.targets.tolist()]
        for batch in sampler
        for part in (batch, *batch.views)
    ]


def test_an_epoch_is_a_function_of_seed_and_number_and_of_no_global_randomness() -> None:
    augment = Augmenter(OPERATIONS, 0.4)
    sampler = make_sampler(augmenter=augment, view_augmenter=augment)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = contents(sampler, 3), contents(sampler, 4)
    assert contents(sampler, 3) == first != second
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_a_window_that_is_never_cut_changes_in_another_way_each_epoch() -> None:
    sampler = make_sampler(20, augmenter=Augmenter(("mask",), 0.5))
    assert contents(sampler, 0) != contents(sampler, 1)


def test_views_leave_the_windows_as_they_are_and_differ() -> None:
    plain, other = make_sampler(), make_sampler(view_augmenter=Augmenter(OPERATIONS, 0.4))
    for before, after in zip(plain, other, strict=True):
        assert torch.equal(before.history, after.history) and before.views == ()
        one, two = after.views
        assert one.history.tolist() != two.history.tolist()
        assert torch.equal(one.users, after.users)


def test_the_windows_of_a_user_share_its_number() -> None:
    sampler = make_sampler()
    user_of = np.repeat(np.arange(40), sampler.num_targets + 1)
    for batch in sampler:
        assert batch.users.tolist() == user_of[batch.history[:, 0] - 1].tolist()
