"""Where a path turns: change points of a series of vectors; pure torch.

Letters: T steps, H size of a vector.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST = 3  # steps between two changes
STRICTNESS = 2.0  # a stretch is cut by chance with a probability of about T ** -STRICTNESS
KEPT = 0.9  # share of differences, the smallest, that tell of noise: the largest may be changes
PRIOR = 10  # steps without memory that are taken to have been seen: of few, it is a guess
STILL = 1e-9  # price of a change in a series without noise


def change_points(series: Tensor) -> list[int]:
    """Return the steps at which a new stretch begins, counted from 0.

    An interest that remembers moves smoothly, and a smooth series wanders without turning. So the
    memory ρ of a first-order autoregression is taken out first, y(t) - ρ y(t-1), with ρ from
    differences of steps, which changes hardly touch (Chakar et al., 2017, arXiv 1403.1958), drawn
    towards 0 where steps are few. What is left is parted into stretches of at least ``LEAST`` steps
    so that its squared distances from the mean of each stretch, plus a price for each change, are
    least (optimal partitioning: Jackson et al., 2005, arXiv math/0309285).

    The price is what a cut of mere noise gains at most: v (1 + 2 √(x / d) + 2 x / d), the bound of
    a chi-square (Laurent and Massart, 2000) with x = ``STRICTNESS`` · log T. The variance v of a
    step about its stretch and d, the number of directions that it spreads over, are those of
    differences of steps too.

    Args:
        series: ``(T, H)``.
    """
    steps = len(series)
    if steps < 2 * LEAST:
        return []
    points = series.double()
    near, far = (_usual(points[lag:] - points[:-lag]).square().sum(1).mean() for lag in (1, 2))
    memory = float((far / near - 1).clamp(0, 1)) if near > 0 else 0.0
    memory *= steps / (steps + PRIOR)
    fresh = torch.cat([(1 - memory) * points[:1], points[1:] - memory * points[:-1]])
    return best_partition(fresh, price=_price(fresh) + STILL)


def _usual(differences: Tensor) -> Tensor:
    """Return differences ``(T, H)`` without the largest, which may be changes."""
    order = differences.square().sum(1).argsort()
    return differences[order[: math.floor(KEPT * len(order))]]


def _price(points: Tensor) -> float:
    """Return what a cut gains at most where points ``(T, H)`` are noise about one mean."""
    usual = _usual(points[1:] - points[:-1])
    spread = usual.T @ usual / (2 * len(usual))  # a difference has the variance of two
    variance = float(spread.trace())
    if variance == 0:
        return 0.0
    directions = variance**2 / float(spread.square().sum())
    doubt = STRICTNESS * math.log(len(points)) / directions
    return variance * (1 + 2 * math.sqrt(doubt) + 2 * doubt)


def best_partition(points: Tensor, *, price: float) -> list[int]:
    """Return where the stretches of the best partition begin, but the first."""
    steps = len(points)
    sums = torch.cat([points.new_zeros(1, points.shape[1]), points.cumsum(0)])
    squares = torch.cat([points.new_zeros(1), points.square().sum(1).cumsum(0)])
    best = points.new_full((steps + 1,), torch.inf)  # cost of the first steps
    best[0] = -price
    begins = [0] * (steps + 1)
    for end in range(LEAST, steps + 1):
        first = torch.arange(end - LEAST + 1, device=points.device)
        within = (sums[end] - sums[first]).square().sum(1) / (end - first)
        total = best[first] + (squares[end] - squares[first] - within).clamp(min=0) + price
        begins[end] = int(total.argmin())
        best[end] = total[begins[end]]
    found, end = [], steps
    while (end := begins[end]) > 0:
        found.append(end)
    return found[::-1]
