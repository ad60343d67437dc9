"""What each split lets training, validation and test know, in our storage and in RecBole's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_llm.build import create_dataset, prepare
from recbole_llm.config import LLMConfig
from recbole_llm.data.seen import training_counts, training_repeats
from recbole_llm.data.splits import cases_of, cut_times, share_sizes
from recbole_llm.errors import DataError, RequestError

READERS = ["LLMInterestLSTM", "SASRec"]  # flat storage, and RecBole's
SMALL = {"topk": [2], "valid_metric": "NDCG@2", "show_progress": False}
# Items by user, with the time of each: training before 10, validation before 20.
TIMES = {
    "a": "p1 q2 r11 s12 t21 p22",
    "b": "q3 r4 s5 u23",
    "c": "p13 q14 r25",  # unknown before the first cut
    "d": "p6 q10",  # at the cut is behind it
    "e": "p24 q26",
    "f": "r7 s8",
}
SHOP = {  # the newest of ten items is i9, i8 is the last but one
    "d": "i0 i1 i2 i3 i4 i5 i6 i7",
    "a": "i0 i8 i1 i9 i2 i9",
    "b": "i9 i3 i9 i4",  # begins with a held-out item
}


def parts_of(model: str, folder: Path, split: dict, **settings) -> list:
    settings |= {"data_path": str(folder), "eval_args": {"split": split}}
    own = {"item_features": "id"} if model.startswith("LLM") else {}
    return create_dataset(LLMConfig(model, "toy", None, SMALL | own | settings)).build()


def cases(part) -> dict[str, list[str]]:
    """Each user's cases in raw ids, as 'history > target'."""
    found: dict[str, list[str]] = {}
    rows = part[np.arange(len(part))]
    users, items = part.field2id_token["user_id"], part.field2id_token["item_id"]
    for row in range(len(part)):
        history = items[rows["item_id_list"][row, : rows["item_length"][row]].numpy()]
        case = f"{' '.join(history)} > {items[rows['item_id'][row]]}"
        found.setdefault(str(users[rows["user_id"][row]]), []).append(case)
    return found


@pytest.fixture
def timed(write_dataset) -> Path:
    events = [
        (user, word[0], float(word[1:])) for user, walk in TIMES.items() for word in walk.split()
    ]
    return write_dataset(events)


@pytest.fixture
def shop(write_dataset) -> Path:
    walks = [(user, item) for user, walk in SHOP.items() for item in walk.split()]
    return write_dataset([(user, item, float(time)) for time, (user, item) in enumerate(walks)])


@pytest.mark.parametrize("model", READERS)
@pytest.mark.parametrize("normalize_all", [False, True])
def test_a_time_cut_lets_no_part_know_what_comes_later(timed, model, normalize_all) -> None:
    parts = parts_of(model, timed, {"time_cut": [10, 20]}, normalize_all=normalize_all)
    train, valid, test = map(cases, parts)
    assert train == {"a": ["p > q"], "b": ["q > r", "q r > s"], "f": ["r > s"]}
    assert valid == {"a": ["p q > r"], "d": ["p > q"]}
    assert test == {"a": ["p q r s > t"], "b": ["q r s > u"], "c": ["p q > r"]}
    known = parts[0].field2id_token["item_id"][parts[0].known_items]
    assert sorted(known) == ["p", "q", "r", "s"]  # t and u are of the test alone
    assert parts[1].known_items is None and parts[2].known_items is None


@pytest.mark.parametrize("model", READERS)
def test_items_held_out_are_neither_input_nor_target_of_training(shop, model) -> None:
    split = {"cold_start": {"shares": [0.8, 0.1, 0.1], "items": "newest"}}
    train, valid, test = (cases(part) for part in parts_of(model, shop, split))
    assert train["a"] == ["i0 > i1", "i0 i1 > i2"]
    assert train["b"] == ["i3 > i4"]
    assert train["d"][-1] == "i0 i1 i2 i3 i4 i5 i6 > i7"
    assert valid == {"a": ["i0 > i8"]}
    assert test == {"a": ["i0 i8 i1 > i9"]}


