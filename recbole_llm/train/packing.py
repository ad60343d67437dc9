"""Values as JSON and named tensors, for files that cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor


def pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a JSON form of a value whose arrays go to ``tensors`` under names below ``name``.

    Raises:
        TypeError: If it holds more than numbers, texts, arrays, sparse matrices, lists and
            dictionaries. Tuples become lists.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        tensors[name] = torch.from_numpy(value)
        return {"array": name}
    if scipy.sparse.issparse(value):
        matrix = value.tocsr()
        parts = [matrix.data, matrix.indices, matrix.indptr, matrix.shape]
        return {"sparse": pack([np.asarray(p) for p in parts], name, tensors)}
    if isinstance(value, list | tuple):
        return {"list": [pack(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]}
    if isinstance(value, dict):
        return {"dict": pack([list(item) for item in value.items()], name, tensors)}
    raise TypeError(f"{name!r} is a {type(value).__name__}, which has no safe form")


def unpack(packed: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that :func:`pack` packed.

    Raises:
        KeyError, ValueError, TypeError, AttributeError: If it did not.
    """
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].cpu().numpy()
    if kind == "list":
        return [unpack(part, tensors) for part in content]
    if kind == "dict":
        return {key: value for key, value in unpack(content, tensors)}
    if kind == "sparse":
        data, indices, indptr, shape = unpack(content, tensors)
        return scipy.sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))
    return content
