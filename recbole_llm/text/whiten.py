"""Whitening: text vectors of equal variance in every direction.

Sentence vectors crowd in a narrow cone; decorrelated, they serve a recommender better, and new
items most. Letters: n items that have text, D text-vector size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_llm.errors import RequestError


@dataclass(frozen=True)
class Whitening:
    """Statistics of a catalogue's vectors, by which these and new ones are whitened.

    Attributes:
        method: ``zca`` or ``pca``.
        dim: Axes that ``pca`` keeps; all if None.
        mean: ``(D,)`` float64.
        axes: The principal axes in columns, by ascending variance, ``(D, D)`` float64.
        scale: What whitens each, ``(D,)`` float64.
    """

    method: str
    dim: int | None
    mean: Tensor
    axes: Tensor
    scale: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Whiten ``(n, D)``, in float64, and return float32."""
        on_axes: Tensor = (vectors.double() - self.mean) @ self.axes * self.scale  # (n, D)
        return self._turned(on_axes).to(torch.float32)

    def matrix(self) -> Tensor:
        """Return what whitens centred vectors in one product, ``(D, D)`` or ``(D, dim)``."""
        return self._turned(self.axes * self.scale)

    def _turned(self, on_axes: Tensor) -> Tensor:
        if self.method == "zca":
            return on_axes @ self.axes.T
        return on_axes.flip(1)[:, : self.dim]


@dataclass(frozen=True)
class KeptWhitening:
    """Statistics of another catalogue, as a run keeps them.

    Attributes:
        mean: ``(D,)`` float64.
        product: What whitens centred vectors, ``(D, W)``.
    """

    mean: Tensor
    product: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Whiten ``(n, D)``, in float64, and return ``(n, W)`` float32."""
        return ((vectors.double() - self.mean) @ self.matrix()).float()

    def matrix(self) -> Tensor:
        """Return what whitens centred vectors in one product, ``(D, W)`` float64."""
        return self.product.double()


def fit_whitening(
    vectors: Tensor, *, method: str, eps: float = 1e-5, dim: int | None = None
) -> Whitening | None:
    """Return what gives vectors mean zero and, up to ``eps``, the identity as covariance.

    ``zca`` (Bell and Sejnowski, 1997) rotates back, so that the result is the white one closest to
    the input; ``pca`` leaves the principal axes in order of variance, of which ``dim`` may be kept.
    Directions without variance, as when n < D, stay near zero instead of being blown up.

    Args:
        vectors: ``(n, D)``.
        method: ``none``, ``zca`` or ``pca``.
        eps: Added to each variance, in units of the mean variance.
        dim: Axes that ``pca`` keeps.

    Returns:
        None where there is nothing to do: method ``none``, or no vectors.

    Raises:
        RequestError: If ``dim`` does not fit.
    """
    if dim is not None and (method != "pca" or dim > vectors.shape[1]):
        raise RequestError(
            f"whitening_dim: keeps at most {vectors.shape[1]} axes of whitening: pca, received "
            f"{dim} with {method}."
        )
    if method == "none" or len(vectors) == 0:
        return None
    mean = vectors.double().mean(0)
    centred = vectors.double() - mean
    covariance = centred.T @ centred / len(centred)  # (D, D)
    variance, axes = torch.linalg.eigh(covariance)  # ascending
    variance = variance.clamp(min=0)
    floor = eps * variance.mean()
    scale = torch.where(variance > floor, (variance + floor).rsqrt(), 0.0)
    return Whitening(method, dim, mean, axes, scale)


def whiten(vectors: Tensor, *, method: str, dim: int | None = None) -> Tensor:
    """Return vectors ``(n, D)`` whitened by their own statistics, float32.

    Args are those of :func:`fit_whitening`.
    """
    fitted = fit_whitening(vectors, method=method, dim=dim)
    return vectors.float() if fitted is None else fitted(vectors)
