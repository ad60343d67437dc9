"""Whitening: text vectors of equal variance in every direction.

Sentence vectors crowd in a narrow cone; decorrelated, they serve a recommender better, and new
items most. Letters: n items that have text, D text-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_llm.errors import RequestError


def whiten(vectors: Tensor, *, method: str, eps: float = 1e-5, dim: int | None = None) -> Tensor:
    """Return vectors with mean zero and, up to ``eps``, the identity as covariance.

    ``zca`` (Bell and Sejnowski, 1997) rotates back, so that the result is the white one closest to
    the input; ``pca`` leaves the principal axes in order of variance, of which ``dim`` may be kept.
    Directions without variance, as when n < D, stay near zero instead of being blown up.

    Args:
        vectors: ``(n, D)``.
        method: ``none``, ``zca`` or ``pca``.
        eps: Added to each variance, in units of the mean variance.
        dim: Axes that ``pca`` keeps.

    Returns:
        ``(n, D)`` or ``(n, dim)``, float32; computed in float64.

    Raises:
        RequestError: If ``dim`` does not fit.
    """
    if dim is not None and (method != "pca" or dim > vectors.shape[1]):
        raise RequestError(
            f"whitening_dim: keeps at most {vectors.shape[1]} axes of whitening: pca, received "
            f"{dim} with {method}."
        )
    if method == "none" or len(vectors) == 0:
        return vectors.float()
    centred = vectors.double() - vectors.double().mean(0)
    covariance = centred.T @ centred / len(centred)  # (D, D)
    variance, axes = torch.linalg.eigh(covariance)  # ascending
    variance = variance.clamp(min=0)
    floor = eps * variance.mean()
    scale = torch.where(variance > floor, (variance + floor).rsqrt(), 0.0)
    on_axes: Tensor = centred @ axes * scale  # (n, D)
    on_axes = on_axes @ axes.T if method == "zca" else on_axes.flip(1)[:, :dim]
    return on_axes.to(torch.float32)
