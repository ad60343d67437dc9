"""Estimators of the mean effect of an exposure from a log of exposures and outcomes.

n pairs of a user and an item; the effect of a pair is its outcome if it is exposed minus its
outcome if it is not, and a log has one of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Log:
    """What was observed, and with which propensity, ``(n,)`` each.

    Attributes:
        exposed: Whether a pair was exposed.
        outcome: What followed.
        propensity: The probability of its exposure.
    """

    exposed: np.ndarray
    outcome: np.ndarray
    propensity: np.ndarray


def naive(log: Log) -> float:
    """Return the mean outcome of the exposed minus that of all others."""
    return float(log.outcome[log.exposed].mean() - log.outcome[~log.exposed].mean())


def ips(log: Log, *, clip: float = 0.0) -> float:
    """Return the inverse-propensity estimate (Horvitz and Thompson, 1952).

    Unbiased if propensities are right and neither 0 nor 1, and no lower than ``clip``.
    """
    exposed, others = _arms(log, clip=clip)
    return float((exposed * log.outcome).mean() - (others * log.outcome).mean())


def snips(log: Log, *, clip: float = 0.0) -> float:
    """Return the self-normalised estimate (Hájek, 1971; Swaminathan and Joachims, 2015).

    Biased in small logs, of less variance; a constant added to all outcomes changes nothing.
    """
    exposed, others = _arms(log, clip=clip)
    means = [(arm * log.outcome).sum() / arm.sum() for arm in (exposed, others)]
    return float(means[0] - means[1])


def _arms(log: Log, *, clip: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of pairs as exposed, and as not, ``(n,)`` each."""
    exposed = log.exposed / np.maximum(log.propensity, clip)
    return exposed, ~log.exposed / np.maximum(1 - log.propensity, clip)
