"""Training on a share of the users: which, what it knows then, and that evaluation knows all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_llm import run_recbole
from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.data.seen import training_counts
from recbole_llm.data.splits import drawn_users
from recbole_llm.errors import RequestError
from recbole_llm.ranks import read_ranks

READERS = ["LLMInterestLSTM", "SASRec"]  # flat storage, and RecBole's
USERS = 20
SMALL = {"topk": [2], "valid_metric": "NDCG@2", "show_progress": False, "epochs": 1}


@pytest.fixture
def shop(write_dataset) -> Path:
    """Return the folder of twenty users, who have their first four items to themselves."""
    events = [
        (f"u{user}", f"i{10 * user + step}" if step < 4 else f"all{step}", float(step))
        for user in range(USERS)
        for step in range(6)
    ]
    folder: Path = write_dataset(events[::-1])
    return folder


def parts_of(shop: Path, model: str, **settings):
    own = {"item_features": "id"} if model.startswith("LLM") else {}
    config = LLMConfig(model, "toy", None, {**SMALL, **own, "data_path": str(shop), **settings})
    return config, [loader.dataset for loader in prepare(config)[1:]]


def users_of(part) -> set[str]:
    return set(part.field2id_token["user_id"][part.inter_feat["user_id"].numpy()])


def items_of(part, ids) -> set[str]:
    return set(part.field2id_token["item_id"][np.asarray(ids)])


@pytest.mark.parametrize("model", READERS)
def test_a_share_of_the_users_is_trained_on_and_all_are_evaluated(shop: Path, model: str) -> None:
    _, whole = parts_of(shop, model)
    for share, number in ((0.001, 1), (0.05, 1), (0.25, 5), (0.5, 10)):
        _, parts = parts_of(shop, model, train_share=share)
        chosen = users_of(parts[0])
        assert len(chosen) == number and len(parts[0]) == 3 * number  # four events, three targets
        for some, all_of_them in zip(parts[1:], whole[1:], strict=True):
            assert users_of(some) == users_of(all_of_them) and len(users_of(some)) == USERS
            rows = np.arange(len(some))
            for field in ("item_id_list", "item_id", "item_length"):
                assert torch.equal(some[rows][field], all_of_them[rows][field])
        known = {f"i{10 * int(user[1:]) + step}" for user in chosen for step in range(4)}
        assert items_of(parts[0], parts[0].known_items) == known
        assert items_of(parts[0], np.flatnonzero(training_counts(parts[0]))) == known
    assert whole[0].known_items is None and users_of(whole[0]) == users_of(whole[1])


def test_the_draw_has_a_seed_of_its_own_and_shares_are_nested(shop: Path) -> None:
    def drawn(**settings) -> set[str]:
        return users_of(parts_of(shop, "LLMInterestLSTM", **settings)[1][0])

    half = drawn(train_share=0.5)
    assert half == drawn(train_share=0.5, seed=7) == drawn(train_share=0.5, train_share_seed=0)
    assert half != drawn(train_share=0.5, train_share_seed=1)
    assert drawn(train_share=0.1) < drawn(train_share=0.25) < half
    names = [f"u{user}" for user in range(USERS)]
    assert set(drawn_users(names[::-1], share=0.5, seed=0)) == half  # whatever their order


def test_the_share_is_of_users_that_have_something_to_train_on(write_dataset) -> None:
    late = {f"u{user}": 10.0 for user in range(4, 8)}  # behind the first cut
    events = [(f"u{u}", f"i{k}", k + late.get(f"u{u}", 0.0)) for u in range(8) for k in range(5)]
    split = {"eval_args": {"split": {"time_cut": [3.0, 12.0]}}, "train_share": 0.5}
    _, parts = parts_of(write_dataset(events), "LLMInterestLSTM", **split)
    assert len(users_of(parts[0])) == 2 and users_of(parts[0]) <= {"u0", "u1", "u2", "u3"}


def test_a_cold_start_split_holds_items_out_of_the_share_too(shop: Path) -> None:
    split = {"split": {"cold_start": {"shares": [0.6, 0.2, 0.2], "seed": 1}}, "order": "TO"}
    _, whole = parts_of(shop, "LLMInterestLSTM", eval_args=split)
    _, parts = parts_of(shop, "LLMInterestLSTM", eval_args=split, train_share=0.5)
    assert len(users_of(parts[0])) == round(len(users_of(whole[0])) / 2)
    assert set(parts[0].known_items.tolist()) < set(whole[0].known_items.tolist())


@pytest.mark.parametrize("model", READERS)
def test_ids_of_other_users_items_stay_as_they_were_drawn(shop: Path, model: str) -> None:
    config, _ = parts_of(shop, model, train_share=0.25, train_batch_size=2)
    _, train, valid, _ = prepare(config)
    network = build_model(config, train)
    table = network.items.embedding if model.startswith("LLM") else network.item_embedding
    before = table.weight.detach().clone()
    trainer_class(config)(config, network).fit(train, valid, saved=False, verbose=False)
    changed = (table.weight != before).any(1).nonzero()[:, 0]
    assert set(changed.tolist()) <= {0, *train.dataset.known_items.tolist()} and len(changed) >= 20


def test_popularity_and_slices_are_of_what_training_saw(shop: Path) -> None:
    settings = {"data_path": str(shop), "train_share": 0.25, "item_features": "id"}
    result = run_recbole("LLMInterestLSTM", "toy", config_dict=SMALL | settings)
    ranks = read_ranks(Path(result["run_dir"]))
    assert set(ranks.popularity) == {0} and len(ranks.users) == USERS  # no test target is trained


def test_where_a_share_means_nothing_it_is_refused(shop: Path) -> None:
    with pytest.raises(RequestError, match="train_share: is for sequence models, which BPR"):
        LLMConfig("BPR", "toy", None, {"data_path": str(shop), "train_share": 0.5})
    given = {"data_path": str(shop), "train_share": 0.5, "benchmark_filename": ["a", "b", "c"]}
    with pytest.raises(RequestError, match="train_share: benchmark_filename comes split"):
        LLMConfig("LLMInterestLSTM", "toy", None, given)
    for share in (0.0, 1.5):
        with pytest.raises(RequestError, match="train_share"):
            LLMConfig("LLMInterestLSTM", "toy", None, {"train_share": share})
    with pytest.raises(RequestError, match="train_share: FPMC draws negatives"):
        config, _ = parts_of(shop, "FPMC", train_share=0.5)
        build_model(config, prepare(config)[1])
