"""Vectors of word counts: what they are, and what fits them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from recbole_llm import run_recbole
from recbole_llm.errors import EncoderError, RequestError
from recbole_llm.text.counts import WordCounts
from recbole_llm.text.store import VectorStore

TEXTS = ["toy story", "story toy", "golden eye", "toy eye of a golden story", "Wasp, film 3"]


def test_tfidf_keeps_the_cosines_of_weighed_words() -> None:
    # All axes are kept, so that they only turn the vectors. A word that k of n texts have weighs
    # ln((n + 1) / (k + 1)) + 1: toy 1, and story and film ln(3 / 2) + 1.
    texts = ["toy story", "toy film"]
    one, other = WordCounts("tfidf", texts).encode(texts).vectors
    assert float(one @ other) == pytest.approx(1 / (1 + (math.log(3 / 2) + 1) ** 2), abs=1e-5)
    assert float(one.norm()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["tfidf", "hashing"])
def test_vectors_know_words_and_not_their_order(kind: str) -> None:
    encoder = WordCounts(kind, TEXTS)
    vectors = encoder.encode([*TEXTS, "zzz"]).vectors
    assert torch.allclose(vectors[0], vectors[1], atol=1e-6)
    assert vectors[0] @ vectors[3] > vectors[0] @ vectors[2] + 0.1
    assert torch.allclose(vectors[3], encoder.encode(TEXTS[3:4]).vectors[0], atol=1e-6)
    assert (vectors[5].norm() == 0) == (kind == "tfidf")  # a word that no text had


def test_tfidf_is_fitted_to_a_catalogue_in_any_order_and_hashing_to_none() -> None:
    for kind, is_same in (("tfidf", False), ("hashing", True)):
        one, turned, other = (
            WordCounts(kind, texts) for texts in (TEXTS, TEXTS[::-1] * 2, [*TEXTS, "more"])
        )
        assert one.fingerprint() == turned.fingerprint()
        assert torch.equal(one.encode(TEXTS).vectors, turned.encode(TEXTS).vectors)
        assert (one.fingerprint() == other.fingerprint()) is is_same


def test_sizes() -> None:
    assert WordCounts("hashing", TEXTS).encode(TEXTS).vectors.shape == (5, 384)
    assert WordCounts("hashing", TEXTS, dim=7).encode(TEXTS).vectors.shape == (5, 7)
    assert WordCounts("tfidf", TEXTS).encode(TEXTS).vectors.shape == (5, 5)
    assert WordCounts("tfidf", TEXTS, dim=2).encode(TEXTS).vectors.shape == (5, 2)
    with pytest.raises(EncoderError, match="text_dim: 5 texts of 9 words have 5 axes, received 6"):
        WordCounts("tfidf", TEXTS, dim=6).encode(TEXTS)
    with pytest.raises(EncoderError, match="no word in 2 texts"):
        WordCounts("tfidf", ["!", "?"]).encode(["!"])


def test_the_cache_takes_no_vectors_of_another_catalogue(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    first = store.get(TEXTS, WordCounts("tfidf", TEXTS))
    again = store.get(TEXTS, WordCounts("tfidf", TEXTS))
    other = store.get(TEXTS, WordCounts("tfidf", [*TEXTS, "toy more"]))
    assert [first.from_cache, again.from_cache, other.from_cache] == [False, True, False]
    assert first.per_second == again.per_second is not None
    assert len({one.content for one in (first, again, other)}) == 2


@pytest.fixture
def settings(write_dataset) -> dict[str, object]:
    walks = [(f"u{user}", f"i{(user + k) % 5}", float(k)) for user in range(9) for k in range(5)]
    folder = write_dataset(walks, {f"i{k}": text for k, text in enumerate(TEXTS)})
    return {
        "data_path": str(folder), "embedding_size": 8, "epochs": 1, "show_progress": False,
        "topk": [3], "valid_metric": "NDCG@3", "text_encoder": "tfidf",
    }  # fmt: skip


def test_a_run_says_how_fast_and_how_alike_its_vectors_are(settings) -> None:
    result = run_recbole("LLMInterestLinear", "toy", config_dict=settings)
    text = json.loads(Path(result["run_dir"], "result.json").read_text())["text"]
    vectors = WordCounts("tfidf", TEXTS).encode(TEXTS).vectors
    cosines = (vectors @ vectors.T)[~torch.eye(5, dtype=torch.bool)]  # of length 1
    assert text["anisotropy"] == pytest.approx(float(cosines.mean()), abs=1e-5)
    assert text["treated_anisotropy"] < text["anisotropy"]
    assert text["vectors_per_second"] > 0


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("LLMInterestLinear", {"text_prompt": "query: "}, "text_prompt: is for language models"),
        ("LLMInterestLinear", {"text_tuning": "full"}, "text_tuning: is for language models"),
        ("LLMInterestClassifier", {}, "text_encoder: a classifier trains a language model"),
    ],
)
def test_what_is_of_language_models_is_refused(settings, model, change, words) -> None:
    plain = {key: settings[key] for key in ("data_path", "text_encoder")}
    with pytest.raises(RequestError, match=words):
        run_recbole(model, "toy", config_dict=plain | change)
