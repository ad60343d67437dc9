"""Exact order and flat storage, against the raw file and against stock RecBole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset

from recbole_llm.build import create_dataset
from recbole_llm.config import LLMConfig
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.data.events import EVENT
from recbole_llm.errors import DataError
from recbole_llm.train.trainer import WindowLoader

ML_100K_USERS = 943


def config_of(model: str = "LLMInterestLSTM", dataset: str = "ml-100k", **settings) -> LLMConfig:
    return LLMConfig(model, dataset, None, settings)


def split(dataset_class: type, config: LLMConfig) -> list:
    return dataset_class(config).build()


def raw_tokens(dataset, field: str, ids) -> np.ndarray:
    return dataset.field2id_token[field][np.asarray(ids)]


def last_items(dataset) -> dict[str, str]:
    """Each user's target in a split that has one case a user, in raw ids."""
    users = raw_tokens(dataset, "user_id", dataset.inter_feat["user_id"])
    return dict(
        zip(users, raw_tokens(dataset, "item_id", dataset.inter_feat["item_id"]), strict=True)
    )


@pytest.fixture(scope="module")
def true_last_items(ml_100k: Path) -> list[dict[str, str]]:
    """Each user's last and last but one item by the raw file; ties keep the file's order."""
    rows = [line.split("\t") for line in (ml_100k / "ml-100k.inter").read_text().splitlines()[1:]]
    histories: dict[str, list[str]] = {}
    for user, item, _, _ in sorted(rows, key=lambda row: float(row[3])):
        histories.setdefault(user, []).append(item)
    return [{user: items[-k] for user, items in histories.items()} for k in (1, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalize_all", "share"),
    [(False, 0.158), (True, 0.0042)],
    ids=["times as they are", "times scaled to 0..1, as RecBole's own ml-100k.yaml does"],
)
def test_stock_order_gives_users_another_test_item_and_ours_none(
    true_last_items, normalize_all, share
) -> None:
    truth, _ = true_last_items
    settings = {"normalize_all": normalize_all}
    stock = last_items(split(SequentialDataset, config_of("SASRec", **settings))[2])
    ours = last_items(split(InterestDataset, config_of(**settings))[2])
    assert ours == truth
    wrong = sum(stock[user] != item for user, item in truth.items())
    assert wrong / ML_100K_USERS == pytest.approx(share, abs=0.0005)


@pytest.mark.slow
def test_stock_models_get_exact_order_through_our_commands(true_last_items) -> None:
    test, valid = true_last_items
    dataset = create_dataset(config_of("SASRec"))
    assert type(dataset).__name__ == "SequentialDataset"
    parts = dataset.build()
    assert last_items(parts[2]) == test
    assert last_items(parts[1]) == valid


@pytest.mark.slow
@pytest.mark.parametrize(
    "eval_args",
    [
        {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user", "mode": "full"},
        {"split": {"TS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user", "mode": "full"},
    ],
    ids=["leave-one-out", "ratio", "time"],
)
def test_cases_equal_stock_recboles_for_its_own_order(eval_args) -> None:
    settings = {"eval_args": eval_args, "time_precision": "recbole"}
    stock = split(SequentialDataset, config_of("SASRec", **settings))
    ours = split(InterestDataset, config_of(**settings))
    for theirs, mine in zip(stock, ours, strict=True):
        assert len(mine) == len(theirs) > 0
        index = np.arange(0, len(mine), 7 if len(mine) > 5000 else 1)
        expected, received = theirs[index], mine[index]
        assert set(received.interaction) == set(expected.interaction)
        for field in expected:
            assert torch.equal(received[field], expected[field]), field


@pytest.mark.slow
def test_sparse_matrix_equals_stock_recboles() -> None:
    settings = {"time_precision": "recbole"}
    stock = split(SequentialDataset, config_of("SASRec", **settings))[0].inter_matrix("csr")
    ours = split(InterestDataset, config_of(**settings))[0].inter_matrix("csr")
    assert (stock != ours).nnz == 0 and ours.nnz > 90_000


@pytest.mark.parametrize("max_length", [50, 5])
def test_each_prefix_target_is_a_window_target_once_an_epoch(max_length: int) -> None:
    config = config_of(MAX_ITEM_LIST_LENGTH=max_length, window_overlap=2)
    train = split(InterestDataset, config)[0]
    loader = WindowLoader(train, config)
    targets = torch.cat([batch.targets[batch.targets > 0] for batch in loader])
    prefix = train.inter_feat["item_id"]
    assert torch.equal(
        torch.bincount(targets, minlength=train.item_num),
        torch.bincount(prefix, minlength=train.item_num),
    )
    assert len(targets) == 100_000 - 3 * ML_100K_USERS


def test_storage_is_linear_in_interactions() -> None:
    config = config_of(MAX_ITEM_LIST_LENGTH=200)
    dataset = InterestDataset(config)
    dataset.build()
    held = {id(t): t for t in dataset.inter_feat.interaction.values()}
    held |= {id(t): t for t in dataset.events.interaction.values()}
    assert sum(t.numel() for t in held.values()) < 12 * 100_000


@pytest.mark.slow
def test_padding_under_a_fifth_on_amazon_beauty(shared_data: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(shared_data / "amazon-beauty.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    config = config_of(dataset="amazon-beauty", data_path=str(tmp_path / "atomic"))
    loader = WindowLoader(split(InterestDataset, config)[0], config)
    tokens = sum(batch.history.numel() for batch in loader)
    assert 1 - sum(int(batch.lengths.sum()) for batch in loader) / tokens < 0.2


def walk(user: str, times: list[float]) -> list[tuple[str, str, float]]:
    return [(user, f"i{k}", time) for k, time in enumerate(times)]


@pytest.mark.parametrize(
    "times",
    [
        [5.0, 5.0, 5.0, 5.0, 5.0],
        [1.6e12, 1.6e12 + 1, 1.6e12 + 2, 1.6e12 + 3, 1.6e12 + 4],
        [-3.0, -2.0, -1.0, 0.0, 1.0],
    ],
    ids=["identical", "milliseconds", "negative"],
)
def test_order_of_odd_times_is_exact_and_ties_keep_file_order(write_dataset, times) -> None:
    folder = write_dataset(walk("a", times) + walk("b", times))
    parts = split(InterestDataset, config_of(dataset="toy", data_path=str(folder)))
    assert set(last_items(parts[2]).values()) == {"i4"}
    assert set(last_items(parts[1]).values()) == {"i3"}


def test_shuffled_file_gives_the_same_histories(write_dataset) -> None:
    events = walk("a", [1e9 + k for k in range(6)]) + walk("b", [1e9 + k for k in range(6)])
    order = np.random.default_rng(0).permutation(len(events))
    folder = write_dataset([events[k] for k in order])
    test = split(InterestDataset, config_of(dataset="toy", data_path=str(folder)))[2]
    histories = raw_tokens(test, "item_id", test[np.arange(2)]["item_id_list"])[:, :5]
    assert histories.tolist() == [["i0", "i1", "i2", "i3", "i4"]] * 2


def test_duplicates_are_removed_in_exact_order(write_dataset) -> None:
    events = [*walk("a", [9.0] * 30), ("a", "i0", 9.0), *walk("b", [9.0] * 30)]
    folder = write_dataset(events)
    config = config_of(dataset="toy", data_path=str(folder), rm_dup_inter="first")
    assert last_items(split(InterestDataset, config)[2]) == {"a": "i29", "b": "i29"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("user_id:token\titem_id:token\ttimestamp:float\n", "no rows"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ti\tsoon\n", ".inter:2"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ti\tnan\n", ".inter:2"),
        ("user_id:token\titem_id:token\ttimestamp:float\nu\ti\n", ".inter:2"),
        ("user_id\titem_id:token\ttimestamp:float\nu\ti\t1\n", "user_id"),
        ("user_id:token\titem_id:token\ttimestamp:token\nu\ti\t1\n", "'timestamp' must be float"),
        ("user_id:float\titem_id:token\ttimestamp:float\n1\ti\t1\n", "'user_id' must be token"),
        ("user_id:token\titem_id:token_seq\ttimestamp:float\nu\ti\t1\n", "'item_id' must be token"),
    ],
    ids=[
        "empty",
        "word as time",
        "nan time",
        "missing cell",
        "untyped header",
        "time as token",
        "user as float",
        "item as sequence",
    ],
)
def test_bad_interaction_files_are_refused_by_line(write_dataset, content, words) -> None:
    folder = write_dataset(walk("a", [1.0]))
    (folder / "toy" / "toy.inter").write_text(content)
    with pytest.raises(DataError, match=words):
        InterestDataset(config_of(dataset="toy", data_path=str(folder)))


def test_a_folder_without_interactions_names_the_file(write_dataset) -> None:
    folder = write_dataset(walk("a", [1.0]))
    (folder / "toy" / "toy.inter").rename(folder / "toy" / "toy.inter.part")
    with pytest.raises(
        DataError, match=r"toy\.inter: no such file; the folder holds toy\.inter\.p"
    ):
        InterestDataset(config_of(dataset="toy", data_path=str(folder / "toy")))


@pytest.mark.slow
def test_ids_are_compared_letter_by_letter(write_dataset) -> None:
    ids = ["001", "1", " 2", "2", "[PAD]", "1.0"]
    events = [(user, item, float(k)) for user in "ab" for k, item in enumerate(ids)]
    titles = {item: f"title of {k}" for k, item in enumerate(ids)}
    folder = write_dataset(events, titles)
    dataset = InterestDataset(config_of(dataset="toy", data_path=str(folder)))
    assert dataset.inter_num == 12
    report = dataset.item_vectors().report
    assert (report.items, report.matched, report.duplicate_texts) == (6, 6, 0)


def test_times_that_collapse_in_recboles_precision_are_a_warning(write_dataset, caplog) -> None:
    folder = write_dataset(walk("a", [1.6e12 + k for k in range(6)]))
    settings = {"time_precision": "recbole", "normalize_all": False}
    InterestDataset(config_of(dataset="toy", data_path=str(folder), **settings)).build()
    assert "6 distinct times become 1 in float32" in caplog.text


def test_a_repeated_id_is_a_warning(write_dataset, caplog) -> None:
    folder = write_dataset(walk("a", [1.0, 2.0, 3.0, 4.0]), {f"i{k}": f"t {k}" for k in range(4)})
    with (folder / "toy" / "toy.item").open("a") as file:
        file.write("i0\tanother text\n")
    vectors = InterestDataset(config_of(dataset="toy", data_path=str(folder))).item_vectors()
    assert vectors.report.duplicate_ids == 1
    assert [r.levelname for r in caplog.records if "1 rows repeat an id" in r.message] == [
        "WARNING"
    ]


def test_missing_folder_names_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data_path"):
        InterestDataset(config_of(dataset="nowhere", data_path=str(tmp_path)))


def test_all_filtered_away_names_the_filters(write_dataset) -> None:
    folder = write_dataset(walk("a", [1.0, 2.0, 3.0]))
    config = config_of(dataset="toy", data_path=str(folder), user_inter_num_interval="[9,inf)")
    with pytest.raises(DataError, match="user_inter_num_interval"):
        InterestDataset(config)


def test_quotes_do_not_swallow_rows(write_dataset) -> None:
    events = [("a", f'"i{k}', float(k)) for k in range(6)]
    dataset = InterestDataset(config_of(dataset="toy", data_path=str(write_dataset(events))))
    assert dataset.inter_num == 6
    assert '"i3' in dataset.field2id_token["item_id"]


def test_benchmark_files_without_histories_are_refused(write_dataset) -> None:
    folder = write_dataset([]) / "toy"
    for part in ("train", "valid", "test"):
        (folder / f"toy.{part}.inter").write_text("user_id:token\titem_id:token\nu\ti1\n")
    settings = {"dataset": "toy", "data_path": str(folder.parent)}
    settings |= {"benchmark_filename": ["train", "valid", "test"]}
    with pytest.raises(DataError, match=r"toy\.train\.inter:1: .*item_id_list:token_seq"):
        InterestDataset(config_of(**settings))
    (folder / "toy.train.inter").unlink()
    with pytest.raises(DataError, match=r"toy\.train\.inter: no such file"):
        InterestDataset(config_of(**settings))


def test_benchmark_files_bring_their_own_histories(write_dataset) -> None:
    folder = write_dataset([]) / "toy"
    for part in ("train", "valid", "test"):
        (folder / f"toy.{part}.inter").write_text(
            "user_id:token\titem_id_list:token_seq\titem_id:token\nu\ti1 i2\ti3\nv\ti3\ti1\n"
        )
    config = config_of(
        dataset="toy",
        data_path=str(folder.parent),
        benchmark_filename=["train", "valid", "test"],
        alias_of_item_id=["item_id_list"],
        load_col={"inter": ["user_id", "item_id", "item_id_list"]},
    )
    parts = split(InterestDataset, config)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert not parts[0].is_flat
    assert parts[0][np.array([0])]["item_length"].tolist() == [2]
    assert EVENT not in data_preparation(config, InterestDataset(config))[0].dataset.inter_feat
