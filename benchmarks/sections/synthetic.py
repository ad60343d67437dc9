"""Synthetic atomic files of any size, written in chunks from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

CHUNK = 500_000
FIRST_TIME = 1_000_000_000  # neighbouring seconds collapse in float32, as real ones do


def write(
    folder: Path, *, name: str, events: int, items: int, per_user: int, seed: int = 0
) -> Path:
    """Write a log of events in order of time and a title an item; return ``data_path``.

    Users take turns. Every item occurs; beyond that, popular ones do far more often.

    Args:
        folder: Where a folder of the dataset's name is made.
        name: The dataset's name.
        events: Number of interactions.
        items: Number of items, at most ``events``.
        per_user: Interactions a user.
        seed: Source of chance.
    """
    (folder / name).mkdir(parents=True)
    users = events // per_user
    rng = np.random.default_rng(seed)
    every_item = rng.permutation(items)
    with (folder / name / f"{name}.inter").open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for begin in range(0, events, CHUNK):
            at = np.arange(begin, min(begin + CHUNK, events))
            popular = (items * rng.random(len(at)) ** 3).astype(np.int64)
            item = np.where(at < items, every_item[at % items], popular)
            rows = zip((at % users).tolist(), item.tolist(), at.tolist(), strict=True)
            file.writelines(f"u{u}\ti{i}\t{FIRST_TIME + t}\n" for u, i, t in rows)
    with (folder / name / f"{name}.item").open("w", encoding="utf-8") as file:
        file.write("item_id:token\ttitle:token_seq\n")
        file.writelines(f"i{item}\titem {item}\n" for item in range(items))
    return folder
