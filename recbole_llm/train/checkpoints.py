"""Checkpoints as safetensors: weights and nothing that could be executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from recbole_llm.errors import RunDirError
from recbole_llm.files import atomic_path

FORMAT = "recbole-llm checkpoint 1"
WEIGHT, OTHER = "weight/", "other/"  # prefixes of a tensor's name


def save_checkpoint(path: Path, model: Any, *, epoch: int) -> None:
    """Write a model's weights, and what RecBole calls its other parameters, atomically.

    Text and other item vectors are not written; the digests of what they were made of are.

    Raises:
        TypeError: If an other parameter holds more than numbers, texts, arrays and sparse matrices.
    """
    tensors = {WEIGHT + name: value for name, value in model.state_dict().items()}
    other = {
        name: _pack(value, OTHER + name, tensors, model=model)
        for name, value in model.other_parameter().items()
    }
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    about = {"format": FORMAT, "epoch": epoch, "other": other, **_vectors(model)}
    with atomic_path(path) as partial:
        save_file(owned, partial, metadata={"recbole-llm": json.dumps(about)})


def load_checkpoint(path: Path, model: Any, *, device: torch.device) -> int:
    """Load weights into a model, strictly, on any device, and return the epoch they are of.

    Raises:
        RunDirError: If the file is missing, damaged, of another model, or not one of ours. No file
            is ever unpickled.
    """
    tensors, about = _read(path, device=device)
    weights = {
        name.removeprefix(WEIGHT): tensor
        for name, tensor in tensors.items()
        if name.startswith(WEIGHT)
    }
    if any(not torch.isfinite(tensor).all() for tensor in weights.values()):
        raise RunDirError(f"{path}: holds weights that are not finite. Train the model again.")
    here = _vectors(model)
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
        other = {
            name: _unpack(packed, tensors)
            for name, packed in about["other"].items()
            if "submodule" not in packed
        }
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RunDirError(f"{path}: its other parameters are damaged ({error!r}).") from None
    model.load_other_parameter(other)
    return int(about["epoch"])


def _vectors(model: Any) -> dict[str, Any]:
    """Return the digests of the text vectors and of the modalities' that a model reads."""
    text, modalities = getattr(model, "item_vectors", None), getattr(model, "modality_vectors", {})
    return {
        "text": None if text is None else text.content,
        "modalities": {name: vectors.content for name, vectors in modalities.items()},
    }


def _read(path: Path, *, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise RunDirError(
            f"{path}: no such checkpoint. Was the run stopped before its first validation?"
        )
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunDirError(
            f"{path}: not a safetensors file, or cut off ({error}). RecBole's .pth files are "
            "pickles, which can run code, and are never opened; train the model again."
        ) from None
    try:
        about = json.loads(metadata.get("recbole-llm", "{}"))
    except ValueError:
        about = {}
    fields = {"format": str, "epoch": int, "text": str | None, "modalities": dict, "other": dict}
    is_ours = isinstance(about, dict) and about.get("format") == FORMAT
    if not is_ours or not all(isinstance(about.get(key), kind) for key, kind in fields.items()):
        raise RunDirError(f"{path}: a safetensors file, but not a checkpoint of ours ({FORMAT}).")
    return tensors, about


def _pack(value: Any, name: str, tensors: dict[str, Tensor], *, model: nn.Module) -> Any:
    """Return a JSON form of a value whose arrays go to ``tensors`` under names below ``name``."""
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, nn.Module) and any(value is part for part in model.modules()):
        return {"submodule": True}  # its weights are the model's own
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        tensors[name] = torch.from_numpy(value)
        return {"array": name}
    if scipy.sparse.issparse(value):
        matrix = value.tocsr()
        parts = [matrix.data, matrix.indices, matrix.indptr, matrix.shape]
        return {"sparse": _pack([np.asarray(p) for p in parts], name, tensors, model=model)}
    if isinstance(value, list | tuple):
        packed = [_pack(v, f"{name}/{i}", tensors, model=model) for i, v in enumerate(value)]
        return {"list": packed}
    if isinstance(value, dict):
        items = _pack([list(item) for item in value.items()], name, tensors, model=model)
        return {"dict": items}
    raise TypeError(f"other parameter {name!r} is a {type(value).__name__}, which has no safe form")


def _unpack(packed: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].cpu().numpy()
    if kind == "list":
        return [_unpack(part, tensors) for part in content]
    if kind == "dict":
        return {key: value for key, value in _unpack(content, tensors)}
    if kind == "sparse":
        data, indices, indptr, shape = _unpack(content, tensors)
        return scipy.sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))
    return content
