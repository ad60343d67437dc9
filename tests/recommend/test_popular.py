"""Lists of those of whom nothing is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.recommend.catalogue import read_catalogue
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request


def ids(found) -> list[str]:
    return [one.item for one in found]


@pytest.mark.parametrize("empty", [Request(history=()), Request(texts=())])
def test_whoever_has_no_history_is_recommended_what_is_popular(recommender, shop, empty) -> None:
    counts = Counter(item for n in range(shop.num_users) for item in shop.history(f"u{n}"))
    first, alone, last = recommender.for_all([Request(user="u3"), empty, Request(user="u5")], k=9)
    numbers = [one.score for one in alone]
    assert numbers == sorted(counts.values(), reverse=True)[:9]
    assert numbers == [counts[item] for item in ids(alone)]
    order = [(-one.score, recommender.items.index(one.item)) for one in alone]
    assert order == sorted(order)  # of equal ones the lower internal id first
    assert alone == recommender.most_popular(9)
    assert (first, last) == tuple(
        recommender.for_all([Request(user="u3"), Request(user="u5")], k=9)
    )


def test_a_run_that_keeps_no_events_cannot_say_what_is_popular(trained, recommender) -> None:
    kept = replace(read_catalogue(trained()), events=torch.tensor([], dtype=torch.int64))
    found = Recommender(kept, recommender.model, texts=None, place="here")
    message = "the run keeps no events to say what is popular. Give a history"
    with pytest.raises(RequestError, match=message):
        found.most_popular(3)
    with pytest.raises(RequestError, match=f"request 2 of 2: history: is empty, and {message}"):
        found.for_all([Request(history=("i1",)), Request(history=())])


def test_a_list_of_popular_items_is_no_longer_than_the_catalogue(recommender) -> None:
    with pytest.raises(RequestError, match=r"k: must be 1 to 45.*received 46"):
        recommender.most_popular(46)


def test_a_request_of_no_one_is_refused(recommender) -> None:
    with pytest.raises(RequestError, match="names no user, history or texts"):
        recommender.for_all([Request()])


def test_a_bar_shows_how_many_lists_are_made(recommender, capsys) -> None:
    requests = [Request(user="u1"), Request(history=()), Request(user="u2")]
    assert len(list(recommender.for_all(requests, show_progress=True))) == 3
    assert "Recommend: 100%" in (err := capsys.readouterr().err) and "3/3" in err
