"""How alike the text of a candidate is to the last item's, as a part of its score.

Letters: N items (row 0 is padding), D text-vector size, P positions with a target, p some of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_KEPT = 2**28  # cosines that are kept: 1 GiB, those of 16,384 items


class TextSimilarity(nn.Module):
    """A learned multiple of the cosine of two texts: that of a candidate and that of the last item.

    An adaptor brings texts to the size of item vectors, and what tells one brand or series from the
    next is lost on the way. Here text vectors meet as they are: they are further entries of the
    item vectors, and those of the last item, times a number, further entries of the interest, so
    that a score stays an inner product. Without all else it is :class:`LastItemTextKNN`.

    Args:
        vectors: Of the texts, ``(N, D)``.
        place: Which of the item features they are.
    """

    units: Tensor

    def __init__(self, vectors: Tensor, *, place: int) -> None:
        super().__init__()
        self.place = place
        self.register_buffer("units", functional.normalize(vectors, dim=1), persistent=False)
        self.weight = nn.Parameter(torch.ones(()))
        self._kept: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}  # a copy makes its own

    @property
    def size(self) -> int:
        """D."""
        return self.units.shape[1]

    def before(self, last: Tensor, table: Tensor) -> Similar:
        """Return the cosines of candidates with what was read last before each target.

        Args:
            last: Rows of the table, ``(P,)``.
            table: Of candidates, which end in their D entries.
        """
        units = table[:, -self.size :].detach().float()
        if len(units) ** 2 > MOST_KEPT:
            return Similar(last, self.weight, units)
        kept = self._kept
        if kept is None or (len(kept), kept.device) != (len(units), units.device):
            with torch.autocast(units.device.type, enabled=False):
                self._kept = units @ units.T  # text vectors do not change
        return Similar(last, self.weight, units, self._kept)


@dataclass(frozen=True)
class Similar:
    """What text similarity adds to the scores of all candidates before each target.

    Attributes:
        last: What was read last, ``(P,)``.
        weight: A scalar.
        units: Text vectors of length 1, ``(N, D)``.
        kept: Their cosines, ``(N, N)``, where these are few enough.
    """

    last: Tensor
    weight: Tensor
    units: Tensor
    kept: Tensor | None = None

    def divided_by(self, temperature: float) -> Similar:
        """Return it for scores that are divided by a temperature."""
        return replace(self, weight=self.weight / temperature)

    def cosines(self, part: slice) -> Tensor:
        """Return the cosines of all candidates before some targets, ``(p, N)``."""
        if self.kept is not None:
            return self.kept[self.last[part]]
        return self.units[self.last[part]] @ self.units.T
