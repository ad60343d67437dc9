"""Windows: every target once, context kept, little padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recbole_llm.data.augment import OPERATIONS, Augmenter
from recbole_llm.data.batches import WindowBatch, WindowSampler, cut_windows


def make_sampler(
    lengths: list[int], *, max_length: int, overlap: int = 0, batch_size: int = 4, **more: Any
) -> WindowSampler:
    """Users whose events are numbered 1, 2, 3, ... through, so that an item tells its place."""
    ends = np.cumsum(lengths)
    return WindowSampler(
        items=torch.arange(1, ends[-1] + 1),
        starts=ends - lengths,
        num_targets=np.array(lengths) - 1,
        max_length=max_length,
        overlap=overlap,
        batch_size=batch_size,
        seed=7,
        **more,
    )


def targets_of(sampler: WindowSampler) -> list[int]:
    return sorted(int(t) for batch in sampler for t in batch.targets.flatten() if t > 0)


@pytest.mark.parametrize("overlap", [0, 1, 3])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_target_is_trained_exactly_once(overlap: int, epoch: int) -> None:
    lengths = [1, 2, 3, 4, 5, 6, 9, 23, 1, 40]
    sampler = make_sampler(lengths, max_length=4, overlap=overlap)
    sampler.set_epoch(epoch)
    ends = np.cumsum(lengths)
    firsts = {int(end - length) + 1 for end, length in zip(ends, lengths, strict=True)}
    expected = [item for item in range(1, int(ends[-1]) + 1) if item not in firsts]
    assert targets_of(sampler) == expected


def test_a_target_follows_its_input_and_rows_never_mix_users() -> None:
    lengths = [7, 12, 3]
    sampler = make_sampler(lengths, max_length=4, overlap=2)
    user_of = np.repeat(np.arange(3), lengths)
    for batch in sampler:
        assert batch.history.shape[1] <= 4
        for row, length in zip(batch.history, batch.lengths, strict=True):
            assert len({user_of[item - 1] for item in row[:length]}) == 1
            assert torch.all(row[length:] == 0)
        has_target = batch.targets > 0
        assert torch.equal(batch.targets[has_target], batch.history[has_target] + 1)


def test_a_cut_window_begins_with_the_context_asked_for() -> None:
    windows = cut_windows(
        np.array([0]),
        np.array([100]),
        max_length=10,
        overlap=4,
        rng=np.random.default_rng(0),
    )
    later = windows.first > 0
    assert later.sum() >= 15
    assert np.all(windows.context[later & (windows.first > 4)] == 4)
    assert windows.length.max() == 10


def test_cuts_fall_elsewhere_each_epoch_and_are_repeatable() -> None:
    sampler = make_sampler([60], max_length=10)
    cuts = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        cuts.append(tuple(sorted(sampler.windows.first.tolist())))
    assert len(set(cuts)) > 4
    sampler.set_epoch(3)
    assert tuple(sorted(sampler.windows.first.tolist())) == cuts[3]


def test_a_short_history_is_one_whole_window() -> None:
    sampler = make_sampler([5, 11], max_length=10)
    assert sampler.windows.length.tolist() == [4, 10]
    assert sampler.windows.context.tolist() == [0, 0]


def test_padding_is_small_when_histories_are_short() -> None:
    rng = np.random.default_rng(0)
    sampler = make_sampler(
        (2 + rng.geometric(0.16, size=5000)).tolist(), max_length=50, batch_size=128
    )
    tokens = sum(batch.history.numel() for batch in sampler)
    assert sum(int(batch.lengths.sum()) for batch in sampler) > 0.8 * tokens


def windows_of(batch: WindowBatch) -> list[tuple[list[int], list[int]]]:
    """Return inputs and targets of each window, without padding."""
    rows = zip(batch.history.tolist(), batch.targets.tolist(), batch.lengths.tolist(), strict=True)
    return [(history[:length], targets[:length]) for history, targets, length in rows]


@pytest.mark.parametrize("is_weighted", [False, True])
def test_batches_of_a_step_weigh_as_their_targets_do(is_weighted: bool) -> None:
    """Five batches in steps of two: the last step has one."""
    lengths = [3, 5, 9, 4, 12, 7, 3, 6, 8]
    counts = torch.arange(sum(lengths) + 1).double() if is_weighted else None
    weight_of = torch.ones(sum(lengths) + 1).double() if counts is None else counts
    settings = {"max_length": 20, "batch_size": 2, "target_weights": counts}
    batches = list(make_sampler(lengths, accumulation=2, **settings))
    sums = [float(weight_of[batch.targets[batch.targets > 0]].sum()) for batch in batches]
    totals = [sums[0] + sums[1], sums[0] + sums[1], sums[2] + sums[3], sums[2] + sums[3]]
    expected = [2 * own / total for own, total in zip(sums, totals, strict=False)]
    assert [batch.weight for batch in batches] == pytest.approx([*expected, 1.0])
    assert len(set(expected)) > 1
    assert {batch.weight for batch in make_sampler(lengths, **settings)} == {1.0}


@pytest.mark.parametrize("is_weighted", [False, True])
def test_processes_train_the_windows_of_one_changed_as_its_are(is_weighted: bool) -> None:
    """Nine windows in batches of 4, 4 and 1: of the last, two of three processes have none."""
    lengths = [3, 5, 9, 4, 12, 7, 3, 6, 8]
    counts = torch.arange(sum(lengths) + 1).double() if is_weighted else None
    changes = Augmenter(OPERATIONS, 0.5)
    settings = {"max_length": 20, "augmenter": changes, "view_augmenter": changes}
    alone = make_sampler(lengths, **settings)
    ranks = [
        make_sampler(lengths, **settings, target_weights=counts, rank=rank, num_ranks=3)
        for rank in range(3)
    ]
    for whole, *parts in zip(alone, *ranks, strict=True):
        weight_of = counts if is_weighted else torch.ones(sum(lengths) + 1).double()
        total = weight_of[whole.targets[whole.targets > 0]].sum()
        for rank, part in enumerate(parts):
            share = weight_of[part.targets[part.targets > 0]].sum() / total
            is_spare = rank >= len(whole.lengths)
            assert part.weight == (0 if is_spare else pytest.approx(3 * float(share)))
            for one, other in zip((whole, *whole.views), (part, *part.views), strict=True):
                assert windows_of(other) == windows_of(one)[0 if is_spare else rank :: 3]
                assert other.history.shape[1] == other.lengths.max()
            assert part.users.tolist() == whole.users[0 if is_spare else rank :: 3].tolist()
        assert sum(part.weight for part in parts) == pytest.approx(3)