@pytest.mark.parametrize("model", READERS)
@pytest.mark.parametrize("kind", ["LS", "cold_start", "time_cut"])
@pytest.mark.parametrize("length", [8, 1])
def test_counts_do_not_depend_on_how_much_is_read(shop, model: str, kind: str, length: int) -> None:
    """Where one event is the most that is read, every case looks like a user's first."""
    split, events = {
        "LS": ("valid_and_test", "i0 i1 i2 i3 i4 i5 i0 i8 i1 i9 i9 i3"),
        "cold_start": (
            {"shares": [0.8, 0.1, 0.1], "items": "newest"},
            "i0 i1 i2 i3 i4 i5 i6 i7 i0 i1 i2 i3 i4",
        ),
        "time_cut": ([10, 12], "i0 i1 i2 i3 i4 i5 i6 i7 i0 i8"),
    }[kind]
    train = parts_of(model, shop, {kind: split}, MAX_ITEM_LIST_LENGTH=length)[0]
    items = train.field2id_token["item_id"]
    counts = training_counts(train)
    assert " ".join(sorted(np.repeat(items, counts))) == " ".join(sorted(events.split()))
    assert training_repeats(train) == (0, len(events.split()))


def test_training_counts_and_windows_are_of_the_training_part_alone(shop) -> None:
    split = {"cold_start": {"shares": [0.8, 0.1, 0.1], "items": "newest"}}
    train = parts_of("LLMInterestLSTM", shop, split)[0]
    starts, targets = train.training_sequences()
    tokens = train.field2id_token["item_id"]
    items = tokens[train.events["item_id"]]
    read = [" ".join(items[s : s + n + 1]) for s, n in zip(starts, targets, strict=True)]
    assert sorted(read) == ["i0 i1 i2", "i0 i1 i2 i3 i4 i5 i6 i7", "i3 i4"]
    assert train.inter_matrix().sum() == 3 + 8 + 2


def held_out(folder: Path, **how) -> tuple[set[str], set[str]]:
    split = {"cold_start": {"shares": [0.6, 0.2, 0.2], **how}}
    parts = parts_of("LLMInterestLSTM", folder, split, seed=how.get("seed", 0) + 7)
    known = parts[0].field2id_token["item_id"][parts[0].known_items]
    targets = parts[2].field2id_token["item_id"][parts[2].inter_feat["item_id"]]
    return set(known.tolist()), set(targets.tolist())


def test_the_draw_depends_on_its_own_seed_and_on_no_order_of_rows(write_dataset) -> None:
    rng = np.random.default_rng(0)
    events = [(f"u{k % 30}", f"i{rng.integers(20)}", float(k)) for k in range(600)]
    first = held_out(write_dataset(events))
    assert len(first[0]) == 12 and len(first[1]) == 4 and not first[0] & first[1]
    assert held_out(write_dataset(events[::-1])) == first
    assert held_out(write_dataset(events), seed=1) != first


def test_shares_and_ties_at_a_cut() -> None:
    assert share_sizes([0.8, 0.1, 0.1], 10).tolist() == [8, 1, 1]
    assert share_sizes([8, 1, 1], 1000).tolist() == [800, 100, 100]
    assert share_sizes([0.5, 0.25, 0.25], 3).tolist() == [2, 0, 1]  # borders 1.5 and 2.25
    times = np.array([1.0, 2, 3, 3, 3, 4, 5, 6, 7, 8])
    assert cut_times(times, [0.4, 0.3, 0.3]) == (3.0, 6.0)  # events 4 and 7; all of time 3 behind
    assert cut_times(times, [2.5, 4]) == (2.5, 4.0)


def test_a_case_is_the_first_of_its_level_with_a_history() -> None:
    users = np.array([1, 2, 1, 2, 1, 3, 3, 1])
    levels = np.array([0, 1, 1, 0, 2, 0, 2, 1])
    assert cases_of(users, levels, level=1).tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert cases_of(users, levels, level=2).tolist() == [1, 0, 1, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"time_cut": [-5, 20]}, "the training part .* before the cut"),
        ({"time_cut": [10, 90]}, "the test part"),
        ({"time_cut": [30, 40]}, "the validation part"),
        ({"cold_start": {"shares": [0.98, 0.01, 0.01]}}, "validation part .* held-out item"),
    ],
)
def test_an_empty_part_is_refused(timed, split, words) -> None:
    with pytest.raises(DataError, match=words):
        parts_of("SASRec", timed, split)


