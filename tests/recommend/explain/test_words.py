"""Words by integrated gradients: they sum to the score, and are those of the texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.recommend.explain.counterfactual import Case
from recbole_llm.recommend.explain.words import attribute
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request

MODELS = [
    ("LLMInterestLSTM", {}),
    ("LLMInterestGRU", {"item_features": ["text", "id"], "fusion": "gate"}),
    ("LLMInterestLSTM", {"whitening": "pca", "whitening_dim": 5}),
]


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_the_words_of_a_history_sum_to_the_score(trained, model, settings, shop) -> None:
    recommender = Recommender.load(trained(model, **settings))
    case = Case(recommender, Request(user="u1"), "i9")
    found = attribute(case, steps=300)
    assert found.gap < 0.02
    parts = sum(part for one in found.events for _, part in one.words)
    assert parts == pytest.approx(found.total, abs=0.02 * abs(found.total))
    read = shop.history("u1")[-recommender.model.max_seq_length :]
    for one, item in zip(found.events, read, strict=True):
        assert [word for word, _ in one.words] == f"{shop.title(item)} , goods".split()
        assert shop.history("u1")[one.event - 1] == item


def test_the_end_of_the_path_is_the_models_score(trained) -> None:
    """With all words' vectors that of padding, the model's own lists begin where the path does."""
    recommender = Recommender.load(trained())  # of its own: its encoder is changed
    recommender.vectors(["w1"])  # which is the run's until then
    case = Case(recommender, Request(history=("i1", "i2", "i30")), "i9")
    listed = recommender.for_history(["i1", "i2", "i30"], k=45, filter_seen=False)
    scores = {one.item: one.score for one in listed}
    above = scores["i9"] - np.mean(list(scores.values()))
    tokenizer, layer = (
        recommender.texts.encoder.model.tokenizer,
        recommender.texts.encoder.model[0].model.get_input_embeddings(),
    )
    with torch.no_grad():
        blank = layer.weight.clone()
        words = [token for token in range(len(tokenizer)) if token not in tokenizer.all_special_ids]
        layer.weight[words] = blank[tokenizer.pad_token_id]
        texts = [recommender.item_texts[row] for row in case.rows.tolist()]
        table = torch.cat([recommender.table, recommender.vectors(texts)])
        interest = recommender.interests([torch.arange(len(recommender.items), len(table))], table)[
            0
        ]
        layer.weight.copy_(blank)
    vectors = recommender.candidates.vectors
    below = float(interest @ (vectors[case.item] - vectors[1:].mean(0)))
    assert attribute(case, steps=4).total == pytest.approx(above - below, abs=1e-3)


def test_a_run_without_texts_of_its_own_is_refused(trained) -> None:
    for settings in ({"item_features": "id"}, {"text_control": "random"}):
        recommender = Recommender.load(trained("LLMInterestLinear", **settings))
        with pytest.raises(RequestError, match="keeps no texts"):
            attribute(Case(recommender, Request(user="u1")))


@pytest.mark.slow
def test_the_bundled_encoder_tells_of_words(trained, shop) -> None:
    recommender = Recommender.load(trained(text_encoder="all-MiniLM-L6-v2"))
    found = attribute(Case(recommender, Request(user="u1")), steps=128)
    assert found.gap < 0.05
    assert [word for word, _ in found.events[-1].words][-1] == "goods"
