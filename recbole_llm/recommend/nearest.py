"""The best items by an approximate index, for catalogues of millions.

Letters: R interests searched at once, N items (row 0 is padding), H item-vector size, G groups of
items that score alike, F groups found for each interest, K length of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from recbole_llm.errors import RequestError, how_to_install
from recbole_llm.model.repeats import ReadCells
from recbole_llm.recommend.top import top_items
from recbole_llm.train.blocks import Candidates
from recbole_llm.train.ranking import Pairs

NEIGHBOURS, EFFORT = 32, 256  # of an item in the graph; items kept in view by a search
SPARE = 8  # items found beyond a list: of equal ones the index may know the later first


class NearestItems:
    """Finds items by a graph of neighbours (HNSW: Malkov and Yashunin, 2016, arXiv 1603.09320).

    Whether a good item is found is a matter of luck; those that are found are scored exactly and
    ordered as exact lists are. Items that score alike are one place in the graph: a search that
    came among thousands of them would not get out again. Threads may share it.

    Args:
        candidates: What is searched; building takes the longer the more there are.

    Raises:
        RequestError: If faiss is not installed.
    """

    def __init__(self, candidates: Candidates) -> None:
        try:
            import faiss
        except ImportError:
            raise RequestError(f"approximate lists need faiss. {how_to_install('faiss')}") from None
        vectors = candidates.vectors.float()
        if candidates.offset is not None:  # one more entry of a vector; an interest's is constant
            vectors = torch.cat([vectors, candidates.offset[:, None]], 1)
        self._faiss: Any = faiss
        self._groups = _Groups.of(candidates)
        self.index = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        self.index.add(vectors[self._groups.firsts].cpu().numpy())

    def __call__(
        self,
        interests: Tensor,
        candidates: Candidates,
        *,
        seen: Pairs | None,
        length: int,
        read: ReadCells | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return scores and ids of items that are nearly the best, as ``top_items`` does.

        Items enough are found that those seen can be left out, and what was read is always among
        them. Where they are too few, the lists are exact.

        Args:
            interests: ``(R, H)``.
            candidates: Those that the index was built of.
            seen: Cells, rows and items, that are left out.
            length: K, below N.
            read: Cells of what was read, if their scores have a bias.

        Returns:
            ``(R, K)`` each.
        """
        num_items = len(candidates.vectors)
        if seen is None:
            seen = (torch.zeros(0, dtype=torch.int64, device=interests.device),) * 2
        known = seen[1] < num_items  # rows behind are those of texts
        seen = seen[0][known], seen[1][known]
        apart = seen[0] if read is None else torch.cat([seen[0], read.rows])
        number = min(length + int(torch.bincount(apart, minlength=1).max()) + SPARE, num_items - 1)
        ids = self._search(interests, candidates, number)
        if read is not None:
            ids = _with_read(ids, read, num_items)
        scores = torch.einsum("rh,rfh->rf", interests, candidates.vectors[self._groups.same[ids]])
        scores = scores / candidates.temperature
        if candidates.offset is not None:
            scores = scores + candidates.offset[ids]
        if read is not None:
            bias = torch.zeros(len(interests), num_items, device=ids.device)
            read.add_to(bias)
            scores = scores + bias.gather(1, ids)
        scores = scores.masked_fill(ids == 0, -torch.inf)
        is_seen = torch.zeros(len(interests), num_items, dtype=torch.bool, device=ids.device)
        is_seen[seen] = True
        scores = scores.masked_fill(is_seen.gather(1, ids), -torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :length]
        best = scores.gather(1, order)
        if best.isneginf().any():
            return top_items(interests, candidates, seen=seen, length=length, read=read)
        return best, ids.gather(1, order)

    def _search(self, interests: Tensor, candidates: Candidates, number: int) -> Tensor:
        """Return items of the best groups found, ``(R, number)``, rising, 0 where there is none."""
        asked = interests.float()
        if candidates.offset is not None:
            asked = functional.pad(asked, (0, 1), value=candidates.temperature)
        effort = self._faiss.SearchParametersHNSW(efSearch=max(EFFORT, 2 * number))
        wanted = min(number, len(self._groups.firsts))
        _, found = self.index.search(asked.cpu().numpy(), wanted, params=effort)
        groups = torch.from_numpy(found).to(interests.device)  # best first
        return self._groups.members(groups, number).sort(dim=1).values


@dataclass(frozen=True)
class _Groups:
    """Items that score alike, whatever the interest.

    Attributes:
        same: The item whose vector each item has, ``(N,)``.
        firsts: The first item of each group, ``(G,)``.
        items: All items, group after group, rising in each, ``(N - 1,)``.
        begins: Where each group begins among them, ``(G,)``.
        sizes: Of each group, ``(G,)``.
    """

    same: Tensor
    firsts: Tensor
    items: Tensor
    begins: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, candidates: Candidates) -> _Groups:
        """Return the groups of items and their twins."""
        same = torch.arange(len(candidates.vectors), device=candidates.vectors.device)
        same = same.scatter(0, candidates.twins, candidates.firsts)
        firsts, sizes = torch.unique(same[1:], return_counts=True)
        items = same[1:].argsort(stable=True) + 1
        return cls(same, firsts, items, sizes.cumsum(0) - sizes, sizes)

    def members(self, groups: Tensor, number: int) -> Tensor:
        """Return items of groups ``(R, F)``, the first groups' first, ``(R, number)``.

        Groups below 0 are none, and so are items 0.
        """
        sizes = self.sizes[groups].masked_fill(groups < 0, 0)
        ends = sizes.cumsum(1)
        places = torch.arange(number, device=groups.device).expand(len(groups), -1).contiguous()
        column = torch.searchsorted(ends, places, right=True)  # the group at each place
        is_none, column = column == groups.shape[1], column.clamp(max=groups.shape[1] - 1)
        within = places - (ends - sizes).gather(1, column)
        members = self.begins[groups].gather(1, column) + within
        return self.items[members.masked_fill(is_none, 0)].masked_fill(is_none, 0)


def _with_read(ids: Tensor, read: ReadCells, num_items: int) -> Tensor:
    """Return items ``(R, F)`` and those that were read, each once a row, rising, 0 for none."""
    numbers = torch.bincount(read.rows, minlength=len(ids)).tolist()
    cells = torch.split(read.items[read.rows.argsort()], numbers)
    more = pad_sequence(list(cells), batch_first=True)
    more = more.masked_fill(more >= num_items, 0)  # rows behind are those of texts
    both = torch.cat([ids, more], 1).sort(dim=1).values
    again = functional.pad(both[:, 1:] == both[:, :-1], (1, 0))
    return both.masked_fill(again, 0).sort(dim=1).values
