"""What a run keeps to recommend by: items, titles, histories, and what treats a new text.

One safetensors file in the run's directory; names are compressed JSON in it. Letters: N items (row
0 is padding), U users, E events of all users, M twins, H item-vector size, D size of the encoder's
vectors, W size after whitening.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_llm.errors import RunDirError
from recbole_llm.run_dir import CATALOGUE, CONFIG, UPDATES, read_json
from recbole_llm.text.whiten import KeptWhitening
from recbole_llm.train.checkpoints import read_tensors, write_tensors

FORMAT = "recbole-llm catalogue 1"
NAMES = ("items", "titles", "users", "genres")
TENSORS = ("ends", "events", "lasts", "table", "twins", "firsts")
FACTS = ("sizes", "digests", "weights_sha256")


@dataclass(frozen=True)
class TextTreatment:
    """What makes of a new text what the run made of its own.

    Attributes:
        texts: What the encoder reads of each item, None where it has no text, ``(N,)``; none at all
            in a catalogue of an older version.
        columns: Those of an ``.item`` file that make a text, in order.
        title_column: The one that is a title.
        probe: One of the run's texts.
        probe_vector: Its vector as the run's encoder gave it, ``(D,)``.
        mean: Mean of the catalogue's vectors, ``(D,)`` float64; None without whitening.
        matrix: What whitens, ``(D, W)`` float32; None without whitening.
    """

    texts: list[str | None]
    columns: list[str]
    title_column: str
    probe: str
    probe_vector: Tensor
    mean: Tensor | None
    matrix: Tensor | None

    def whiten(self, vectors: Tensor) -> Tensor:
        """Treat vectors ``(n, D)`` by the catalogue's statistics, ``(n, W)`` float32."""
        whitening = self.whitening
        return vectors if whitening is None else whitening(vectors)

    @property
    def whitening(self) -> KeptWhitening | None:
        """The catalogue's statistics; None without whitening."""
        if self.mean is None or self.matrix is None:
            return None
        return KeptWhitening(self.mean, self.matrix)


@dataclass(frozen=True)
class Catalogue:
    """What a run keeps to recommend by.

    Attributes:
        items: Raw item ids; the first is padding, ``(N,)``.
        titles: One an item, None where it has none, ``(N,)``.
        genres: The genres, classes or tags of each, ``(N,)``; none at all in a catalogue of an
            older version.
        users: Raw user ids, ``(U,)``; none where histories were not at hand.
        ends: Where each user's events end, ``(U,)``.
        events: Items of all events, user after user, in time order, ``(E,)``.
        lasts: Time of each user's last event, ``(U,)`` float32, -inf where a user has none; none
            at all where the run read no times, or in a catalogue of an older version.
        table: The item vectors of the run's best epoch, ``(N, H)``.
        twins: Items that are to the model what an earlier item is, ``(M,)``.
        firsts: The first such item of each, ``(M,)``.
        sizes: Feature to the size of its given vectors, in the model's order.
        digests: Those of the given vectors, which the weights were trained on.
        weights_sha256: Digest of the file of weights.
        text: None where the run reads no text, or no text of its own.
    """

    items: list[str]
    titles: list[str | None]
    genres: list[list[str]]
    users: list[str]
    ends: Tensor
    events: Tensor
    lasts: Tensor
    table: Tensor
    twins: Tensor
    firsts: Tensor
    sizes: dict[str, int]
    digests: dict[str, Any]
    weights_sha256: str
    text: TextTreatment | None


def write_catalogue(run_dir: Path, catalogue: Catalogue) -> None:
    """Write a catalogue into a run's directory, whole or not at all."""
    tensors = {name: getattr(catalogue, name) for name in TENSORS}
    tensors |= {name: _packed(getattr(catalogue, name)) for name in NAMES}
    about: dict[str, Any] = {"format": FORMAT, "text": None}
    about |= {name: getattr(catalogue, name) for name in FACTS}
    if (text := catalogue.text) is not None:
        names = ("columns", "title_column", "probe")
        about["text"] = {name: getattr(text, name) for name in names}
        parts = {"probe": text.probe_vector, "mean": text.mean, "matrix": text.matrix}
        tensors |= {f"text/{key}": part for key, part in parts.items() if part is not None}
        tensors["text/texts"] = _packed(text.texts)
    write_tensors(run_dir / CATALOGUE, tensors, about=about)


def read_catalogue(run_dir: Path) -> Catalogue:
    """Read the catalogue of a run.

    Raises:
        RunDirError: If it is missing or damaged.
    """
    path = run_dir / CATALOGUE
    if not path.is_file():
        if updates := read_json(run_dir / CONFIG).get(UPDATES):
            raise RunDirError(
                f"{path}: no such file, for the update that began this directory did not end. "
                f"Update {updates[-1]['run']} again."
            )
        raise RunDirError(
            f"{path}: no such file. A run writes it when it ends and keeps its weights. Go on with "
            "a stopped run by --resume; docs/recommend.md says how an older one gets its file."
        )
    fields = {"sizes": dict, "digests": dict, "weights_sha256": str, "text": dict | None}
    tensors, about = read_tensors(path, kind=FORMAT, fields=fields, device=torch.device("cpu"))
    added = {"genres": _packed([]), "text/texts": _packed([]), "lasts": torch.zeros(0)}
    tensors = added | tensors
    try:
        parts: dict[str, Any] = {key: _unpacked(tensors[key]) for key in NAMES}
        parts |= {key: tensors[key] for key in TENSORS} | {key: about[key] for key in FACTS}
        return Catalogue(**parts, text=_treatment(about["text"], tensors))
    except (KeyError, ValueError, TypeError, zlib.error) as error:
        raise RunDirError(f"{path}: is damaged ({error!r}). Train the run again.") from None


def _treatment(
    facts: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]
) -> TextTreatment | None:
    if facts is None:
        return None
    return TextTreatment(
        texts=_unpacked(tensors["text/texts"]),
        columns=facts["columns"],
        title_column=facts["title_column"],
        probe=facts["probe"],
        probe_vector=tensors["text/probe"],
        mean=tensors.get("text/mean"),
        matrix=tensors.get("text/matrix"),
    )


def _packed(names: Sequence[Any]) -> Tensor:
    content = zlib.compress(json.dumps(names).encode())
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _unpacked(packed: Tensor) -> list[Any]:
    names = json.loads(zlib.decompress(packed.numpy().tobytes()))
    if not isinstance(names, list):
        raise ValueError("names must be a list")
    return names
