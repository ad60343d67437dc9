"""Checkpoints as safetensors: weights and nothing that could be executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recbole_llm.errors import RunDirError
from recbole_llm.files import atomic_path
from recbole_llm.train.packing import pack, unpack

FORMAT = "recbole-llm checkpoint 1"
WEIGHT, OTHER = "weight/", "other/"  # prefixes of a tensor's name


def save_checkpoint(path: Path, model: Any, *, epoch: int) -> None:
    """Write a model's weights, and what RecBole calls its other parameters, atomically.

    Text and other item vectors are not written; the digests of what they were made of are.

    Raises:
        TypeError: If an other parameter holds more than numbers, texts, arrays and sparse matrices.
    """
    tensors = {WEIGHT + name: value for name, value in model.state_dict().items()}
    parts = list(model.modules())
    other = {
        name: pack(value, OTHER + name, tensors)
        for name, value in model.other_parameter().items()
        if not any(value is part for part in parts)  # its weights are the model's own
    }
    about = {"format": FORMAT, "epoch": epoch, "other": other, **vector_digests(model)}
    write_tensors(path, tensors, about=about)


def load_checkpoint(path: Path, model: Any, *, device: torch.device) -> int:
    """Load weights into a model, strictly, on any device, and return the epoch they are of.

    Raises:
        RunDirError: If the file is missing, damaged, of another model, or not one of ours. No file
            is ever unpickled.
    """
    fields = {"epoch": int, "text": str | None, "modalities": dict, "other": dict}
    tensors, about = read_tensors(path, kind=FORMAT, fields=fields, device=device)
    weights = {
        name.removeprefix(WEIGHT): tensor
        for name, tensor in tensors.items()
        if name.startswith(WEIGHT)
    }
    if any(not torch.isfinite(tensor).all() for tensor in weights.values()):
        raise RunDirError(f"{path}: holds weights that are not finite. Train the model again.")
    here = vector_digests(model)
    if about["text"] != here["text"]:
        raise RunDirError(
            f"{path}: these weights were trained on vectors of other texts, or of another encoder, "
            "than are here now. Restore the item file and the encoder, or train again."
        )
    if about["modalities"] != here["modalities"]:
        raise RunDirError(
            f"{path}: these weights were trained on other vectors than the files of modalities "
            f"({', '.join(here['modalities'])}) hold for these items now. Restore the files, or "
            "train again."
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunDirError(
            f"{path}: these weights are of another model than {type(model).__name__} as configured."
            f" {error}"
        ) from None
    try:
        other = {name: unpack(packed, tensors) for name, packed in about["other"].items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunDirError(f"{path}: its other parameters are damaged ({error!r}).") from None
    model.load_other_parameter(other)
    return int(about["epoch"])


def vector_digests(model: Any) -> dict[str, Any]:
    """Return the digests of the text vectors and of the modalities' that a model reads."""
    text = getattr(model, "item_vectors", None) or getattr(model, "item_text", None)
    modalities = getattr(model, "modality_vectors", {})
    return {
        "text": None if text is None else text.content,
        "modalities": {name: vectors.content for name, vectors in modalities.items()},
    }


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, about: Mapping[str, Any]) -> None:
    """Write tensors and a JSON object to a safetensors file, atomically."""
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as partial:
        save_file(owned, partial, metadata={"recbole-llm": json.dumps(about)})


def read_tensors(
    path: Path, *, kind: str, fields: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Args:
        path: The file.
        kind: The ``format`` its JSON object must name.
        fields: Keys the object must have, and their types.
        device: Where the tensors go.

    Raises:
        RunDirError: If the file is missing, damaged, or not of that kind.
    """
    if not path.is_file():
        raise RunDirError(
            f"{path}: no such checkpoint. Was the run stopped before its first validation?"
        )
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            # Cloned, since a tensor of the file changes with whatever is written over the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunDirError(
            f"{path}: not a safetensors file, or cut off ({error}). RecBole's .pth files are "
            "pickles, which can run code, and are never opened; train the model again."
        ) from None
    try:
        about = json.loads(metadata.get("recbole-llm", "{}"))
    except ValueError:
        about = {}
    is_ours = isinstance(about, dict) and about.get("format") == kind
    if not is_ours or not all(isinstance(about.get(key), want) for key, want in fields.items()):
        raise RunDirError(f"{path}: a safetensors file, but not a checkpoint of ours ({kind}).")
    return tensors, about
