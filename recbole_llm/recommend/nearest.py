"""The best items by an approximate index, for catalogues of millions.

Letters: R interests searched at once, N items (row 0 is padding), H item-vector size, F items found
for each, K length of a list.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm.errors import RequestError, how_to_install
from recbole_llm.model.repeats import ReadCells
from recbole_llm.train.blocks import Candidates
from recbole_llm.train.ranking import Pairs

NEIGHBOURS, EFFORT = 32, 256  # of an item in the graph; items kept in view by a search
SPARE = 8  # items found beyond a list: of equal ones the index may know the later first


class NearestItems:
    """Finds items by a graph of neighbours (HNSW: Malkov and Yashunin, 2016, arXiv 1603.09320).

    Whether a good item is found is a matter of luck; those that are found are scored exactly and
    ordered as exact lists are. Threads may share it.

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
        same = torch.arange(len(candidates.vectors), device=candidates.vectors.device)
        self._same = same.scatter(0, candidates.twins, candidates.firsts)  # twins score alike
        self.index = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        self.index.add(vectors[1:].cpu().numpy())

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

        Items enough are found that those seen can be left out. What is not found scores -inf.

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
        effort = self._faiss.SearchParametersHNSW(efSearch=max(EFFORT, 2 * number))
        asked = interests.float()
        if candidates.offset is not None:
            asked = functional.pad(asked, (0, 1), value=candidates.temperature)
        _, found = self.index.search(asked.cpu().numpy(), number, params=effort)
        ids = torch.from_numpy(found).to(interests.device).add(1).sort(dim=1).values  # 0: none
        scores = torch.einsum("rh,rfh->rf", interests, candidates.vectors[self._same[ids]])
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
        return scores.gather(1, order), ids.gather(1, order)
