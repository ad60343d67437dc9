"""MicroLens-50k, short videos: pairs and titles as CSV. Ni et al., 2023, arXiv 2309.15379."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_llm.data.sources.archive import Release, number, text
from recbole_llm.data.sources.writer import Counts, Table, Tables

COMMENTS = ("user_id:token", "item_id:token", "timestamp:float")
VIDEOS = ("item_id:token", "title:token_seq")


def microlens_50k(release: Release) -> Tables:
    """Read ``MicroLens-50k_pairs.csv`` and ``MicroLens-50k_titles.csv``."""
    pairs = release.find("MicroLens-50k_pairs.csv").records(
        _pair, columns=("user", "item", "timestamp")
    )
    titles = release.find("MicroLens-50k_titles.csv").records(
        lambda row: [row["item"], text(row["title"])], columns=("item", "title")
    )
    return Tables(
        interactions=Table(COMMENTS, pairs),
        items=Table(VIDEOS, titles),
        published=Counts(50_000, 19_220, 359_708),
    )


def _pair(row: Mapping[str, str]) -> list[str]:
    seconds = float(number(row["timestamp"])) / 1000  # published in milliseconds
    return [row["user"], row["item"], f"{seconds:.3f}"]
