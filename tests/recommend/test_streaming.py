"""An interest moved event by event, against recommendations for the whole history."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.recommend.recommender import Recommender

LONG = {"item_features": ["text", "id"], "num_layers": 2, "interest_combination": "gate"}
MODELS = [
    ("LLMInterestLinear", {}),
    ("LLMInterestLinear", {"interest_pooling": "sum", "interest_combination": "sum"}),
    ("LLMInterestRNN", {}),
    ("LLMInterestGRU", {"scoring": "cosine", "temperature": 0.1}),
    ("LLMInterestLSTM", {}),
    ("LLMInterestLSTM", LONG),
    ("LLMInterestLSTM", {"repeat_bias": True}),
    ("LLMInterestLSTM", {"repeat_bias": True, "similarity_bias": True}),
    ("LastItemTextKNN", {}),
]


def recomputed(recommender: Recommender, items: list[str]) -> torch.Tensor:
    """Return the interest after a history, however long, read as a whole."""
    rows = torch.tensor([[recommender.requests.rows[item] for item in items]])
    with torch.no_grad():
        return recommender.model.interest(rows, recommender.table)[0, -1]


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_an_event_moves_the_interest_to_what_the_whole_history_has(
    trained, model, settings, shop
) -> None:
    recommender = Recommender.load(trained(model, **settings))
    state, items = recommender.start(), [*shop.history("u1"), *shop.history("u2")]
    for count, item in enumerate(items, start=1):
        state.see(item)
        torch.testing.assert_close(
            state.interest, recomputed(recommender, items[:count]), atol=1e-5, rtol=1e-5
        )
        if count <= recommender.model.max_seq_length:  # the recommender reads as much
            for how in ({"filter_seen": True}, {"filter_seen": False}):
                found = state.top(40, **how)
                expected = recommender.for_history(items[:count], k=40, **how)
                assert {one.item for one in found} == {one.item for one in expected}
                np.testing.assert_allclose(
                    [one.score for one in found], [one.score for one in expected], atol=1e-5
                )
    assert state.count == len(items)


def test_a_user_begins_with_their_last_events(recommender, shop) -> None:
    state = recommender.start(user="u3")
    assert state.count == recommender.model.max_seq_length < shop.length
    assert state.top(5) == recommender.for_user("u3", k=5)
    left = {one.item for one in state.top(shop.num_items)}
    assert not left & set(shop.history("u3"))  # also those before the last
    assert len(state.top(shop.num_items, filter_seen=False)) == shop.num_items
    state.see(state.top(1)[0].item)
    assert state.count == recommender.model.max_seq_length + 1
    assert len(state.top(shop.num_items)) == shop.num_items - shop.length - 1


def test_texts_move_it_too_and_are_not_seen(recommender, shop) -> None:
    state, other = recommender.start(history=["i1"]), recommender.start(history=["i1"])
    state.see("i9")
    other.see_text(f"{shop.title('i9')}, goods")
    torch.testing.assert_close(state.interest, other.interest, atol=1e-4, rtol=1e-4)
    assert len(other.top(45)) == len(state.top(45)) + 1
    begun = recommender.start(texts=[f"{shop.title(item)}, goods" for item in ("i1", "i9")])
    torch.testing.assert_close(begun.interest, other.interest, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda one: one.start().top(), "begins with an event"),
        (lambda one: one.start(user="nobody"), "unknown user 'nobody'"),
        (lambda one: one.start().see("j1"), "unknown item 'j1'"),
        (lambda one: one.start(user="u1", history=["i1"]), "received more than one"),
        (lambda one: one.start(user="u1").top(99), "k: must be 1 to 45"),
        (lambda one: one.start().see_text(" "), "none of them empty"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(recommender, act, words) -> None:
    with pytest.raises(RequestError, match=words):
        act(recommender)


def test_a_transformer_reads_a_history_as_a_whole(trained) -> None:
    with pytest.raises(RequestError, match="LLMInterestTransformer reads a history as a whole"):
        Recommender.load(trained("LLMInterestTransformer")).start()
