"""What an interest is near to: genres and words, by the items that have them.

Letters: T interests, N items (row 0 is padding), G groups of items, H item-vector size.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PRIOR = 5  # items of the catalogue's mean that every group is taken to have as well
LEAST_ITEMS, MOST_SHARE = 5, 0.2  # of a word: rarer ones are an item, commoner ones no subject
LEAST_LETTERS = 3  # of a word


@dataclass(frozen=True)
class Groups:
    """Groups of items, and how near an interest is to each.

    Attributes:
        names: G names.
        directions: From the catalogue's mean vector to that of each group, drawn towards the former
            where a group is small, ``(G, H)`` float64.
        spread: Covariance of the catalogue's vectors, ``(H, H)`` float64.
    """

    names: list[str]
    directions: Tensor
    spread: Tensor

    def affinity(self, interests: Tensor) -> Tensor:
        """Return how near interests ``(T, H)`` are to the groups, ``(T, G)``.

        The mean score of a group's items above that of all, in standard deviations of all items'
        scores: 0 is an average group, whatever the length of an interest. It needs no N × T scores.
        What popularity adds to a score is no interest's, and left out.
        """
        exact = interests.double()
        deviation = torch.einsum("th,hk,tk->t", exact, self.spread, exact).clamp(min=0).sqrt()
        nearness = exact @ self.directions.T / deviation[:, None]
        return torch.where(deviation[:, None] > 0, nearness, 0.0)


def groups_of(labels: Sequence[Sequence[str]], vectors: Tensor) -> Groups:
    """Return the groups that items form by their labels.

    Args:
        labels: Those of each item, none twice, ``(N,)``.
        vectors: What interests are compared with, ``(N, H)``.
    """
    items = vectors[1:].double()
    center = items.mean(0)
    names = sorted({label for own in labels[1:] for label in own})
    place = {name: at for at, name in enumerate(names)}
    pairs = [(place[label], row) for row, own in enumerate(labels[1:]) for label in own]
    group, item = torch.tensor(pairs, dtype=torch.int64, device=vectors.device).view(-1, 2).T
    sums = items.new_zeros(len(names), items.shape[1]).index_add(0, group, items[item] - center)
    counts = torch.bincount(group, minlength=len(names))
    apart = items - center
    return Groups(names, sums / (counts + PRIOR)[:, None], apart.T @ apart / len(items))


def title_words(titles: Sequence[str | None]) -> list[list[str]]:
    """Return the words of titles that say something of several items, in lower case, ``(N,)``."""
    words = [list(dict.fromkeys(_words(title or ""))) for title in titles]
    counts = Counter(word for own in words for word in own)
    most = MOST_SHARE * (len(titles) - 1)
    return [[word for word in own if LEAST_ITEMS <= counts[word] <= most] for own in words]


def _words(title: str) -> list[str]:
    """Return words in lower case; letters of many scripts have marks of their own behind them."""
    read = [(char, unicodedata.category(char)[0]) for char in unicodedata.normalize("NFC", title)]
    whole = "".join(char if kind in "LMN" or char in "'’-" else " " for char, kind in read)
    words = [word.strip("'’-") for word in whole.lower().split()]
    return [word for word in words if sum(map(str.isalpha, word)) >= LEAST_LETTERS]
