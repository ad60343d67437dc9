"""Counterfactual standings against brute force: one history at a time, through whole lists."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.recommend.explain.counterfactual import Case, Standing
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request

MODELS = [
    ("LLMInterestLSTM", {}),
    ("LLMInterestLinear", {"scoring": "cosine", "temperature": 0.1}),
    ("LLMInterestTransformer", {}),
    ("LLMInterestLSTM", {"repeat_bias": True}),
    ("LLMInterestLSTM", {"repeat_bias": True, "similarity_bias": True}),
    ("LLMInterestLSTM", {"popularity_adjustment": 2.0, "propensity_weighting": "snips"}),
]


def brute(recommender: Recommender, history: list[str], item: str, met: list[str]) -> Standing:
    """Return where an item stands after a history, by the whole list of all items."""
    found = recommender.for_history(history, k=len(recommender.items) - 1, filter_seen=False)
    scores = {one.item: one.score for one in found}
    others = np.array([score for one, score in scores.items() if one == item or one not in met])
    rank = 1 + int((others > scores[item]).sum())
    return Standing((scores[item] - others.mean()) / others.std(), rank)


def same(received: Standing, expected: Standing) -> None:
    assert received.rank == expected.rank
    assert received.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_an_influence_is_what_the_model_says_without_the_event(
    trained, model, settings, shop
) -> None:
    recommender = Recommender.load(trained(model, **settings))
    met = shop.history("u1")
    for item in ("i43", "i44", recommender.for_user("u1", k=1)[0].item, met[0]):
        case = Case(recommender, Request(user="u1"), item)
        base = brute(recommender, met, item, met)
        same(case.standing(), base)
        for at, one in enumerate(case.influences()):
            left = met[:at] + met[at + 1 :]
            expected = brute(recommender, left, item, met)
            same(one.removed, expected)
            assert one.influence == pytest.approx(base.score - expected.score, abs=1e-4)
            assert (one.event, one.item, one.title) == (at + 1, met[at], shop.title(met[at]))


def test_another_item_in_an_events_place(recommender, shop) -> None:
    met = shop.history("u2")
    case = Case(recommender, Request(user="u2"), "i9")
    for other in ("i3", "i30"):
        row = recommender.requests.rows[other]
        found = case.standings([case.with_instead(at, row) for at in range(len(met))])
        for at, received in enumerate(found):
            same(received, brute(recommender, [*met[:at], other, *met[at + 1 :]], "i9", met))


def test_an_average_item_in_an_events_place(recommender, shop) -> None:
    case = Case(recommender, Request(history=("i1", "i2")), "i9")
    vectors = recommender.table[case.rows].clone()
    vectors[0] = recommender.table[1:].mean(0)
    with torch.no_grad():
        interest = recommender.model.interest_of(vectors[None])[0, -1]
    scores = (recommender.candidates.vectors @ interest).double().numpy()
    is_other = np.array([item not in ("[PAD]", "i1", "i2") for item in recommender.items])
    expected = (scores[case.item] - scores[is_other].mean()) / scores[is_other].std()
    assert case.influences()[0].replaced.score == pytest.approx(expected, abs=1e-4)


def test_an_event_that_the_model_does_not_read_has_no_influence(recommender, shop) -> None:
    found = Case(recommender, Request(user="u3")).influences()  # it reads the last four of seven
    assert [one.influence == 0 for one in found] == [True] * 3 + [False] * 4


def test_the_only_event_leaves_a_history_of_padding(recommender) -> None:
    (one,) = Case(recommender, Request(history=("i1",)), "i9").influences()
    assert np.isfinite(one.removed.score) and one.influence != 0


def test_the_first_recommended_item_is_explained(recommender) -> None:
    first = recommender.for_user("u4", k=1)[0]
    case = Case(recommender, Request(user="u4"))
    assert recommender.items[case.item] == first.item and case.standing().rank == 1


def test_who_has_met_all_items_must_name_one(recommender) -> None:
    everything = Request(history=tuple(recommender.items[1:]))
    with pytest.raises(RequestError, match=r"all items are in the history\. Name one by --item"):
        Case(recommender, everything)
    assert Case(recommender, everything, "i9").standing().rank == 1


def test_a_list_after_another_history(recommender, shop) -> None:
    met = shop.history("u5")
    case = Case(recommender, Request(user="u5"))
    received = case.relist(case.without([6, 2]), k=5)
    left = [item for at, item in enumerate(met) if at not in (2, 6)]
    listed = recommender.for_history(left, k=45, filter_seen=False)
    expected = [one.item for one in listed if one.item not in met][:5]
    assert [one.item for one in received] == expected


@pytest.mark.parametrize(
    ("request_", "item", "words"),
    [
        (Request(user="nobody"), "i1", "unknown user"),
        (Request(user="u1"), "j1", "unknown item 'j1'"),
        (Request(texts=("w1",)), "i1", "no events to explain by"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(recommender, request_, item, words) -> None:
    with pytest.raises(RequestError, match=words):
        Case(recommender, request_, item)
