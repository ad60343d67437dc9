"""Windows over new events and over a sample of the old ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from recbole_llm.data.replay import ReplaySampler, new_windows

OLD = np.array([6, 0, 1, 30, 4])  # events of five users; the second is new, the last did no more
NEW = np.array([3, 4, 2, 9, 0])


def sampler(*, replay: float, seed: int = 0, batch_size: int = 4) -> ReplaySampler:
    """Return a sampler over events of which each has an item of its own, numbered from 1."""
    counts = OLD + NEW
    num_old = np.maximum(OLD - 1, 0)
    return ReplaySampler(
        items=torch.arange(1, counts.sum() + 1),
        starts=np.cumsum(counts) - counts,
        num_old=num_old,
        num_new=counts - 1 - num_old,
        replay=replay,
        max_length=5,
        overlap=0,
        batch_size=batch_size,
        seed=seed,
    )


def targets(windows: ReplaySampler) -> list[int]:
    return [item for batch in windows for item in batch.targets[batch.targets > 0].tolist()]


def new_targets() -> set[int]:
    """Return the items of new events; a new user's first has no history, so is no target."""
    counts = OLD + NEW
    starts = np.cumsum(counts) - counts
    return {
        start + at + 1
        for start, old, count in zip(starts, OLD, counts, strict=True)
        for at in range(max(old, 1), count)
    }


def test_a_window_has_half_its_length_of_new_targets() -> None:
    """Five old events and three new ones, then a user of three new ones; derived by hand."""
    found = new_windows(np.array([0, 8]), np.array([4, 0]), np.array([3, 2]), max_length=4)
    assert found.first.tolist() == [2, 3, 8]
    assert found.length.tolist() == [4, 4, 2]
    assert found.context.tolist() == [2, 3, 0]
    assert found.user.tolist() == [0, 0, 1]


def test_only_new_events_are_targets_each_once() -> None:
    assert Counter(targets(sampler(replay=0))) == Counter(new_targets())


def test_a_target_follows_what_the_user_did_before() -> None:
    for batch in sampler(replay=1):
        has_target = batch.targets > 0
        assert torch.equal(batch.targets[has_target], batch.history[has_target] + 1)
        for row, length in zip(batch.history, batch.lengths, strict=True):
            assert torch.equal(row[:length].diff(), torch.ones(length - 1, dtype=torch.int64))


@pytest.mark.parametrize("replay", [0.3, 1])
def test_old_targets_are_drawn_for_the_new_ones(replay: float) -> None:
    windows, new = sampler(replay=replay), new_targets()
    drawn = []
    for epoch in range(3):
        windows.set_epoch(epoch)
        old = [item for item in targets(windows) if item not in new]
        assert len(old) == len(set(old))
        assert replay * len(new) <= len(old) < replay * len(new) + windows.max_length
        drawn.append(old)
    assert sorted(drawn[0]) != sorted(drawn[1])


def test_all_that_is_old_is_replayed_at_most() -> None:
    found = targets(sampler(replay=1000))
    assert Counter(found) == Counter(
        set(range(1, OLD.sum() + NEW.sum() + 1)) - set(found_first(OLD + NEW))
    )


def found_first(counts: np.ndarray) -> list[int]:
    """Return the items of first events, which are never targets."""
    return (np.cumsum(counts) - counts + 1).tolist()


def test_an_old_target_is_as_likely_as_any_other() -> None:
    windows, new = sampler(replay=0.5), new_targets()
    seen: Counter[int] = Counter()
    for epoch in range(400):
        windows.set_epoch(epoch)
        seen.update(item for item in targets(windows) if item not in new)
    shares = np.array(list(seen.values())) / 400
    assert len(seen) == np.maximum(OLD - 1, 0).sum()
    assert abs(shares - shares.mean()).max() < 0.1


def test_an_epoch_is_a_function_of_the_seed() -> None:
    def batches(seed: int) -> list[list[int]]:
        return [batch.history.flatten().tolist() for batch in sampler(replay=1, seed=seed)]

    assert batches(0) == batches(0) != batches(1)
