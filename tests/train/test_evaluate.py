"""Evaluation of whole models: against RecBole's own, in parts, and filtered."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.data.seen import seen_items
from recbole_llm.errors import NonFiniteError, RequestError
from recbole_llm.ranking_metrics import Ranking
from recbole_llm.settings import Settings
from recbole_llm.train.blocks import SPAN, tile_scores
from recbole_llm.train.evaluate import rank_cases
from recbole_llm.train.scorers import InterestScorer, MeanScorer, read_cases, scorer_of

SASREC = {"n_layers": 1, "inner_size": 8}
RANKED = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "GAUC"]
READERS = ["LLMInterestLSTM", "SASRec", "DIN"]  # DIN has no full_sort_predict
LISTED = ["ItemCoverage", "AveragePopularity", "ShannonEntropy", "GiniIndex", "TailPercentage"]


@pytest.fixture
def build(write_dataset, brief, shop):
    """Return a function that builds a trainer and its loaders on events."""

    def make(name: str, events: list | None = None, **settings: Any) -> Any:
        own = {"item_features": "id"} if name.startswith("LLM") else {}
        own |= SASREC if name == "SASRec" else {}
        folder = str(write_dataset(shop() if events is None else events))
        config = LLMConfig(name, "toy", None, brief | own | {"data_path": folder} | settings)
        _, *loaders = prepare(config)
        trainer = trainer_class(config)(config, build_model(config, loaders[0]))
        trainer.eval_collector.data_collect(loaders[0])
        return trainer, loaders

    return make


def ranking_of(trainer: Any, loader: Any, **settings: Any) -> Ranking:
    trainer.model.eval()
    config = {**trainer.config.final_config_dict, **settings}
    scorer = scorer_of(trainer.model, loader)
    return rank_cases(scorer, loader, config=config, place="here", show_progress=False)


def same(one: Ranking, other: Ranking) -> bool:
    names = ("above", "ties", "candidates", "lists")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def recboles_metrics(trainer: Any, loader: Any) -> dict[str, float]:
    """Return what RecBole's batches, collector and evaluator make of a model.

    RecBole's last step, ``get_data_struct``, is left out: it fails on ItemCoverage's item number.
    """
    collector = trainer.eval_collector
    trainer.tot_item_num = loader.dataset.item_num
    trainer.item_tensor = loader.dataset.get_item_feature()
    with torch.no_grad():
        for batch in loader:
            cases, scores, rows, items = trainer._full_sort_batch_eval(batch)
            collector.eval_batch_collect(scores, cases, rows, items)
    return trainer.evaluator.evaluate(collector.data_struct)


@pytest.mark.parametrize("model", READERS)
def test_metrics_equal_recboles_before_its_rounding(build, model: str) -> None:
    trainer, (train, valid, test) = build(model, metrics=[*RANKED, *LISTED])
    trainer.fit(train, valid, saved=False, verbose=False)
    ours = trainer.evaluate(test, load_best_model=False)
    assert (trainer.ranking.ties == 0).all()
    theirs = recboles_metrics(trainer, test)
    assert list(ours) == list(theirs) and 0 < ours["hit@5"] < 1
    for name, value in theirs.items():
        tolerance = 1e-6 if name == "gauc" else 1e-9  # RecBole's GAUC is in float32
        assert ours[name] == pytest.approx(float(value), abs=tolerance), name


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec"])
def test_parts_give_what_the_whole_gives(build, model: str) -> None:
    trainer, (_, _, test) = build(model, metrics=["NDCG", "ItemCoverage"])
    whole = ranking_of(trainer, test, eval_batch_cells=10**9)
    assert whole.lists.shape == (70, 5)
    for cells in (1, 2000, 3000):
        assert same(ranking_of(trainer, test, eval_batch_cells=cells), whole)
    assert np.array_equal(ranking_of(trainer, test, eval_batch_size=9).above, whole.above)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.size = max(self.size, made.numel())
        return made


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec"])
def test_no_tensor_is_larger_than_asked_for(build, shop, model: str) -> None:
    trainer, (_, _, test) = build(model, shop(num_users=200, num_items=400), eval_batch_size=100)
    num_items = test.dataset.item_num
    sizes = {}
    for cells in (70 * num_items, 10**9):
        with Largest() as largest:
            ranking_of(trainer, test, eval_batch_cells=cells)
        sizes[cells] = largest.size
    assert sizes[70 * num_items] <= 70 * num_items
    assert sizes[10**9] == 100 * num_items  # eval_batch_size users, were it not for the limit


@pytest.mark.parametrize("settings", [{}, {"filter_seen": True}, {"popularity_adjustment": 0.3}])
def test_a_catalogue_cut_by_items_gives_what_the_whole_gives(build, monkeypatch, settings) -> None:
    """To the last bit, metrics of lists too; twins of an item lie in other blocks than it."""
    trainer, (train, valid, test) = build(
        "LLMInterestLSTM", metrics=[*RANKED, *LISTED], topk=[1, 5], **settings
    )
    trainer.fit(train, valid, saved=False, verbose=False)
    weight = trainer.model.items.embedding.weight.data
    weight[[7, 20, 44]] = weight[3].clone()
    whole = trainer.evaluate(test, load_best_model=False)
    ranking = trainer.ranking
    assert (ranking.ties > 0).any() or trainer.model.offset is not None
    for span in (2, 10, 45):
        monkeypatch.setattr(InterestScorer, "span", span)
        assert trainer.evaluate(test, load_best_model=False) == whole
        assert same(trainer.ranking, ranking)


def test_a_block_of_items_is_all_that_is_scored_at_once(build, shop, monkeypatch) -> None:
    trainer, (_, _, test) = build("LLMInterestLSTM", shop(100, 3000, 40), topk=[5])
    num_items, table = test.dataset.item_num, 8 * test.dataset.item_num
    with Largest() as largest:
        ranking_of(trainer, test, eval_batch_cells=1)
    assert largest.size == 32 * num_items
    monkeypatch.setattr(InterestScorer, "span", 1000)
    for cells, rows in ((1, 32), (32_000, 32), (64_000, 64)):
        with Largest() as largest:
            ranking_of(trainer, test, eval_batch_cells=cells)
        assert largest.size == max(rows * 1000, table) < 32 * num_items or rows > 32
    assert Settings().eval_batch_cells == 32 * SPAN  # by default both bounds are one


def test_histories_are_read_without_the_padding_of_the_longest(build, shop, monkeypatch) -> None:
    events = [event for event in shop() if event[2] < 3 + int(event[0][1:]) % 5]  # 3 to 7 a user
    trainer, (_, valid, _) = build("LLMInterestLSTM", events, MAX_ITEM_LIST_LENGTH=20)
    model, widths = trainer.model.eval(), []
    cases = read_cases(valid, 0, len(valid.dataset), device=torch.device("cpu"))
    whole, read = model.last_interest(cases, model.items.table()), model.last_interest

    def watched(cases: Any, table: torch.Tensor) -> torch.Tensor:
        widths.append(cases[model.ITEM_SEQ].shape[1])
        return read(cases, table)

    monkeypatch.setattr(model, "last_interest", watched)
    monkeypatch.setattr("recbole_llm.train.scorers.LIKE", 16)
    apart, _ = scorer_of(model, valid).read(0, len(valid.dataset))
    torch.testing.assert_close(apart, whole)  # in the order of the cases
    assert widths == sorted(widths) and widths[0] < widths[-1] == 5  # of at most 20


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_constant_scorer_has_the_metrics_of_chance(build, monkeypatch, request, device) -> None:
    if device == "cuda":
        request.getfixturevalue("gpu")
    on = {"metrics": RANKED, "use_gpu": device == "cuda"}
    trainer, (_, _, test) = build("LLMInterestLSTM", **on)
    assert trainer.device.type == device
    torch.nn.init.ones_(trainer.model.items.embedding.weight)
    found = trainer.evaluate(test, load_best_model=False)
    num_items = test.dataset.item_num - 1
    assert found["hit@5"] == pytest.approx(5 / num_items, abs=1e-12)
    assert found["mrr@1"] == pytest.approx(1 / num_items, abs=1e-12)
    gains = sum(1 / math.log2(place + 1) for place in range(1, 6))
    assert found["ndcg@5"] == pytest.approx(gains / num_items, abs=1e-12)
    assert found["gauc"] == 1 / 2

    trainer, (_, _, test) = build("SASRec", **on)
    zeros = torch.zeros(70, num_items + 1, device=device)
    monkeypatch.setattr(trainer.model, "full_sort_predict", lambda cases: zeros[: len(cases)])
    assert trainer.evaluate(test, load_best_model=False) == found


def test_the_largest_score_of_padding_counts_for_nothing(build, monkeypatch) -> None:
    trainer, (_, _, test) = build("LLMInterestLSTM", metrics=["NDCG", "ItemCoverage"])
    before = ranking_of(trainer, test)

    def spoiled(*args, **kwargs):
        scores = tile_scores(*args, **kwargs)
        scores[:, 0] = 1e9
        spoiled.was_asked = True
        return scores

    monkeypatch.setattr("recbole_llm.train.blocks.tile_scores", spoiled)
    after = ranking_of(trainer, test)
    assert spoiled.was_asked and same(before, after) and after.lists.min() > 0


HISTORIES = {  # the last target of a is new to it, that of b is not, c is longer than any window
    "a": "pqrst", "b": "pqrsq", "c": "pppqpqrstuvw", "d": "wvut", "e": "vwpq"
}  # fmt: skip


def letters() -> list[tuple[str, str, float]]:
    return [(u, i, float(t)) for u, items in HISTORIES.items() for t, i in enumerate(items)]


@pytest.mark.parametrize("model", READERS)
def test_seen_items_are_the_whole_history_before_the_target(build, model: str) -> None:
    _, (_, *loaders) = build(model, letters(), MAX_ITEM_LIST_LENGTH=2, filter_seen=True)
    for loader, back in zip(loaders, (2, 1), strict=True):
        dataset = loader.dataset
        users = dataset.field2id_token["user_id"][dataset.inter_feat["user_id"]]
        rows, items = seen_items(dataset).cells(1, len(users))
        found = {user: "" for user in users[1:]}
        for row, item in zip(rows, dataset.field2id_token["item_id"][items], strict=True):
            found[users[1:][row]] += item
        assert found == {user: HISTORIES[user][:-back] for user in users[1:]}
        assert len(found) >= 3


@pytest.mark.parametrize("model", READERS)
def test_filtering_leaves_out_what_was_seen_but_the_target(build, model: str) -> None:
    settings = {"MAX_ITEM_LIST_LENGTH": 2, "metrics": ["Hit", "GiniIndex"], "topk": [1]}
    settings |= {"valid_metric": "Hit@1", "filter_seen": True, "eval_args": {"mode": "full"}}
    trainer, (train, valid, test) = build(model, letters(), **settings)
    trainer.fit(train, valid, saved=False, verbose=False)
    trainer.evaluate(test, load_best_model=False)
    everything = ranking_of(trainer, test, filter_seen=False)
    scorer = scorer_of(trainer.model, test)
    with torch.no_grad():
        scores = scorer.scores(scorer.read(0, len(HISTORIES)), slice(0, len(HISTORIES)))
    tokens = test.dataset.field2id_token
    for row, user in enumerate(tokens["user_id"][test.dataset.inter_feat["user_id"]]):
        *seen, target = HISTORIES[user]
        left = [i for i in tokens["item_id"][1:] if i not in seen or i == target]
        score = dict(zip(tokens["item_id"], scores[row].tolist(), strict=True))
        assert trainer.ranking.candidates[row] == len(left)
        assert trainer.ranking.above[row] == sum(score[i] > score[target] for i in left)
        best = tokens["item_id"][trainer.ranking.lists[row, 0]]
        assert best == max(left, key=score.__getitem__)
    assert (everything.candidates == 8).all()
    assert not np.array_equal(everything.above, trainer.ranking.above)


def test_lists_longer_than_what_is_left_are_refused(build) -> None:
    trainer, (_, _, test) = build("SASRec", letters(), filter_seen=True, metrics=["NDCG", "GAUC"])
    assert 0 <= trainer.evaluate(test, load_best_model=False)["ndcg@5"] <= 1
    trainer, (_, _, test) = build("SASRec", letters(), filter_seen=True, metrics=[*LISTED, "NDCG"])
    with pytest.raises(RequestError, match="topk: lists of 5 need as many candidates"):
        trainer.evaluate(test, load_best_model=False)


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "SASRec"])
def test_a_score_that_is_not_finite_is_an_error(build, model: str) -> None:
    trainer, (_, _, test) = build(model)
    for parameter in trainer.model.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(NonFiniteError, match="before the first epoch: the model gives scores that"):
        trainer.evaluate(test, load_best_model=False)


class Fixed:
    """A scorer with the same scores for every case."""

    least = 1

    def __init__(self, *scores: float) -> None:
        self.row = torch.tensor([[9.0, *scores]])

    def read(self, begin: int, end: int) -> int:
        return end - begin

    def scores(self, batch: int, part: slice) -> torch.Tensor:
        return self.row.expand(part.stop - part.start, -1).clone()


def test_a_mean_weighs_scorers_alike_whatever_their_scale() -> None:
    small, large = Fixed(0.0, 1.0, 2.0), Fixed(3000.0, 2000.0, 1000.0)
    mean = MeanScorer([small, large, Fixed(5.0, 5.0, 5.0)])
    assert torch.allclose(
        mean.scores(mean.read(0, 2), slice(0, 2))[:, 1:], torch.zeros(2, 3).double(), atol=1e-12
    )
    alone = MeanScorer([large]).scores([1], slice(0, 1))[0, 1:]
    assert torch.allclose(alone, torch.tensor([1.0, 0.0, -1.0]).double() * math.sqrt(3 / 2))