@pytest.mark.parametrize(
    "model", ["LLMInterestLSTM", pytest.param("SASRec", marks=pytest.mark.slow)]
)
def test_recboles_time_split_trains_on_nothing_behind_its_cut(model) -> None:
    settings = {"eval_args": {"split": {"TS": [0.8, 0.1, 0.1]}}, "normalize_all": False}
    dataset = create_dataset(LLMConfig(model, "ml-100k", None, settings))
    times = np.sort(dataset.inter_feat["timestamp"].to_numpy())
    train, valid, test = dataset.build()
    begin = float(test.inter_feat["timestamp"].min())
    known = torch.cat([train.inter_feat["timestamp"], valid.inter_feat["timestamp"]])
    assert float(known.max()) < begin
    assert len(train) + len(valid) + len(test) == 100_000 - 943
    assert np.mean(times < begin) == pytest.approx(0.9, abs=0.002)
    last, first = {}, {}
    for part, found, better in ((train, last, max), (valid, first, min)):
        rows = part.inter_feat
        users, moments = rows["user_id"].tolist(), rows["timestamp"].tolist()
        for user, time in zip(users, moments, strict=True):
            found[user] = better(found.get(user, time), time)
    assert all(last[user] <= first[user] for user in last.keys() & first.keys())


def test_ml_100k_is_cut_where_its_exact_times_say() -> None:
    settings = {"eval_args": {"split": {"time_cut": [0.8, 0.1, 0.1]}}, "item_features": "id"}
    config = LLMConfig("LLMInterestLSTM", "ml-100k", None, settings)
    _, train, valid, test = prepare(config)
    lines = Path(config["data_path"], "ml-100k.inter").read_text().splitlines()[1:]
    times = sorted(float(line.split("\t")[3]) for line in lines)
    cut = times[80_000]
    assert len(train.dataset.events) == sum(time < cut for time in times) == 79_999
    for loader in (valid, test):
        users = loader.dataset.inter_feat["user_id"]
        assert len(users) == len(users.unique()) > 50


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("SASRec", {"split": {"time_cut": [0.8, 0.2]}, "order": "RO"}, "order: a sequence model"),
        ("SASRec", {"split": {"time_cut": [20, 10]}}, "time_cut with the times at which"),
        ("SASRec", {"split": {"time_cut": [0.8, 0.2, 0]}}, "with positive shares"),
        ("SASRec", {"split": {"TS": [0, 0, 1]}}, "with positive shares"),
        ("SASRec", {"split": {"cold_start": 0.1}}, "{cold_start: {shares"),
        ("SASRec", {"split": {"cold_start": {"shares": [1, 0, 1]}}}, "cold_start.shares: must be"),
        (
            "SASRec",
            {"split": {"cold_start": {"shares": [8, 1, 1], "items": "new"}}},
            "Did you mean 'newest'",
        ),
        ("SASRec", {"split": {"time_cut": [1, 2]}, "mode": "uni5"}, "mode: split time_cut needs f"),
        ("BPR", {"split": {"time_cut": [1, 2]}}, "time_cut is for sequence models"),
        ("BPR", {"split": {"TS": [0.8, 0.1, 0.1]}, "order": "RO"}, "order: split TS needs TO"),
    ],
)
def test_a_split_that_cannot_be_is_refused_before_data_is_read(model, settings, words) -> None:
    with pytest.raises(RequestError, match="eval_args") as refusal:
        LLMConfig(model, "nowhere", None, {"eval_args": settings, "data_path": "/nowhere"})
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"time_precision": "recbole"}, "time_precision: split time_cut needs exact"),
        ({"benchmark_filename": ["train", "valid", "test"]}, "benchmark_filename comes split"),
    ],
)
def test_what_stands_against_a_split_is_refused(settings, words) -> None:
    settings |= {"eval_args": {"split": {"time_cut": [1, 2]}}}
    with pytest.raises(RequestError, match=words):
        LLMConfig("SASRec", "nowhere", None, settings)
