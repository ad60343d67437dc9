"""Small releases in the official formats, all of one world.

Six users have six items each: user ``u`` has item ``(u + k) % 6`` on day ``k``, so that the last
one is item ``u - 1``. Ids are counted from 1; item ``i`` is called ``Tale i``.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

SIZE, DAY, BEGIN = 6, 86_400, 17_361 * 86_400
EVENTS = [
    (str(user + 1), str((user + step) % SIZE + 1), BEGIN + step * DAY)
    for user in range(SIZE)
    for step in range(SIZE)
]
ITEMS = [str(item + 1) for item in range(SIZE)]


def packed(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def zipped(path: Path, files: dict[str, str], *, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content.encode(encoding))


def table(*rows: Sequence[object]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(rows)
    return content.getvalue()


def joined(rows: Iterable[Sequence[object]], separator: str) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)


def ml_100k(place: Path) -> None:
    flags = "|".join("1" if at in (8, 17) else "0" for at in range(19))  # drama, war
    movies = [[item, f"Tale {item} (1999)", "01-Jan-1999", "", "url", flags] for item in ITEMS]
    people = [[item, 30, "F", "writer", "12345"] for item in ITEMS]
    files = {
        "ml-100k/u.data": joined([(u, i, 4, t) for u, i, t in EVENTS], "\t"),
        "ml-100k/u.item": joined(movies, "|"),
        "ml-100k/u.user": joined(people, "|"),
    }
    zipped(place / "ml-100k.zip", files, encoding="latin-1")


def ml_1m(place: Path) -> None:
    files = {
        "ml-1m/ratings.dat": joined([(u, i, 4, t) for u, i, t in EVENTS], "::"),
        "ml-1m/movies.dat": joined([[i, f"Tale {i} (1999)", "Drama|War"] for i in ITEMS], "::"),
        "ml-1m/users.dat": joined([[i, "F", 25, 3, "12345"] for i in ITEMS], "::"),
    }
    zipped(place / "ml-1m.zip", files, encoding="latin-1")


def ml_20m(place: Path) -> None:
    ratings = table(
        ["userId", "movieId", "rating", "timestamp"], *[(u, i, 3.5, t) for u, i, t in EVENTS]
    )
    movies = table(
        ["movieId", "title", "genres"], *[[i, f"Tale {i} (1999)", "Drama|War"] for i in ITEMS]
    )
    zipped(place / "ml-20m.zip", {"ml-20m/ratings.csv": ratings, "ml-20m/movies.csv": movies})


def _reviews(path: Path) -> None:
    packed(
        path,
        [
            json.dumps({"reviewerID": u, "asin": i, "overall": 5.0, "unixReviewTime": t})
            for u, i, t in EVENTS
        ],
    )


def _products_2014(path: Path) -> None:
    packed(
        path,
        [
            repr({"asin": i, "title": f"Tale {i}", "brand": "Acme", "categories": [["Drama War"]]})
            for i in ITEMS
        ],
    )


def amazon_beauty(place: Path) -> None:
    _reviews(place / "reviews_Beauty_5.json.gz")
    _products_2014(place / "meta_Beauty.json.gz")


def amazon_clothing(place: Path) -> None:
    _reviews(place / "reviews_Clothing_Shoes_and_Jewelry_5.json.gz")
    _products_2014(place / "meta_Clothing_Shoes_and_Jewelry.json.gz")


def amazon_games(place: Path) -> None:
    _reviews(place / "Video_Games_5.json.gz")
    packed(
        place / "meta_Video_Games.json.gz",
        [
            json.dumps(
                {"asin": i, "title": f"Tale {i}", "brand": "Acme", "category": ["Drama War"]}
            )
            for i in ITEMS
        ],
    )


def amazon_2023(place: Path) -> None:
    packed(
        place / "Video_Games.jsonl.gz",
        [
            json.dumps({"user_id": u, "parent_asin": i, "rating": 5.0, "timestamp": t * 1000 + 7})
            for u, i, t in EVENTS
        ],
    )
    packed(
        place / "meta_Video_Games.jsonl.gz",
        [
            json.dumps(
                {"parent_asin": i, "title": f"Tale {i}", "store": "Acme", "categories": ["Drama"]}
            )
            for i in ITEMS
        ],
    )


def mind_small(place: Path) -> None:
    shown = [
        [at, u, moment(t).strftime("%m/%d/%Y %I:%M:%S %p"), "", f"{i}-1 N0-0"]
        for at, (u, i, t) in enumerate(EVENTS)
    ]
    news = [[i, "drama", "war", f"Tale {i}", "Long ago.", "url", "[]", "[]"] for i in ITEMS]
    for part, rows in (("train", shown[:18]), ("dev", shown[18:])):
        files = {"behaviors.tsv": joined(rows, "\t"), "news.tsv": joined(news, "\t")}
        zipped(place / f"MINDsmall_{part}.zip", files)


def steam(place: Path) -> None:
    reviews = [
        repr({"username": u, "product_id": i, "date": f"{moment(t):%Y-%m-%d}", "text": "it's fun"})
        for u, i, t in EVENTS
    ]
    games = [
        repr({"id": i, "app_name": f"Tale {i}", "genres": ["Drama"], "tags": ["World War"]})
        for i in ITEMS
    ]
    packed(place / "steam_reviews.json.gz", reviews)
    packed(place / "steam_games.json.gz", games)


def food(place: Path) -> None:
    dated = [(u, i, f"{moment(t):%Y-%m-%d}", 5, "good,\nvery good") for u, i, t in EVENTS]
    reviews = table(["user_id", "recipe_id", "date", "rating", "review"], *dated)
    recipes = [[f"Tale  {i}", i, "['for war', 'drama']", "Of old."] for i in ITEMS]
    place.mkdir(parents=True, exist_ok=True)
    (place / "RAW_interactions.csv").write_text(reviews, encoding="utf-8")
    header = ["name", "id", "tags", "description"]
    (place / "RAW_recipes.csv").write_text(table(header, *recipes), encoding="utf-8")


def microlens_50k(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    pairs = table(["user", "item", "timestamp"], *[(u, i, t * 1000 + 7) for u, i, t in EVENTS])
    (place / "MicroLens-50k_pairs.csv").write_text(pairs, encoding="utf-8")
    titles = table(["item", "title"], *[[i, f"Tale {i}"] for i in ITEMS])
    (place / "MicroLens-50k_titles.csv").write_text(titles, encoding="utf-8")


RELEASES: dict[str, Callable[[Path], None]] = {
    "ml-100k": ml_100k,
    "ml-1m": ml_1m,
    "ml-20m": ml_20m,
    "amazon-beauty": amazon_beauty,
    "amazon-clothing": amazon_clothing,
    "amazon-games": amazon_games,
    "amazon2018-Video_Games": amazon_games,
    "amazon2023-Video_Games": amazon_2023,
    "mind-small": mind_small,
    "steam": steam,
    "food": food,
    "microlens-50k": microlens_50k,
}


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Return a dataset's name and the folder of a small release of it, one format after another."""
    RELEASES[request.param](tmp_path / "release")
    return request.param, tmp_path / "release"


@pytest.fixture
def write_release(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a small release and returns its folder."""

    def write(name: str) -> Path:
        RELEASES[name](tmp_path / "release")
        return tmp_path / "release"

    return write


@pytest.fixture
def pack() -> Callable[[Path, Iterable[str]], None]:
    """Return a function that writes lines into a .gz file."""
    return packed


@pytest.fixture
def archive() -> Callable[..., None]:
    """Return a function that writes texts into a .zip file."""
    return zipped
