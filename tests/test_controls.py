"""The controls that learn nothing: what they score, and that the whole command runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_llm import load_run, run_recbole
from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.checks import recbole_models
from recbole_llm.cli import main
from recbole_llm.config import LLMConfig
from recbole_llm.data.dataset import InterestDataset
from recbole_llm.data.features import ItemVectors
from recbole_llm.errors import RequestError
from recbole_llm.plugin import CLASSIFIERS, CONTROLS, MODELS, OURS, load, properties_file
from recbole_llm.ranks import read_ranks
from recbole_llm.run_dir import WEIGHTS

SMALL = {"topk": [1, 2], "valid_metric": "NDCG@2", "metrics": ["NDCG", "Hit"]}
SMALL |= {"show_progress": False}
# The last item is the test target, the last but one that of validation.
WALKS = {"a": "p q r p q", "b": "p p s r p", "c": "q p s t s", "d": "q p r s r"}
TITLES = {name: f"the film {name}" for name in "pqst"} | {"r": "the film q"}


def events() -> list[tuple[str, str, float]]:
    return [
        (user, item, float(time))
        for user, walk in WALKS.items()
        for time, item in enumerate(walk.split())
    ]


@pytest.fixture
def folder(write_dataset) -> str:
    return str(write_dataset(events(), TITLES))


def test_every_control_is_there_and_has_a_name_of_its_own() -> None:
    for name, entry in CONTROLS.items():
        assert load(entry.model).__name__ == name and load(entry.trainer)
        assert properties_file(name).is_file()
    names = [name.lower() for name in (*MODELS, *CONTROLS, *recbole_models())]
    assert len(set(names)) == len(names) and set(OURS) == {*MODELS, *CONTROLS, *CLASSIFIERS}


def test_popularity_ranks_by_training_interactions(folder) -> None:
    result = run_recbole("Popularity", "toy", config_dict=SMALL | {"data_path": folder})
    ranks = read_ranks(result["run_dir"])
    # training: p q r, p p s, q p s, q p r: p 5, q 3, r 2, s 2, t none
    found = zip(ranks.users, ranks.items, ranks.above, ranks.ties, ranks.popularity, strict=True)
    assert sorted(found) == [
        ("a", "q", 1, 0, 3), ("b", "p", 0, 0, 5), ("c", "s", 2, 1, 2), ("d", "r", 2, 1, 2)
    ]  # fmt: skip
    assert result["test_result"]["hit@1"] == 1 / 4
    assert result["test_result"]["hit@2"] == 2 / 4  # ranks 3 and 4 are shared by r and s


def test_the_nearest_text_ranks_first_and_equal_ones_tie(folder, monkeypatch) -> None:
    vectors = {"p": (1, 0), "q": (0, 1), "r": (2, 0), "s": (-1, 0), "t": (0, 0)}

    def given(self: InterestDataset) -> ItemVectors:
        tokens = self.field2id_token["item_id"][1:]
        table = torch.tensor([(0, 0), *(vectors[str(token)] for token in tokens)]).float()
        return ItemVectors(table, None, "k", "k", 0.0, True, 0, table[1:], range(1, 6))

    monkeypatch.setattr(InterestDataset, "item_vectors", given)
    result = build("LastItemTextKNN", folder)
    # last items p, r, t, s: q to p is 0 behind p and r at 1, as t is; p to r is 1, as r itself;
    # all are 0 to t; r to s is -1 behind s at 1, q and t at 0, as p is
    assert sorted(result) == [("a", 2, 1), ("b", 0, 1), ("c", 0, 4), ("d", 3, 1)]


def build(model: str, folder: str, **settings: Any) -> list[tuple[str, int, int]]:
    """Return user, above and ties of each test case."""
    config = LLMConfig(model, "toy", None, SMALL | {"data_path": folder} | settings)
    _, train, valid, test = prepare(config)
    trainer = trainer_class(config)(config, build_model(config, train))
    trainer.fit(train, valid, saved=False, verbose=False)
    trainer.evaluate(test, load_best_model=False)
    users = test.dataset.field2id_token["user_id"][test.dataset.inter_feat["user_id"].numpy()]
    ranking = trainer.ranking
    return list(zip(users.tolist(), ranking.above.tolist(), ranking.ties.tolist(), strict=True))


@pytest.mark.parametrize(
    "model", ["Popularity", pytest.param("LastItemTextKNN", marks=pytest.mark.slow)]
)
def test_the_whole_command_runs_a_control_without_training(folder, model) -> None:
    result = run_recbole(model, "toy", config_dict=SMALL | {"data_path": folder, "epochs": 5})
    run_dir = Path(result["run_dir"])
    assert (result["epochs"], result["best_epoch"]) == (0, -1)
    assert result["best_valid_result"]["ndcg@2"] == result["best_valid_score"] >= 0
    stored = json.loads((run_dir / "result.json").read_text())
    assert stored["curve"] == [] and stored["parameters"] == {"trainable": 0}
    assert (stored["lists"]["text_diversity@2"] is None) == (model == "Popularity")
    assert (run_dir / WEIGHTS).is_file()
    config, network, _, _, _, test = load_run(run_dir)
    trainer = trainer_class(config)(config, network)
    again = trainer.evaluate(test, load_best_model=False)
    assert dict(again) == result["test_result"]
    assert run_recbole(resume=run_dir)["test_result"] == result["test_result"]
    assert main(["ensemble", str(run_dir)]) == 0


@pytest.mark.slow
def test_random_texts_have_other_neighbours(folder) -> None:
    plain, random = (
        build("LastItemTextKNN", folder, text_control=control, whitening="none")
        for control in ("none", "random")
    )
    assert plain != random
    assert np.mean([ties for _, _, ties in plain]) > 0  # q and r have one text


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("LastItemTextKNN", {"item_features": "id"}, "item_features: LastItemTextKNN reads text a"),
        ("LastItemTextKNN", {"item_features": ["text", "id"]}, "reads text alone"),
        ("LastItemTextKNN", {"adaptor": "mlp"}, "adaptor: is for our models"),
        ("LastItemTextKNN", {"item_noise": 0.1}, "item_noise: is for our models"),
        ("Popularity", {"item_features": "text"}, "item_features: Popularity reads none"),
        ("Popularity", {"training": "all_positions"}, "training: all_positions is for"),
        ("Popularity", {"repeat_bias": True}, "repeat_bias: is for our models and, with training"),
        ("Popularity", {"train_neg_sample_args": {"sample_num": 1}}, "is for RecBole's models"),
        ("Popularitys", {}, "Did you mean 'Popularity'"),
    ],
)
def test_what_a_control_would_not_follow_is_refused(model, settings, words) -> None:
    with pytest.raises(RequestError, match=words):
        LLMConfig(model, "toy", None, settings)


def test_a_control_needs_one_process(folder) -> None:
    with pytest.raises(RequestError, match=r"nproc: .* Use one process"):
        run_recbole("Popularity", "toy", config_dict=SMALL | {"data_path": folder}, nproc=2)
