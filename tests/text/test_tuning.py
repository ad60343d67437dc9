"""Encoders that are trained in part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recbole_llm.errors import EncoderError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.tuning import TunedEncoder, Tuning
from recbole_llm.text.whiten import fit_whitening

TEXTS = ["toy story", "golden eye", "four film toy", "film"]
EVERY = torch.arange(len(TEXTS))


def reader(folder: Path, *, token_budget: int | None = None, dtype: str = "float32") -> TextEncoder:
    return TextEncoder(EncoderSpec(name=str(folder), dtype=dtype), token_budget=token_budget)


def tuned(folder: Path, how: str, *, texts=TEXTS, budget: int | None = None, **tuning):
    encoder = reader(folder, token_budget=budget)
    return TunedEncoder(encoder, texts, tuning=Tuning(how=how, **tuning), whitening=None)


def gradients(encoder: TunedEncoder) -> dict[str, torch.Tensor]:
    """Return the gradient of each trained weight by a loss in which no two vectors are alike."""
    vectors = encoder(EVERY)
    weights = torch.arange(vectors.numel(), dtype=torch.float32).view_as(vectors).cos()
    (vectors * weights).sum().backward()
    return {name: value.grad for name, value in encoder.named_parameters()}


@pytest.mark.parametrize("how", ["last_layers", "lora", "full"])
@pytest.mark.parametrize("model", ["tiny_bert", "tiny_gpt"])
def test_tuning_begins_with_the_vectors_of_the_untuned_encoder(request, model, how) -> None:
    folder = request.getfixturevalue(model)
    encoder = tuned(folder, how, num_layers=1, budget=8)  # several batches of unlike lengths
    torch.testing.assert_close(encoder(EVERY), reader(folder).encode(TEXTS).vectors)
    found = gradients(encoder)
    assert found
    assert all(value is not None for value in found.values())  # DistributedDataParallel's rule
    assert any(value.abs().max() > 0 for value in found.values())
    rest = set(encoder.reader.model.parameters()) - set(encoder.parameters())
    assert not any(value.requires_grad for value in rest)


def test_each_way_trains_what_it_says(tiny_gpt) -> None:
    last = [name for name, _ in tuned(tiny_gpt, "last_layers", num_layers=1).named_parameters()]
    assert last
    assert all("/h/1/" in name for name in last)  # the second of two
    lora = tuned(tiny_gpt, "lora", rank=3)
    shapes = {name: tuple(value.shape) for name, value in lora.named_parameters()}
    assert all("lora_" in name and 3 in shape for name, shape in shapes.items())
    assert set(lora.state_dict()) == set(shapes)  # a checkpoint holds no more
    full = {name for name, _ in tuned(tiny_gpt, "full").named_parameters()}
    assert any("wte" in name for name in full)
    assert set(last) < full


def test_a_pooler_that_no_vector_depends_on_is_not_trained(tiny_bert) -> None:
    encoder = tuned(tiny_bert, "full")
    assert any("pooler" in name for name, _ in encoder.reader.model.named_parameters())
    assert not any("pooler" in name for name, _ in encoder.named_parameters())


def test_activations_made_again_give_the_same_gradients(tiny_bert) -> None:
    kept, again = (
        gradients(tuned(tiny_bert, "full", is_checkpointed=is_checkpointed, budget=8))
        for is_checkpointed in (False, True)
    )
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_pass_without_gradients_does_not_take_them_from_the_next_one(tiny_bert) -> None:
    fast = reader(tiny_bert, dtype="auto")  # bf16 where the processor has it
    encoder = TunedEncoder(fast, TEXTS, tuning=Tuning(how="full"), whitening=None)
    with torch.autocast("cpu", torch.bfloat16):  # which keeps 16-bit copies of weights
        with torch.no_grad():
            encoder(EVERY)
        found = gradients(encoder)
    assert all(value is not None for value in found.values())


def test_vectors_are_whitened_by_the_statistics_given(tiny_bert) -> None:
    raw = reader(tiny_bert).encode(TEXTS).vectors
    whitening = fit_whitening(raw, method="pca", dim=2)
    encoder = TunedEncoder(reader(tiny_bert), TEXTS, tuning=Tuning(how="lora"), whitening=whitening)
    received = encoder(torch.tensor([3, 0]))
    torch.testing.assert_close(received, whitening(raw)[[3, 0]], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_gpt", "tiny_multilingual"])
def test_a_prefix_is_all_that_is_trained_and_reaches_every_text(request, model) -> None:
    folder = request.getfixturevalue(model)
    encoder = tuned(folder, "prefix", prefix_length=3, budget=8)  # several batches
    (trained,) = encoder.parameters()
    assert trained.shape[0] == 3 and set(encoder.state_dict()) == {
        name for name, _ in encoder.named_parameters()
    }
    (slope,) = gradients(encoder).values()
    assert (slope.abs().amax(1) > 0).all()
    together = encoder(EVERY)
    alone = torch.cat([encoder(torch.tensor([place])) for place in EVERY])
    torch.testing.assert_close(alone, together)
    torch.testing.assert_close(encoder.reader.encode(TEXTS).vectors, together)  # new texts too
    with torch.no_grad():
        trained.zero_()
    assert (encoder(EVERY) - together).abs().max() > 1e-6


def test_a_prefix_leaves_a_text_the_positions_behind_it(tiny_bert) -> None:
    encoder = tuned(tiny_bert, "prefix", texts=["toy " * 60], prefix_length=5)
    assert len(encoder.tokens["input_ids"][0]) == 32 - 5  # of 32 positions
    assert torch.isfinite(encoder(torch.tensor([0]))).all()


def test_the_bundled_encoder_takes_a_prefix() -> None:
    encoder = TunedEncoder(
        TextEncoder(EncoderSpec()), TEXTS, tuning=Tuning(how="prefix"), whitening=None
    )
    (trained,) = encoder.parameters()
    assert trained.shape == (8, 6 * 2 * 384)  # a key and a value in each of 6 layers
    assert gradients(encoder).popitem()[1].abs().max() > 0


def test_an_encoder_whose_layers_ignore_a_prefix_is_refused(tiny_t5) -> None:
    with pytest.raises(EncoderError, match=r"takes no prefix \(its layers ignore it\). Use lora"):
        tuned(tiny_t5, "prefix")


SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
OF_DISTILBERT = {"dim": 16, "hidden_dim": 16, "n_heads": 2, "n_layers": 1}


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("MPNet", SIZES), ("ModernBert", SIZES), ("DistilBert", OF_DISTILBERT)],
)
def test_encoders_that_docs_name_as_taking_no_prefix_are_refused(
    write_encoder, kind, sizes
) -> None:
    folder = write_encoder(kind, **sizes)
    with pytest.raises(EncoderError, match=r"takes no prefix .*Use lora"):
        tuned(folder, "prefix")
    assert gradients(tuned(folder, "lora"))  # as it says


def test_more_layers_than_there_are_is_an_error(tiny_gpt) -> None:
    with pytest.raises(EncoderError, match=r"text_tuning_layers: .* has 2 layers, received 3"):
        tuned(tiny_gpt, "last_layers", num_layers=3)


@pytest.mark.parametrize("has_gradient", [True, False])
def test_out_of_memory_halves_the_batch_also_where_gradients_are_kept(
    tiny_bert, monkeypatch, caplog, has_gradient
) -> None:
    encoder, embed, sizes = tuned(tiny_bert, "full"), TextEncoder.embed, []
    with torch.set_grad_enabled(has_gradient):
        expected = encoder(EVERY)

        def embed_two(self, padded):
            sizes.append(len(padded["input_ids"]))
            if sizes[-1] > 2:
                raise torch.OutOfMemoryError
            return embed(self, padded)

        monkeypatch.setattr(TextEncoder, "embed", embed_two)
        torch.testing.assert_close(encoder(EVERY), expected)
    assert sizes[0] == 4 and max(sizes[-2:]) <= 2 and "Out of memory: trying" in caplog.text


def test_a_step_that_never_fits_says_what_to_set(tiny_bert, monkeypatch) -> None:
    encoder = tuned(tiny_bert, "full")

    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 B")

    monkeypatch.setattr(TextEncoder, "embed", refuse)
    with pytest.raises(EncoderError, match=r"beside what a step keeps.*text_checkpointing: true"):
        encoder(EVERY)
    with torch.no_grad(), pytest.raises(EncoderError, match=r"one text of 5 tokens: .*\. Set"):
        encoder(EVERY)
