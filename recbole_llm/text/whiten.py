"""Whitening: text vectors of equal variance in every direction, or in every entry.

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
        method: ``standard``, ``zca`` or ``pca``.
        dim: Axes that ``pca`` keeps; all if None.
        mean: ``(D,)`` float64.
        axes: The axes in columns, the principal ones by ascending variance or, of ``standard``,
            those of the entries, ``(D, D)`` float64.
        scale: What gives each variance 1, ``(D,)`` float64.
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
        if self.method == "pca":
            return on_axes.flip(1)[:, : self.dim]
        return on_axes @ self.axes.T


@dataclass(frozen=True)
class KeptWhitening:
    """What a run keeps of the statistics that whiten.

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

    ``standard`` does less: each entry has mean zero and variance one, and they stay correlated.
    ``zca`` (Bell and Sejnowski, 1997) rotates back, so that the result is the white one closest to
    the input; ``pca`` leaves the principal axes in order of variance, of which ``dim`` may be kept.
    Directions without variance, as when n < D, stay near zero instead of being blown up.

    Args:
        vectors: ``(n, D)``.
        method: ``none``, ``standard``, ``zca`` or ``pca``.
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
    if method == "standard":
        variance, axes = centred.square().mean(0), torch.eye(len(mean), dtype=mean.dtype)
    else:
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


def anisotropy(vectors: Tensor) -> float | None:
    """Return the mean cosine of all pairs of vectors, 0 where they point anywhere alike.

    Language models crowd theirs in a narrow cone (Ethayarajh, 2019, arXiv 1909.00512). The sum over
    pairs follows from the length of the sum of the unit vectors.

    Args:
        vectors: ``(n, D)``; those of length 0 have no direction and are left out.

    Returns:
        -1 to 1, or None of fewer than two vectors.
    """
    length = vectors.norm(dim=1, keepdim=True)
    number = int((length > 0).sum())
    if number < 2:
        return None
    unit = vectors / torch.where(length > 0, length, 1.0)
    total = unit.sum(0, dtype=torch.float64)
    return float((total.square().sum() - number) / (number * (number - 1)))
