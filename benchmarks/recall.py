"""Recall and time of approximate lists (faiss) against exact ones.

    uv run python benchmarks/recall.py [saved/RUN_DIR] [--items 100000] [-k 10] [--out FILE.json]

Recall is the share of an exact list that the approximate one holds. Of a run: its items, and the
interests of its users. Without one: random items about a thousand centres, of lengths that differ,
and interests about the same centres, which is harder than items of real texts. Both searches use
the threads that they are given (OMP_NUM_THREADS) and answer tiles of requests, as recommending
does. In results/recall: random items, and the items of LLMInterestLSTM, seed 2021, of
``recbole-llm bench benchmarks/ml-100k.yaml``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_llm.errors import in_one_line
from recbole_llm.files import write_json
from recbole_llm.provenance import commit
from recbole_llm.recommend.nearest import NearestItems
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.top import top_items
from recbole_llm.train.blocks import TILE, Candidates

CENTRES = 1000


def measure_run(run: str | Path, *, k: int, users: int) -> dict[str, Any]:
    """Measure a run's items, and the interests of its first users."""
    recommender = Recommender.load(run)
    requests = [Request(user=user) for user in list(recommender.requests.users)[:users]]
    histories, _ = recommender.requests.rows_of(requests, problems=[])
    interests = recommender.interests(histories, recommender.table)
    return compare(recommender.candidates, interests, k=k)


def measure_random(items: int, *, size: int, k: int, number: int) -> dict[str, Any]:
    """Measure random items."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(CENTRES, size, generator=draw)

    def about(count: int, spread: float) -> Tensor:
        own = centres[torch.randint(CENTRES, (count,), generator=draw)]
        return own + spread * torch.randn(count, size, generator=draw)

    lengths = torch.randn(items + 1, 1, generator=draw).mul(0.4).exp()
    nothing = torch.zeros(0, dtype=torch.int64)
    candidates = Candidates(about(items + 1, 0.5) * lengths, nothing, nothing, 1.0)
    return compare(candidates, about(number, 0.7), k=k)


def compare(candidates: Candidates, interests: Tensor, *, k: int) -> dict[str, Any]:
    """Return recall, and milliseconds a list of both searches."""
    begin = time.perf_counter()
    search = NearestItems(candidates)
    build = time.perf_counter() - begin
    exact, exact_ms = _search(top_items, interests, candidates, k=k)
    near, near_ms = _search(search, interests, candidates, k=k)
    held = (near[:, :, None] == exact[:, None]).any(1)
    return {
        "items": len(candidates.vectors) - 1, "size": candidates.vectors.shape[1], "k": k,
        "interests": len(interests), "recall": held.float().mean().item(),
        "build_seconds": build, "exact_ms": exact_ms, "approximate_ms": near_ms,
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def _search(
    search: Callable[..., tuple[Tensor, Tensor]],
    interests: Tensor,
    candidates: Candidates,
    *,
    k: int,
) -> tuple[Tensor, float]:
    """Return the ids of all lists, and milliseconds a list."""
    begin = time.perf_counter()
    lists = [search(tile, candidates, seen=None, length=k)[1] for tile in interests.split(TILE)]
    return torch.cat(lists), 1000 * (time.perf_counter() - begin) / len(interests)


@in_one_line()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the numbers, and write them where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--interests", type=int, default=512)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(argv)
    if asked.run:
        found = measure_run(asked.run, k=asked.k, users=asked.interests)
    else:
        found = measure_random(asked.items, size=asked.size, k=asked.k, number=asked.interests)
    print(json.dumps(found))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        name = Path(asked.run).name if asked.run else None
        write_json(asked.out, {"commit": commit(), "run": name, **found})


if __name__ == "__main__":
    main()
