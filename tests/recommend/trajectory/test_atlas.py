"""Trajectories of a run: that they are what lists are made by, and that a switch is seen."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.recommend.catalogue import read_catalogue, write_catalogue
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.trajectory.atlas import Atlas, Trajectory
from recbole_llm.recommend.trajectory.interests import follow, ranked_by

SIMILAR = {"repeat_bias": True, "similarity_bias": True}
COMBINED = {"interest_combination": "sum", "scoring": "cosine", "temperature": 0.1}


def whole(atlas: Atlas, history: list[str]) -> Trajectory:
    """Return the trajectory of a history."""
    return atlas.trajectory(Request(history=tuple(history)), name="")


@pytest.mark.parametrize("stays", [6, 9, 12])
@pytest.mark.parametrize("begins", [0, 1])
def test_a_switch_of_genre_is_seen_at_its_step(world, atlas: Atlas, begins, stays) -> None:
    history = world.history(1000 + stays, begins=begins, stays=stays)  # of no customer
    facts = atlas.facts(whole(atlas, history))
    assert facts["changes"] == [stays + 1]  # the first event of the new genre
    assert [step["event"] for step in facts["steps"] if step["is_change"]] == [stays + 1]
    drifts = [step["current"]["drift"] for step in facts["steps"]]
    assert drifts[0] is None and np.argmax(drifts[1:]) + 1 == stays
    before, after = facts["stretches"]
    assert (before["first"], before["last"], after["first"]) == (1, stays, stays + 1)
    nearest = before["genres"][0]["name"], after["genres"][0]["name"]
    assert nearest == (world.genres[begins], world.genres[1 - begins])


def test_the_current_interest_turns_at_once_and_the_long_term_one_later(
    world, atlas: Atlas
) -> None:
    found = whole(atlas, world.history(1000, stays=9))
    calm, wild = (atlas.genres.names.index(name) for name in world.genres)
    near = {name: atlas.genres.affinity(one) for name, one in found.interests.items()}
    is_wild = {name: (one[:, wild] > one[:, calm]).tolist() for name, one in near.items()}
    assert is_wild["current"] == [False] * 9 + [True] * 9
    assert not is_wild["long_term"][11]  # three of twelve


def test_one_who_stays_does_not_turn(world, atlas: Atlas) -> None:
    turned = [
        whole(atlas, world.history(seed, begins=seed % 2, stays=world.events)).changes
        for seed in range(1000, 1020)
    ]
    assert sum(map(bool, turned)) <= 2


@pytest.mark.parametrize("settings", [{}, COMBINED, SIMILAR, COMBINED | SIMILAR])
def test_an_interest_of_the_path_is_the_one_a_list_is_made_by(trained, settings, shop) -> None:
    recommender = Recommender.load(trained("LLMInterestLSTM", **settings))
    items = [*shop.history("u1"), *shop.history("u2")]  # longer than the model reads
    rows = torch.tensor([recommender.requests.rows[item] for item in items])
    found = follow(recommender, rows)
    prefixes = [rows[:count] for count in range(1, len(rows) + 1)]
    expected = recommender.interests(prefixes, recommender.table)
    torch.testing.assert_close(ranked_by(found), expected, atol=1e-5, rtol=1e-5)
    model, is_combined = recommender.model, "interest_combination" in settings
    own = model.items.own(recommender.table)
    means = torch.stack([own[one[-model.max_seq_length :]].mean(0) for one in prefixes])
    long_term = model.items.own(found["long_term"])
    torch.testing.assert_close(long_term, model.compared(means), atol=1e-5, rtol=1e-5)
    assert set(found) == {"current", "long_term", *(["combined"] if is_combined else [])}
    if "repeat_bias" in settings:
        return  # lists put what was read last, a path does not
    last = Atlas(recommender).facts(
        Atlas(recommender).trajectory(Request(history=tuple(items)), name="")
    )["steps"][-1]
    listed = recommender.for_history(items, k=5, filter_seen=False)
    kind = "combined" if is_combined else "current"
    assert [one["item"] for one in last[kind]["items"]] == [one.item for one in listed]


def test_a_run_keeps_genres_and_an_older_one_has_words(atlas: Atlas, world_run, tmp_path) -> None:
    assert sorted(atlas.genres.names) == ["calm", "goods", "wild"]
    assert "w9" in {word for own in atlas.recommender.titles if own for word in own.split()}
    old = replace(read_catalogue(world_run), genres=[])
    write_catalogue(tmp_path, old)
    known = atlas.recommender
    other = Recommender(read_catalogue(tmp_path), known.model, texts=None, place="here")
    assert Atlas(other).genres.names == [] and Atlas(other).landmarks() == {}


def test_heat_maps_are_of_genres_words_and_the_nearest_items(atlas: Atlas, world) -> None:
    named = copy(atlas.recommender)
    letters = [f"word{chr(97 + row % 8)}" for row in range(len(named.items))]
    named.titles = [None, *letters[1:]]
    found = Atlas(named)
    moved = found.trajectory(Request(history=tuple(world.history(1000))), name="x")
    maps = found.maps(moved)
    assert list(maps) == ["heatmap", "heatmap_words", "heatmap_items"]
    assert maps["heatmap_words"].names == sorted(set(letters[1:]))
    named.genres = [[] for _ in named.items]
    assert Atlas(named).landmarks()["heatmap"].names == maps["heatmap_words"].names
    named.titles = [None] * len(named.items)  # items are named by their ids
    items = Atlas(named).maps(moved)["heatmap_items"]
    scores = moved.ranked @ named.candidates.vectors[1:].T
    best = [named.items[row + 1] for row in scores.argmax(1).tolist()]
    nearest = items.affinity(moved.ranked).argmax(1).tolist()
    assert [items.names[at] for at in nearest] == best


def test_a_history_of_one_event_has_a_trajectory(atlas: Atlas) -> None:
    facts = atlas.facts(atlas.trajectory(Request(history=("i1",)), name="one"))
    assert len(facts["steps"]) == 1 and facts["changes"] == []
    assert facts["steps"][0]["current"]["drift"] is None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(user="nobody"), "unknown user"),
        (Request(history=("i1", "j1")), "unknown item 'j1'"),
        (Request(texts=("w1",)), "takes a user or a history"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(atlas: Atlas, request_, words) -> None:
    with pytest.raises(RequestError, match=words):
        atlas.trajectory(request_, name="")
