"""Recommending by a run that trained its text encoder."""

from __future__ import annotations

import torch

from recbole_llm.recommend.recommender import Recommender

TUNED = {"text_tuning": "lora", "text_learning_rate": 0.01, "whitening": "none"}


def test_a_new_text_gets_the_vector_that_the_tuned_encoder_gave_it(trained, shop) -> None:
    recommender = Recommender.load(trained(**TUNED))
    item = "i7"
    text = f"{shop.title(item)}, goods"
    received = recommender.texts.vectors([text], device=recommender.device)[0]
    torch.testing.assert_close(
        received, recommender.table[recommender.requests.rows[item]], atol=1e-4, rtol=1e-4
    )
    frozen = Recommender.load(trained(whitening="none"))
    encoders = [one.texts.encoder.encode([text]).vectors for one in (recommender, frozen)]
    assert not torch.allclose(*encoders, atol=1e-2)


def test_a_history_of_texts_is_read_as_the_items_that_have_them(trained, shop) -> None:
    recommender = Recommender.load(trained(**TUNED))
    items = ["i3", "i20", "i9"]
    by_items = recommender.for_history(items, k=5, filter_seen=False)
    by_texts = recommender.for_texts([f"{shop.title(item)}, goods" for item in items], k=5)
    assert [one.item for one in by_texts] == [one.item for one in by_items]
