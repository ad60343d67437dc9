"""A history and a candidate become one input, from items that were tokenised once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_llm.errors import EncoderError
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.pair_encoder import PairEncoder
from recbole_llm.text.pairs import PairTokens

TEXTS = [None, "toy story", "golden eye", "four film"]
PAD, UNK, CLS, SEP, TOY, STORY, GOLDEN, EYE, FOUR, FILM = 0, 1, 2, 3, 5, 6, 7, 8, 9, 10


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> Any:
    return pair_encoder(tiny_bert)


def pair_encoder(folder: Path, *, layers: int | None = None, token_budget: int = 64) -> PairEncoder:
    spec = EncoderSpec(name=str(folder), dtype="float32")
    return PairEncoder(spec, device="cpu", layers=layers, token_budget=token_budget)


def test_a_pair_is_what_the_tokenizer_makes_of_two_texts(bert) -> None:
    pair = PairTokens(bert.tokenizer, TEXTS, max_length=32).join([1, 2], 3)
    assert pair["input_ids"] == [CLS, TOY, STORY, UNK, GOLDEN, EYE, SEP, FOUR, FILM, SEP]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    whole = bert.tokenizer("toy story ; golden eye", "four film")
    assert pair == {key: whole[key] for key in pair}


@pytest.mark.parametrize(
    ("history", "candidate", "length", "expected"),
    [
        ([1, 2], 3, 10, [CLS, TOY, STORY, UNK, GOLDEN, EYE, SEP, FOUR, FILM, SEP]),
        ([1, 2], 3, 9, [CLS, GOLDEN, EYE, SEP, FOUR, FILM, SEP]),  # the oldest goes, whole
        ([1, 2], 3, 6, [CLS, GOLDEN, EYE, SEP, FOUR, SEP]),  # half is the candidate's at most
        ([], 3, 9, [CLS, SEP, FOUR, FILM, SEP]),
        ([], 3, 5, [CLS, SEP, FOUR, FILM, SEP]),  # all room is the candidate's
        ([1, 0], 3, 32, [CLS, TOY, STORY, UNK, SEP, FOUR, FILM, SEP]),  # without a text
    ],
)
def test_a_history_is_cut_from_its_oldest_item(bert, history, candidate, length, expected) -> None:
    pairs = PairTokens(bert.tokenizer, TEXTS, max_length=length)
    assert pairs.join(history, candidate)["input_ids"] == expected


def test_items_that_are_longer_than_a_pair_are_counted(bert) -> None:
    long = [None, "toy " * 7, "toy " * 8, "toy " * 9]
    assert (
        PairTokens(bert.tokenizer, long, max_length=11).truncated == 1
    )  # three marks, eight words
    assert PairTokens(bert.tokenizer, TEXTS, max_length=32).truncated == 0


def test_a_prompt_stands_before_the_history(bert) -> None:
    pairs = PairTokens(bert.tokenizer, TEXTS, max_length=32, prompt="film")
    assert pairs.join([1], 3)["input_ids"] == [CLS, FILM, TOY, STORY, SEP, FOUR, FILM, SEP]


def test_texts_without_marks_of_their_own_are_held_apart(tiny_gpt: Path) -> None:
    gpt = pair_encoder(tiny_gpt, layers=1)
    pair = PairTokens(gpt.tokenizer, TEXTS, max_length=64).join([1, 2], 3)
    assert gpt.tokenizer.decode(pair["input_ids"]) == "toy story;golden eye\nfour film"
    assert gpt(gpt.tokenizer.pad([pair], return_tensors="pt")).shape == (1, 16)


def test_no_room_for_two_texts_is_an_error(bert) -> None:
    with pytest.raises(EncoderError, match="need at least 5, received 4"):
        PairTokens(bert.tokenizer, TEXTS, max_length=4)


def test_batches_hold_each_pair_once_and_no_more_tokens_than_the_budget(tiny_bert) -> None:
    bert = pair_encoder(tiny_bert, token_budget=26).eval()
    pairs = PairTokens(bert.tokenizer, TEXTS, max_length=32)
    joined = [pairs.join([1, 2, 3][:n], 1 + n % 3) for n in (0, 3, 1, 2, 3, 0, 2)]
    sizes = []
    bert.register_forward_pre_hook(lambda _, given: sizes.append(given[0]["input_ids"].shape))
    together = bert.vectors(joined)
    assert all(rows * length <= 26 for rows, length in sizes)
    assert sum(rows for rows, _ in sizes) == 7 > len(sizes)
    alone = torch.cat([bert.vectors([pair]) for pair in joined])
    assert torch.allclose(together, alone, atol=1e-5)


def test_out_of_memory_halves_the_batch_and_then_says_what_to_set(
    tiny_bert, monkeypatch, caplog
) -> None:
    bert, forward, most = pair_encoder(tiny_bert).eval(), PairEncoder.forward, 2
    pairs = PairTokens(bert.tokenizer, TEXTS, max_length=32)
    joined = [pairs.join([1, 2, 3][:n], 1 + n % 3) for n in (0, 3, 1, 2, 3, 0, 2)]
    expected = bert.vectors(joined)

    def forward_some(self, tokens):
        if len(tokens["input_ids"]) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return forward(self, tokens)

    monkeypatch.setattr(PairEncoder, "forward", forward_some)
    assert torch.allclose(bert.vectors(joined), expected, atol=1e-5)
    assert bert.budget.tokens < 64 and "Out of memory: trying batches of" in caplog.text
    most = 0
    words = (
        r"one text of \d+ tokens beside .*: DefaultCPUAllocator: .* memory\. .*classifier_layers"
    )
    with pytest.raises(EncoderError, match=words):
        bert.vectors(joined)


@pytest.mark.parametrize(
    ("layers", "trained"), [(0, set()), (1, {"layer.1"}), (2, {"layer.0", "layer.1"})]
)
def test_the_last_layers_are_trained_and_only_they_are_kept(deep_bert, layers, trained) -> None:
    encoder = pair_encoder(deep_bert, layers=layers)
    kept = encoder.state_dict()
    assert {".".join(name.split(".")[4:6]) for name in kept} == trained
    for value in kept.values():
        torch.nn.init.ones_(value)
    other = pair_encoder(deep_bert, layers=layers)
    other.load_state_dict(kept)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in kept.items())


def test_more_layers_than_there_are_is_an_error(deep_bert) -> None:
    with pytest.raises(
        EncoderError, match=r"classifier_layers: .* has 2 layers, received 3. Use at most 2"
    ):
        pair_encoder(deep_bert, layers=3)


def test_a_model_that_pools_no_tokens_is_refused(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = StaticEmbedding(Tokenizer(WordLevel({"a": 0}, unk_token="a")), embedding_dim=4)
    SentenceTransformer(modules=[words]).save(str(tmp_path))
    with pytest.raises(EncoderError, match="no transformer that pools tokens"):
        pair_encoder(tmp_path)
