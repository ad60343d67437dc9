"""A plane in which a path is seen; pure torch.

Letters: T points, G directions, H size of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Plane:
    """The plane that shows most of how points differ: their first two principal components.

    Attributes:
        center: Their mean, ``(H,)``.
        axes: ``(2, H)``; the largest entry of each is positive, so that a picture does not flip.
        shares: Of the points' variance, that along each axis.
    """

    center: Tensor
    axes: Tensor
    shares: tuple[float, float]

    def places(self, points: Tensor) -> Tensor:
        """Return where vectors ``(T, H)`` are seen, ``(T, 2)``; only their direction matters."""
        return (_unit(points) - self.center) @ self.axes.T

    def arrows(self, directions: Tensor) -> Tensor:
        """Return how directions ``(G, H)`` are seen, ``(G, 2)``, at most of length 1."""
        return _unit(directions) @ self.axes.T


def plane_of(points: Tensor) -> Plane:
    """Return the plane of vectors ``(T, H)``, of which the directions count."""
    unit = _unit(points)
    center = unit.mean(0)
    _, sizes, axes = torch.linalg.svd(unit - center, full_matrices=False)
    axes, sizes = functional.pad(axes, (0, 0, 0, 2))[:2], functional.pad(sizes, (0, 2))
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = torch.where(largest < 0, -axes, axes)
    total = float(sizes.square().sum()) or 1.0
    first, second = (float(size) ** 2 / total for size in sizes[:2])
    return Plane(center, axes, (first, second))


def _unit(points: Tensor) -> Tensor:
    return functional.normalize(points.double(), dim=-1)
