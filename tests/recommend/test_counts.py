"""Recommending by a run whose texts were counted, not read."""

from __future__ import annotations

import pytest
import torch

from recbole_llm.errors import RequestError
from recbole_llm.recommend.explain.counterfactual import Case
from recbole_llm.recommend.explain.words import attribute
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request


@pytest.mark.parametrize("kind", ["tfidf", "hashing"])
def test_a_new_text_gets_the_vector_that_the_run_would_have_given_it(trained, shop, kind) -> None:
    recommender = Recommender.load(trained(text_encoder=kind))  # the run's data is gone
    known = recommender.table[recommender.items.index("i9")]
    vector = recommender.vectors([f"{shop.title('i9')}, goods"])[0]
    assert torch.allclose(vector, known, atol=1e-4)
    assert len(recommender.for_texts(["w1 w2"], k=3)) == 3
    with pytest.raises(RequestError, match=f"words: {kind} does not say where in a text"):
        attribute(Case(recommender, Request(user="u1")))
