"""What a finished run recommends: as it was evaluated, and to anyone."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recbole_llm import load_run
from recbole_llm.errors import RequestError, RunDirError
from recbole_llm.plugin import MODELS
from recbole_llm.ranks import read_ranks
from recbole_llm.recommend.catalogue import read_catalogue
from recbole_llm.recommend.keep import keep_catalogue
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request, Requests
from recbole_llm.run_dir import CATALOGUE, CONFIG, WEIGHTS

ADJUSTED = {"popularity_adjustment": 2.0, "propensity_weighting": "snips"}
BOTH = {"item_features": ["text", "id"], "fusion": "gate"}


def ids(found) -> list[str]:
    return [one.item for one in found]


def scores(found) -> np.ndarray:
    return np.array([one.score for one in found])


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        *((model, {}) for model in MODELS),
        ("LLMInterestGRU", BOTH),
        ("LLMInterestLSTM", {"scoring": "cosine", "temperature": 0.1, "filter_seen": True}),
        ("LLMInterestLSTM", ADJUSTED),
        ("LLMInterestLSTM", {"repeat_bias": True}),
        ("LLMInterestLSTM", {"repeat_bias": True, "similarity_bias": True}),
        ("LastItemTextKNN", {}),
    ],
)
def test_a_test_target_stands_where_the_evaluation_ranked_it(
    trained, model, settings, shop
) -> None:
    run_dir = trained(model, **settings)
    ranks, filter_seen = read_ranks(run_dir), settings.get("filter_seen", False)
    recommender = Recommender.load(run_dir)
    cases = [Request(history=tuple(shop.history(user)[:-1])) for user in ranks.users]
    lists = list(recommender.for_all(cases, k=shop.num_items, filter_seen=filter_seen))
    assert len(lists) == shop.num_users
    for row, found in enumerate(lists):
        assert len(found) == ranks.candidates[row]
        above = ids(found).index(ranks.items[row])
        assert ranks.above[row] <= above <= ranks.above[row] + ranks.ties[row]


def test_an_adjusted_list_is_the_plain_one_with_popular_items_lowered(trained, shop) -> None:
    adjusted, plain = (Recommender.load(trained(**one)) for one in (ADJUSTED, {}))
    adjusted.model.load_state_dict(plain.model.state_dict() | {"offset": adjusted.model.offset})
    adjusted = Recommender(
        replace(read_catalogue(trained(**ADJUSTED)), table=plain.table),
        adjusted.model,
        texts=None,
        place="here",
    )
    history = shop.history("u3")[:3]
    before, after = (
        {one.item: one.score for one in known.for_history(history, k=30, filter_seen=False)}
        for known in (plain, adjusted)
    )
    count = Counter(
        item
        for user in range(shop.num_users)
        for item in shop.history(f"u{user}")[1:-2]  # neither the first nor validation and test
    )
    for item in before.keys() & after.keys():
        lowered = before[item] - 2 * np.log1p(count[item])
        assert after[item] == pytest.approx(lowered, abs=1e-4)
    assert after != before


def test_an_item_that_is_new_is_not_lowered(trained, write_items, shop) -> None:
    file = write_items([f"new\t{shop.title('i9')}\tgoods"])
    recommender = Recommender.load(trained(**ADJUSTED), new_items=file)
    offset = recommender.candidates.offset
    assert len(offset) == shop.num_items + 2 and offset[-1] == 0
    found = recommender.for_user("u2", k=shop.num_items + 1, filter_seen=False)
    score = {one.item: one.score for one in found}
    known = offset[recommender.items.index("i9")].item()
    assert known < 0 and score["new"] == pytest.approx(score["i9"] - known, abs=1e-4)


def test_a_known_user_has_all_their_events(recommender, shop) -> None:
    for user in ("u0", "u69"):
        found = recommender.for_user(user, k=5)
        assert found == recommender.for_history(shop.history(user), k=5)
        assert found != recommender.for_history(shop.history(user)[:-1], k=5)


def test_a_cut_in_time_leaves_a_user_whole(trained, shop) -> None:
    split = {"split": {"time_cut": [0.6, 0.2, 0.2]}, "mode": "full"}
    recommender = Recommender.load(trained("LLMInterestLinear", eval_args=split))
    rows = recommender.requests.rows_of([Request(user="u3")], problems=[])[0][0]
    assert [recommender.items[row] for row in rows] == shop.history("u3")


def test_seen_items_are_left_out_unless_asked_for(recommender, shop) -> None:
    found = recommender.for_user("u1", k=shop.num_items)
    assert len(found) == shop.num_items - shop.length and not set(ids(found)) & set(
        shop.history("u1")
    )
    whole = recommender.for_user("u1", k=shop.num_items, filter_seen=False)
    assert len(whole) == shop.num_items and set(shop.history("u1")) <= set(ids(whole))
    assert list(scores(whole)) == sorted(scores(whole), reverse=True)


def test_ids_titles_and_scores_stand_together(recommender, shop) -> None:
    found = recommender.for_user("u1", k=shop.num_items, filter_seen=False)
    assert all(one.title == shop.title(one.item) for one in found)
    alone = {one.item: one.score for one in recommender.for_user("u1", k=shop.num_items)}
    assert all(alone.get(one.item, one.score) == one.score for one in found)


def test_items_of_one_text_tie_and_the_earlier_id_is_first(recommender, shop) -> None:
    found = recommender.for_history(["i1", "i2"], k=shop.num_items)
    score = {one.item: one.score for one in found}
    assert score["i43"] == score["i44"]
    twins = sorted(["i43", "i44"], key=recommender.items.index)
    assert [item for item in ids(found) if item in twins] == twins


def test_repeated_items_count_each_time(recommender, shop) -> None:
    once, twice = (
        recommender.for_history(["i1"] * count, k=shop.num_items - 1) for count in (1, 2)
    )
    assert set(ids(once)) == set(ids(twice)) and list(scores(once)) != list(scores(twice))


@pytest.mark.parametrize("settings", [{}, {"whitening": "pca", "whitening_dim": 5}])
def test_an_items_text_is_as_good_as_its_id(trained, settings, shop) -> None:
    recommender = Recommender.load(trained(**settings))
    items = shop.history("u5")[:3]
    texts = [f"{shop.title(item)}, goods" for item in items]
    by_text = recommender.for_texts(texts, k=shop.num_items)
    by_id = recommender.for_history(items, k=shop.num_items, filter_seen=False)
    assert ids(by_text)[:10] == ids(by_id)[:10]
    np.testing.assert_allclose(scores(by_text), scores(by_id), atol=1e-4)


def test_many_requests_are_answered_as_each_alone(recommender) -> None:
    requests = [Request(user="u4"), Request(history=("i1",)), Request(texts=("w1 w2", "w3"))]
    requests += [Request(user=f"u{user}") for user in range(40)]
    lists = list(recommender.for_all(requests, k=7))
    assert len(lists) == len(requests)
    for request, found in zip(requests, lists, strict=True):
        alone = next(recommender.for_all([request], k=7))
        assert ids(alone) == ids(found)
        np.testing.assert_allclose(scores(alone), scores(found), rtol=1e-5)


def test_threads_share_a_recommender(trained) -> None:
    recommender = Recommender.load(trained())
    requests = [Request(user=f"u{n}") if n % 2 else Request(texts=(f"w{n}",)) for n in range(10)]
    expected = [next(recommender.for_all([request])) for request in requests]
    fresh = Recommender.load(trained())  # whose encoder is loaded by whoever comes first
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda request: next(fresh.for_all([request])), requests))
    assert found == expected


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(user="U1"), ["unknown user 'U1'", "'u1'"]),
        (Request(history=("i1", "I2", "x", "I2")), ["2 problems", "'I2'", "'i2'", "'x'"]),
        (Request(texts=("w1", " ")), ["none of them empty"]),
        (Request(texts=("",)), ["one text or more"]),
    ],
)
def test_a_wrong_request_is_one_message(recommender, request_, words) -> None:
    with pytest.raises(RequestError) as error:
        recommender.for_all([request_])
    assert all(word in str(error.value) for word in words)
    assert str(error.value).count("'I2'") < 2


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda one: one.for_history("i1"), "history: must be a list, as ['i1']; received 'i1'"),
        (lambda one: one.for_texts("w1 w2"), "texts: must be a list, as ['w1 w2']"),
        (lambda one: one.start(history="i1"), "history: must be a list"),
        (lambda one: one.for_history(["i1", 2]), "history: must be text, as '2'; received 2 (int)"),
        (lambda one: one.for_user(1), "user: must be text, as '1'; received 1 (int)"),
        (lambda one: one.start(user="u1").see(1), "history: must be text, as '1'"),
        (lambda one: one.for_user("u1", k="5"), "k: must be 1 to 45, the number of items; rec"),
    ],
)
def test_values_of_another_type_are_one_message(recommender, ask, words) -> None:
    with pytest.raises(RequestError) as error:
        ask(recommender)
    assert words in str(error.value)


def test_problems_of_many_requests_come_at_once_and_bounded(recommender) -> None:
    requests = [Request(user="u1"), *(Request(user=f"v{number}") for number in range(14))]
    with pytest.raises(RequestError) as error:
        recommender.for_all(requests, k=0)
    assert "k: must be 1 to 45" in str(error.value) and "4 more" in str(error.value)
    assert "request 2 of 15: unknown user 'v0'" in str(error.value)


def test_a_list_longer_than_the_catalogue_is_refused(recommender) -> None:
    with pytest.raises(RequestError, match=r"k: must be 1 to 45.*received 46"):
        recommender.for_user("u1", k=46)


def test_a_run_of_ids_has_titles_but_reads_no_text(trained, write_items) -> None:
    run_dir = trained("LLMInterestLinear", item_features="id")
    recommender = Recommender.load(run_dir)
    assert recommender.for_user("u1")[0].title is not None
    with pytest.raises(RequestError, match="no text vectors of its own"):
        recommender.for_texts(["w1"])
    file = write_items(["new\tw1\tgoods"])
    with pytest.raises(RequestError, match="no text vectors of its own"):
        Recommender.load(run_dir, new_items=file)


def test_a_run_that_keeps_no_users_asks_for_a_history(trained) -> None:
    requests = Requests(replace(read_catalogue(trained()), users=[]))
    problems: list[str] = []
    requests.rows_of([Request(user="u1")], problems=problems)
    assert problems == [
        "user: the run keeps no users, for it read benchmark files. Give a history."
    ]


@pytest.mark.parametrize("model", ["SASRec", "Popularity"])
def test_a_model_without_item_vectors_is_refused(trained, tmp_path: Path, model: str) -> None:
    run_dir = shutil.copytree(trained(), tmp_path / "run")
    config = (run_dir / CONFIG).read_text()
    (run_dir / CONFIG).write_text(config.replace("LLMInterestLSTM", model))
    with pytest.raises(RequestError, match=f"which {model} has not"):
        Recommender.load(run_dir)


def test_files_of_two_runs_do_not_mix(trained, tmp_path: Path) -> None:
    run_dir = shutil.copytree(trained(), tmp_path / "run")
    shutil.copy(trained(whitening="pca", whitening_dim=5) / WEIGHTS, run_dir / WEIGHTS)
    with pytest.raises(RunDirError, match="must be the weights"):
        Recommender.load(run_dir)


def test_a_damaged_or_missing_catalogue_is_named(trained, tmp_path: Path) -> None:
    run_dir = shutil.copytree(trained(), tmp_path / "run")
    content = (run_dir / CATALOGUE).read_bytes()
    (run_dir / CATALOGUE).write_bytes(content[:-5])
    with pytest.raises(RunDirError, match="catalogue"):
        Recommender.load(run_dir)
    (run_dir / CATALOGUE).unlink()
    with pytest.raises(RunDirError, match=r"recommend\.md"):
        Recommender.load(run_dir)
    with pytest.raises(RunDirError, match="no such run directory"):
        Recommender.load(tmp_path / "nowhere")


def test_an_older_run_gets_its_catalogue_from_its_data(trained, tmp_path: Path) -> None:
    run_dir = trained("LLMInterestLinear", keep_data=True, item_features="id")
    written = (run_dir / CATALOGUE).read_bytes()
    _, model, dataset, *_ = load_run(run_dir)
    (run_dir / CATALOGUE).unlink()
    keep_catalogue(run_dir, model=model, dataset=dataset)
    assert (run_dir / CATALOGUE).read_bytes() == written
