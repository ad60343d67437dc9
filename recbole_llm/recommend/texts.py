"""New texts to item vectors, by the run's own encoder and the statistics of its catalogue.

Letters: n texts, D size of the encoder's vectors, H item-vector size.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_llm.data.encoders import text_encoder
from recbole_llm.errors import RunDirError
from recbole_llm.model.base import InterestModel
from recbole_llm.model.items import ItemRepresentation
from recbole_llm.recommend.catalogue import Catalogue, TextTreatment
from recbole_llm.settings import Settings
from recbole_llm.text.encoders import Encoder

LEAST_COSINE = 0.98  # of one text's vectors in float32 and bf16: 0.999 and more


class NewTexts:
    """Gives item vectors to texts that the run has not seen; safe to call from several threads.

    An item that is new has text alone: the part of its id is zero, and it is without an image or
    sound, as an item of the catalogue whose file of vectors lacks it.

    Args:
        encoder: What encodes; the model is loaded when the first text comes.
        treatment: What the run did with its texts' vectors.
        items: The run's item representation.
        sizes: Feature to the size of its given vectors, in the order of the representation.
        place: The run, for an error's message.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        treatment: TextTreatment,
        items: ItemRepresentation,
        sizes: dict[str, int],
        place: str,
    ) -> None:
        self.encoder, self.treatment = encoder, treatment
        self.items, self.sizes, self.place = items, sizes, place
        self._lock = threading.Lock()  # a tokenizer serves one caller at a time
        self._is_checked = False

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], *, device: torch.device) -> Tensor:
        """Return the item vectors of texts, ``(n, H)``.

        Raises:
            RunDirError: If the encoder here is not the run's.
            EncoderError: If it cannot be loaded.
        """
        with self._lock:
            self.require_the_runs_encoder()
            raw = self.encoder.encode(texts).vectors  # (n, D)
        given = [
            self.treatment.whiten(raw) if name == "text" else torch.zeros(len(texts), size)
            for name, size in self.sizes.items()
        ]
        return self.items.unseen([vectors.to(device) for vectors in given])

    def require_the_runs_encoder(self) -> None:
        """Compare the vectors of one text, whatever the precision they were made in.

        Raises:
            RunDirError: If they differ.
        """
        if self._is_checked:
            return
        here = self.encoder.encode([self.treatment.probe]).vectors[0]
        require_like(here, self.treatment, encoder=self.encoder, place=self.place)
        self._is_checked = True


def new_texts(
    catalogue: Catalogue, model: InterestModel, *, settings: Settings, device: str, place: str
) -> NewTexts | None:
    """Return what gives vectors to new texts, or None where the run has no vectors of texts.

    Args:
        catalogue: What the run kept.
        model: Its model; an encoder that was tuned is in it.
        settings: The run's settings, of which those of the encoder are read.
        device: Where an encoder goes that was not tuned.
        place: The run, for an error's message.
    """
    if catalogue.text is None:
        return None
    tuned, known = model.tuned_encoder, [text for text in catalogue.text.texts if text is not None]
    return NewTexts(
        text_encoder(settings, known, device=device) if tuned is None else tuned.reader,
        treatment=catalogue.text,
        items=model.items,
        sizes=catalogue.sizes,
        place=place,
    )


def require_like(here: Tensor, treatment: TextTreatment, *, encoder: Encoder, place: str) -> None:
    """Compare the vector of a run's probe ``(D,)``, as it is here, with what the run had.

    Raises:
        RunDirError: If they differ.
    """
    before = treatment.probe_vector
    is_like = len(here) == len(before) and (
        torch.cosine_similarity(here, before, dim=0) > LEAST_COSINE
    )
    if not is_like:
        raise RunDirError(
            f"{place}: text_encoder {encoder.name!r} gives {treatment.probe[:60]!r} another "
            "vector here than it gave the run. Restore the encoder, or train again."
        )
