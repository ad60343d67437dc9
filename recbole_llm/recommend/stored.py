"""A run's model, built from its directory alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import scipy.sparse
import torch
from pydantic import ValidationError
from torch import Tensor

from recbole_llm.errors import RequestError, RunDirError
from recbole_llm.files import sha256
from recbole_llm.model.base import InterestModel
from recbole_llm.plugin import MODELS, OURS, load
from recbole_llm.recommend.catalogue import Catalogue
from recbole_llm.resume import StoredRun
from recbole_llm.run_dir import CATALOGUE, CONFIG, WEIGHTS
from recbole_llm.train.checkpoints import load_checkpoint


@dataclass(frozen=True)
class GivenVectors:
    """In place of a feature's vectors, of which a stored table needs the size alone.

    Attributes:
        table: ``(1, D)``.
        content: Their digest.
        texts: None; an encoder that was tuned is here for new ones.
        rows: None either.
        whitening: None; the catalogue's statistics treat a new text.
    """

    table: Tensor
    content: str
    texts: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    whitening: None = None


class StoredItems:
    """What a model asks a dataset for when it is built, from a catalogue.

    Args:
        catalogue: The catalogue.
        item_field: Name of the field of items.
    """

    known_items = None

    def __init__(self, catalogue: Catalogue, *, item_field: str) -> None:
        self.catalogue = catalogue
        self.inter_feat = {item_field: torch.arange(len(catalogue.items))}

    def num(self, field: str) -> int:
        """Return the number of items, padding included; no other field is asked for."""
        return len(self.catalogue.items)

    def inter_matrix(self) -> scipy.sparse.coo_matrix:
        """Return no interactions: what training counted is in the weights."""
        return scipy.sparse.coo_matrix((1, 1))

    def item_vectors(self) -> GivenVectors | None:
        """Return what stands for the text vectors."""
        return self._given("text", self.catalogue.digests["text"])

    def modality_vectors(self) -> dict[str, GivenVectors]:
        """Return what stands for the vectors of each other feature."""
        found = {
            name: self._given(name, digest)
            for name, digest in self.catalogue.digests["modalities"].items()
        }
        return {name: given for name, given in found.items() if given is not None}

    def _given(self, name: str, digest: str | None) -> GivenVectors | None:
        if digest is None:
            return None
        return GivenVectors(torch.zeros(1, self.catalogue.sizes[name]), digest)


def require_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        RequestError: If it is neither ``cpu`` nor a GPU of this machine.
    """
    gpus = [f"cuda:{at}" for at in range(torch.cuda.device_count())]
    known = ["cpu", *(["cuda"] if gpus else []), *gpus]
    if device not in known:
        raise RequestError(f"device: must be one of {', '.join(known)}; received {device!r}.")


def require_ours(stored: StoredRun) -> None:
    """Refuse a run whose model scores no items by their vectors.

    Raises:
        RequestError: If it is one of RecBole's, or a control without vectors.
    """
    name = stored.facts["model"]
    if name not in OURS or not issubclass(load(OURS[name].model), InterestModel):
        raise RequestError(
            f"{stored.run_dir}: recommends by item vectors, which {name} has not. Name a run of "
            f"{', '.join(MODELS)} or LastItemTextKNN; load_run opens any run together with its "
            "data."
        )


def stored_model(
    stored: StoredRun,
    catalogue: Catalogue,
    *,
    device: torch.device,
    trust_remote_code: bool = False,
) -> InterestModel:
    """Return a run's model with its weights, in evaluation mode; its item table is the catalogue's.

    Args:
        stored: The run.
        catalogue: What it kept.
        device: Where the model goes.
        trust_remote_code: Whether an encoder that was tuned may run code of its own.

    Raises:
        EncoderError: If an encoder that was tuned cannot be loaded.
        RunDirError: If the files are not of one run, or damaged.
    """
    weights = stored.run_dir / WEIGHTS
    if not weights.is_file() or sha256(weights) != catalogue.weights_sha256:
        raise RunDirError(
            f"{weights}: must be the weights that {CATALOGUE} was made of. Copy both files of one "
            "run, or train again."
        )
    config = {**stored.facts["settings"], "device": device, "trust_remote_code": trust_remote_code}
    try:
        dataset = StoredItems(catalogue, item_field=config["ITEM_ID_FIELD"])
        model_class: Any = load(OURS[stored.facts["model"]].model)
        model: InterestModel = model_class(config, dataset).to(device)
    except (KeyError, ValidationError) as error:
        raise RunDirError(
            f"{stored.run_dir / CONFIG}: its settings are damaged ({error!r})."
        ) from None
    load_checkpoint(weights, model, device=device)
    model.eval()
    return model
