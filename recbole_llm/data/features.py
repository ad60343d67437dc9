"""From a dataset's settings to the text vectors of its items, aligned by raw item id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_llm.data.encoders import encoder_spec, text_encoder
from recbole_llm.errors import DataError, NonFiniteError
from recbole_llm.settings import Settings
from recbole_llm.text.encoders import Encoder, TextEncoder
from recbole_llm.text.items import CoverageReport, ItemTexts, read_item_texts
from recbole_llm.text.store import VectorStore
from recbole_llm.text.tuning import TunedEncoder, Tuning
from recbole_llm.text.whiten import KeptWhitening, Whitening, anisotropy, fit_whitening

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemVectors:
    """Text vectors of a catalogue.

    Attributes:
        table: One row an item, ``(N, D)`` float32; row 0, padding, and items without text are 0.
        report: How the catalogue and the text file met.
        key: Cache key of the raw vectors.
        content: Digest of texts and encoder, the same on machines of other precision.
        seconds: Time spent on encoding, or on reading the cache.
        from_cache: Whether nothing had to be encoded.
        truncated: Number of texts that were longer than the encoder reads.
        raw: The vectors of those that have text as the encoder gave them, ``(n, D)``, before
            controls and whitening.
        rows: Their rows in the table.
        whitening: What whitened them, None where nothing did.
        texts: What the encoder read, ``(n,)``.
        per_second: Distinct texts a second when they were encoded, None where it is not known.
    """

    table: Tensor
    report: CoverageReport
    key: str
    content: str
    seconds: float
    from_cache: bool
    truncated: int
    raw: Tensor
    rows: Sequence[int]
    whitening: Whitening | KeptWhitening | None = None
    texts: Sequence[str] = ()
    per_second: float | None = None
    encoder: Mapping[str, Any] | None = None

    def raw_table(self) -> np.ndarray:
        """Return the vectors as the encoder gave them in the rows of their items, ``(N, D)``."""
        table = np.zeros((len(self.table), self.raw.shape[1]), dtype=np.float32)
        table[self.rows] = self.raw.numpy()
        return table

    def facts(self) -> dict[str, Any]:
        """Return what a result says of the text: cache key, speed, directions, coverage, texts cut.

        ``encoder`` is what identifies the encoder: weights (of a model id the commit), precision,
        pooling and the like.
        ``anisotropy`` is that of the encoder's vectors, ``treated_anisotropy`` that of the vectors
        which the model is given, after controls and whitening.
        """
        about = {"key": self.key, "from_cache": self.from_cache, "truncated": self.truncated}
        about |= {
            "encoder": self.encoder,
            "vectors_per_second": self.per_second,
            "anisotropy": anisotropy(self.raw),
            "treated_anisotropy": anisotropy(self.table[list(self.rows)]),
        }
        return about | vars(self.report)


def item_vectors(
    config: Mapping[str, Any],
    *,
    folder: Path,
    dataset: str,
    catalogue: Sequence[str],
    matrix: Tensor | None = None,
) -> ItemVectors | None:
    """Return the text vectors of a catalogue, or None where ``item_features`` names no ``text``.

    The arguments are those of :func:`text_vectors`.
    """
    if "text" not in Settings.from_config(config).features:
        return None
    return text_vectors(config, folder=folder, dataset=dataset, catalogue=catalogue, matrix=matrix)


def text_vectors(
    config: Mapping[str, Any],
    *,
    folder: Path,
    dataset: str,
    catalogue: Sequence[str],
    matrix: Tensor | None = None,
) -> ItemVectors:
    """Read, encode and treat the texts of a catalogue as the settings say.

    Args:
        config: RecBole's configuration; settings it lacks have their defaults.
        folder: Where ``<dataset>.item`` lies.
        dataset: The dataset's name.
        catalogue: Raw item ids; the first is padding.
        matrix: What whitens these vectors, centred, ``(D, W)``; that of their own statistics by
            default.

    Raises:
        DataError: If there is no file of items, it is damaged, or no item has a text.
    """
    settings = Settings.from_config(config)
    texts = catalogue_texts(config, folder=folder, dataset=dataset, catalogue=catalogue)
    is_odd = texts.report.duplicate_ids or texts.report.missing or texts.report.empty
    level = logging.WARNING if is_odd else logging.INFO
    logger.log(level, "Item text: %s", texts.report.summary())
    if not any(texts.texts):
        raise DataError(
            f"{folder / dataset}.item: not one of {len(texts.texts)} items has a text. Choose "
            "other text_fields, or item_features: id."
        )
    encoder = text_encoder(
        settings,
        [text for text in texts.texts if text is not None],
        device=str(config["device"]),
        show_progress=config["show_progress"],
    )
    return _encode(texts, settings=settings, encoder=encoder, seed=config["seed"], matrix=matrix)


def catalogue_texts(
    config: Mapping[str, Any], *, folder: Path, dataset: str, catalogue: Sequence[str]
) -> ItemTexts:
    """Read the texts of a catalogue as the settings say; its first entry is padding."""
    settings = Settings.from_config(config)
    return read_item_texts(
        folder / f"{dataset}.item",
        catalogue=catalogue[1:],
        id_field=config["ITEM_ID_FIELD"],
        text_fields=settings.text_fields,
        text_template=settings.text_template,
        empty_text=settings.empty_text,
        min_coverage=settings.min_text_coverage,
        separator=config["field_separator"],
        encoding=config["encoding"],
    )


def _encode(
    texts: ItemTexts,
    *,
    settings: Settings,
    encoder: Encoder,
    seed: int,
    matrix: Tensor | None,
) -> ItemVectors:
    store = VectorStore(Path(settings.text_cache_dir) if settings.text_cache_dir else None)
    rows = [row for row, text in enumerate(texts.texts, start=1) if text is not None]
    stored = store.get([text for text in texts.texts if text is not None], encoder)
    logger.info(
        "Text vectors: %d × %d %s in %.1fs, %d texts truncated",
        *stored.vectors.shape,
        "from the cache" if stored.from_cache else f"encoded by {settings.text_encoder}",
        stored.seconds,
        stored.truncated,
    )
    vectors = _controlled(stored.vectors, control=settings.text_control, seed=seed)
    table, whitening = whitened_table(
        vectors,
        rows=rows,
        num_items=len(texts.texts) + 1,
        settings=settings,
        place=f"text vectors {stored.key}",
        # Random vectors have no axes in common with another catalogue's: their own statistics make
        # them as white as the vectors that the weights know.
        matrix=None if settings.text_control == "random" else matrix,
    )
    return ItemVectors(
        table=table,
        report=texts.report,
        key=stored.key,
        content=stored.content,
        seconds=stored.seconds,
        from_cache=stored.from_cache,
        truncated=stored.truncated,
        raw=stored.vectors,
        rows=rows,
        whitening=whitening,
        texts=[text for text in texts.texts if text is not None],
        per_second=stored.per_second,
        encoder=encoder.fingerprint(),  # after the model was loaded, when its commit is known
    )


def whitened_table(
    vectors: Tensor,
    *,
    rows: Sequence[int],
    num_items: int,
    settings: Settings,
    place: str,
    matrix: Tensor | None = None,
) -> tuple[Tensor, Whitening | KeptWhitening | None]:
    """Return whitened vectors in the rows of their items, all others zero.

    Args:
        vectors: ``(n, D)``.
        rows: The item of each vector, ``(n,)``.
        num_items: N, padding included.
        settings: Our settings.
        place: What the vectors are, for an error.
        matrix: What whitens them, centred; that of their own statistics by default.

    Returns:
        ``(N, D)`` float32, and what whitened them.

    Raises:
        NonFiniteError: If whitening made a value that is not finite.
    """
    whitening: Whitening | KeptWhitening | None
    if matrix is not None:
        whitening = KeptWhitening(vectors.double().mean(0), matrix)
    else:
        whitening = fit_whitening(vectors, method=settings.whitening, dim=settings.whitening_dim)
    vectors = vectors.float() if whitening is None else whitening(vectors)
    if not torch.isfinite(vectors).all():
        raise NonFiniteError(
            f"{place}: whitening={settings.whitening} made non-finite values. Use whitening: none, "
            "or other vectors."
        )
    table = torch.zeros(num_items, vectors.shape[1])
    table[torch.tensor(rows, dtype=torch.long)] = vectors
    return table, whitening


def tuned_encoder(
    settings: Settings, vectors: ItemVectors | None, *, device: str
) -> TunedEncoder | None:
    """Return the encoder to train, with the distinct texts of a catalogue, or None if none is."""
    if vectors is None or settings.text_tuning == "frozen":
        return None
    tuning = Tuning(
        how=settings.text_tuning,
        num_layers=settings.text_tuning_layers,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        prefix_length=settings.prefix_length,
        is_checkpointed=settings.text_checkpointing,
    )
    return TunedEncoder(
        TextEncoder(encoder_spec(settings), device=device),
        list(dict.fromkeys(vectors.texts)),
        tuning=tuning,
        whitening=vectors.whitening,
    )


def text_places(vectors: ItemVectors) -> list[int]:
    """Return the place of each item's text among the distinct ones, -1 without text, ``(N,)``."""
    known = {text: place for place, text in enumerate(dict.fromkeys(vectors.texts))}
    places = [-1] * len(vectors.table)
    for row, text in zip(vectors.rows, vectors.texts, strict=True):
        places[row] = known[text]
    return places


def _controlled(vectors: Tensor, *, control: str, seed: int) -> Tensor:
    """Return the vectors, or a control without their meaning: random ones, or shuffled rows."""
    generator = torch.Generator().manual_seed(seed)
    if control == "random":
        return torch.randn(vectors.shape, generator=generator)
    if control == "shuffled":
        return vectors[torch.randperm(len(vectors), generator=generator)]
    return vectors
