"""What every model of ours must do, on the ring world (conftest.py)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_llm.plugin import MODELS
from recbole_llm.train.scorers import scorer_of

pytestmark = pytest.mark.parametrize("name", sorted(MODELS))


def all_cases(world):
    """Return the test cases and which items of the catalogue are new."""
    dataset = world.test.dataset
    tokens = dataset.field2id_token["item_id"]
    return dataset[np.arange(len(dataset))], torch.tensor([t in ("i10", "i11") for t in tokens])


def ranks(world) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ranks, from 0: of known targets among known items, of new targets among all."""
    cases, is_new = all_cases(world)
    world.model.eval()
    scores = world.model.full_sort_predict(cases)
    scores[:, 0] = -torch.inf
    target = scores.gather(1, cases["item_id"][:, None])
    has_new = is_new[cases["item_id"]]
    above = scores > target
    return (above & ~is_new).sum(1)[~has_new], above.sum(1)[has_new]


def test_learns_the_ring_and_ranks_new_items_beside_their_twins(name, ring) -> None:
    world = ring(name)
    world.fit()
    known, new = ranks(world)
    assert known.max() == 0
    assert len(new) == 6 and new.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("combination", ["sum", "gate"])
def test_learns_the_ring_by_both_interests(name, ring, combination) -> None:
    world = ring(name, interest_combination=combination, item_features=["text", "id"])
    world.fit()
    assert (ranks(world)[0] == 0).float().mean() > 0.95


@pytest.mark.slow
def test_shuffled_text_cannot_rank_new_items(name, ring) -> None:
    found = []
    for shuffle in range(2):
        world = ring(name, shuffled=shuffle)
        world.fit()
        found.append((ranks(world)[1] <= 1).float().mean())
    assert sum(found) / len(found) < 0.5  # chance is 1/6


def test_predict_is_a_slice_of_full_sort(name, ring) -> None:
    world = ring(name)
    world.model.eval()
    cases, _ = all_cases(world)
    scores = world.model.full_sort_predict(cases)
    chosen = scores.gather(1, cases["item_id"][:, None]).squeeze(1)
    assert torch.allclose(world.model.predict(cases), chosen, atol=1e-5)


def test_evaluation_scores_as_full_sort_does(name, ring) -> None:
    world = ring(name, scoring="cosine", temperature=0.5, item_features=["text", "id"])
    world.model.eval()
    cases, _ = all_cases(world)
    scorer = scorer_of(world.model, world.test)
    found = scorer.scores(scorer.read(0, len(cases)), slice(0, len(cases)))
    expected = world.model.full_sort_predict(cases)
    assert torch.allclose(found[:, 1:], expected[:, 1:], atol=1e-5)


def test_items_with_the_same_text_tie_however_many_are_scored(name, ring) -> None:
    world = ring(name)
    table = world.model.items.features[0].vectors
    table[1:] = torch.randn(12, 2)
    table[12] = table[7] = table[3]
    table[11] = table[1]
    table[5, 0] = table[1, 0]  # alike in one entry only
    world.model.eval()
    scorer = scorer_of(world.model, world.test)
    items = scorer.candidates
    assert items.twins.tolist() == [7, 11, 12] and items.firsts.tolist() == [3, 1, 3]
    for size in (1, 5, 46):
        scores = scorer.scores(scorer.read(0, 46), slice(0, size))
        assert torch.equal(scores[:, [7, 11, 12]], scores[:, [3, 1, 3]])
        assert (scores[:, 5] != scores[:, 1]).all()


def test_later_items_and_padding_change_nothing(name, ring, histories) -> None:
    model = ring(name, item_features=["text", "id"]).model.eval()
    ids, lengths = histories
    table = model.items.table()
    before = model.interest(ids, table)
    garbage = torch.where(torch.arange(6) < lengths[:, None], ids, 9)
    after = model.interest(garbage, table)
    for row, length in enumerate(lengths):
        assert torch.allclose(before[row, :length], after[row, :length], atol=1e-6)


def test_a_history_alone_scores_as_in_a_batch_of_any_width(name, ring, histories) -> None:
    model = ring(name).model.eval()
    ids, lengths = histories
    batch = {"item_id_list": ids, "item_length": lengths}
    together = model.full_sort_predict(Interaction(batch))
    for row, length in enumerate(lengths):
        alone = {"item_id_list": ids[row : row + 1, :length], "item_length": lengths[row : row + 1]}
        assert torch.allclose(
            model.full_sort_predict(Interaction(alone))[0], together[row], atol=1e-5
        )


def test_gradients_reach_every_trainable_parameter(name, ring) -> None:
    world = ring(name, item_features=["text", "id"])
    loader = world.train
    batch = next(iter(loader))
    world.model.calculate_loss(batch).backward()
    missing = [
        parameter_name
        for parameter_name, parameter in world.model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert missing == []


def test_window_loss_is_the_mean_of_the_prefix_losses(name, ring) -> None:
    world = ring(name, MAX_ITEM_LIST_LENGTH=8)  # no history is cut
    world.model.eval()
    prefixes = world.train.dataset[np.arange(len(world.train.dataset))]
    from recbole_llm.train.trainer import WindowLoader

    world.config["train_batch_size"] = 10_000
    (windows,) = list(WindowLoader(world.train.dataset, world.config))
    expected = world.model.calculate_loss(prefixes)
    assert torch.allclose(world.model.calculate_loss(windows), expected, atol=1e-5)


def test_text_table_is_not_in_the_state(name, ring) -> None:
    model = ring(name).model
    assert "items.features.0.vectors" not in model.state_dict()
    assert "items.features.0.vectors" in dict(model.named_buffers())


def test_padding_is_the_zero_vector_and_stays_so(name, ring) -> None:
    world = ring(name, item_features=["text", "id"], epochs=2)
    world.fit()
    assert not world.model.items.table()[0].any()
