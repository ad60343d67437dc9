"""A world of which the effect of every exposure is known, made of real ratings.

U users, N items. A user who meets an item clicks if they like it. They meet it if it is exposed to
them, or by themselves, which is the more likely the more popular it is: then an exposure changes
nothing. What is exposed depends on popularity, and in some worlds on what the user likes too, and
so does the click: these confound the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST, MOST = 0.005, 0.95  # of a propensity


@dataclass(frozen=True)
class World:
    """All that is true of users and items.

    Attributes:
        taste: How likely a user likes an item, ``(U, N)``.
        found: How likely an item is met without an exposure, ``(N,)``.
        propensity: How likely it is exposed to a user, ``(U, N)``.
    """

    taste: np.ndarray
    found: np.ndarray
    propensity: np.ndarray

    @property
    def effect(self) -> np.ndarray:
        """Return by how much an exposure raises the probability of a click, ``(U, N)``."""
        return self.taste * (1 - self.found)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return what was exposed and what was clicked, ``(U, N)`` booleans."""
        exposed = rng.random(self.taste.shape) < self.propensity
        is_met = exposed | (rng.random(self.taste.shape) < self.found)
        return exposed, is_met & (rng.random(self.taste.shape) < self.taste)


def world_of(predicted: np.ndarray, counts: np.ndarray, *, by_taste: float) -> World:
    """Return a world in which a rating of 4 is liked with probability 1/2, one of 3 with 0.12.

    The most popular item is met without an exposure half of the time, and exposed 0.4 of the time
    to a user who likes it as much as their mean item.

    Args:
        predicted: The rating of each item by each user, ``(U, N)``.
        counts: How many ratings each item has, ``(N,)``.
        by_taste: How often exposures double for a standard deviation of a user's taste; 0 is never:
            they depend on popularity alone.
    """
    popularity = counts / counts.max()
    apart = predicted - predicted.mean(1, keepdims=True)
    propensity = 0.4 * popularity * 2 ** (by_taste * apart / apart.std())
    return World(
        taste=1 / (1 + np.exp(-2 * (predicted - 4))),
        found=0.5 * np.sqrt(popularity),
        propensity=np.clip(propensity, LEAST, MOST),
    )


def completed(stars: np.ndarray, *, rank: int, rounds: int) -> np.ndarray:
    """Return ratings with all gaps filled by a low-rank fit, ``(U, N)``.

    Gaps start at the mean rating of user and item, and are filled by the truncated singular value
    decomposition of the whole, again and again (Kurucz et al., 2007).
    """
    is_given = stars > 0
    mean = stars[is_given].mean()
    users, items = (
        ((stars - mean) * is_given).sum(axis) / (is_given.sum(axis) + 5)  # shrunk to the mean
        for axis in (1, 0)
    )
    base = mean + users[:, None] + items
    rest = np.zeros_like(base)
    for _ in range(rounds):
        left, size, right = np.linalg.svd(np.where(is_given, stars - base, rest), False)
        rest = (left[:, :rank] * size[:rank]) @ right[:rank]
    return (base + rest).clip(1, 5)


def popularity_propensity(exposed: np.ndarray, clicked: np.ndarray, *, power: float) -> np.ndarray:
    """Return propensities by popularity, as training has them, ``(U, N)``.

    An item's is its share of the most clicked item's clicks, to a power, at the scale at which the
    mean over items is the share that was exposed.
    """
    clicks = clicked.sum(0).clip(1)
    share = (clicks / clicks.max()) ** power
    scaled = np.clip(share * exposed.mean() / share.mean(), LEAST, MOST)
    return np.broadcast_to(scaled, exposed.shape)
