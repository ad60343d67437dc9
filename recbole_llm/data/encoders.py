"""What encodes the texts of a catalogue, as the settings say."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_llm.errors import RequestError
from recbole_llm.settings import WORD_COUNTS, Settings
from recbole_llm.text.counts import WordCounts
from recbole_llm.text.encoders import Encoder, TextEncoder
from recbole_llm.text.models import EncoderSpec


def text_encoder(
    settings: Settings, texts: Sequence[str], *, device: str, show_progress: bool = False
) -> Encoder:
    """Return what encodes texts as the settings say.

    Args:
        settings: Our settings.
        texts: Those of the catalogue, to which ``tfidf`` is fitted.
        device: ``cpu`` or ``cuda``.
        show_progress: Whether to show a bar.
    """
    if settings.text_encoder in WORD_COUNTS:
        return WordCounts(settings.text_encoder, texts, dim=settings.text_dim)
    return TextEncoder(
        encoder_spec(settings),
        device=device,
        cache=settings.text_cache_dir,
        show_progress=show_progress,
    )


def encoder_spec(settings: Settings) -> EncoderSpec:
    """Return the language model that the settings ask for.

    Raises:
        RequestError: If they ask for counts of words.
    """
    if settings.text_encoder in WORD_COUNTS:
        raise RequestError(
            f"text_encoder: {settings.text_encoder} counts words, and this needs a language model. "
            "Name one."
        )
    return EncoderSpec(
        name=settings.text_encoder,
        revision=settings.text_revision,
        pooling=settings.text_pooling,
        max_length=settings.text_max_length,
        prompt=settings.text_prompt,
        dtype=settings.text_dtype,
        dim=settings.text_dim,
        backend=settings.text_backend,
        trust_remote_code=settings.trust_remote_code,
    )
