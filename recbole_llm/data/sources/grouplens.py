"""MovieLens: ml-100k (tables by ``|``), ml-1m (by ``::``) and ml-20m (CSV).

Harper and Konstan, 2015, The MovieLens Datasets, ACM TiiS 5(4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from recbole_llm.data.sources.archive import Release, labels, number, text
from recbole_llm.data.sources.writer import Counts, Table, Tables

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
RATINGS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
MOVIES = ("item_id:token", "title:token_seq", "release_year:token", "categories:token_seq")
PEOPLE = ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token")
YEAR = re.compile(r"\s*\((\d{4})\)\s*(?:\(V\)\s*)?$")  # (V): made for video


def ml_100k(release: Release) -> Tables:
    """Read ``u.data``, ``u.item`` and ``u.user``, with the column names of RecBole's own copy."""
    movies = release.find("u.item").rows(_movie_100k, encoding="latin-1")
    people = release.find("u.user").rows(_person_100k)
    columns = ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq")
    return Tables(
        interactions=Table(RATINGS, release.find("u.data").rows(lambda line: _rating(line, "\t"))),
        items=Table(columns, movies),
        users=Table(PEOPLE, people),
        published=Counts(943, 1_682, 100_000),
    )


def ml_1m(release: Release) -> Tables:
    """Read ``ratings.dat``, ``movies.dat`` and ``users.dat``."""
    ratings = release.find("ratings.dat").rows(lambda line: _rating(line, "::"))
    # Its README says latin-1; byte 0x85 of movie 3845 is an ellipsis in Windows' superset only.
    movies = release.find("movies.dat").rows(_movie_1m, encoding="cp1252")
    return Tables(
        interactions=Table(RATINGS, ratings),
        items=Table(MOVIES, movies),
        users=Table(PEOPLE, release.find("users.dat").rows(_person_1m)),
        published=Counts(6_040, 3_706, 1_000_209),
    )


def ml_20m(release: Release) -> Tables:
    """Read ``ratings.csv`` and ``movies.csv``."""
    names = ("userId", "movieId", "rating", "timestamp")
    ratings = release.find("ratings.csv").records(
        lambda row: [row[names[0]], row[names[1]], number(row[names[2]]), number(row[names[3]])],
        columns=names,
    )
    movies = release.find("movies.csv").records(_movie_20m, columns=("movieId", "title", "genres"))
    return Tables(
        interactions=Table(RATINGS, ratings),
        items=Table(MOVIES, movies),
        published=Counts(138_493, 26_744, 20_000_263),
    )


def _rating(line: str, separator: str) -> list[str]:
    user, item, rating, time = line.split(separator)
    return [user, item, number(rating), number(time)]


def _title(title: str) -> list[str]:
    """Return a title without its year, and the year."""
    year = YEAR.search(title)
    return [text(YEAR.sub("", title)), year[1] if year else ""]


def _movie_100k(line: str) -> list[str]:
    item, title, _, _, _, *flags = line.split("|")
    genres = [genre for genre, flag in zip(GENRES, flags, strict=True) if int(flag)]
    return [item, *_title(title), labels(genres)]


def _movie_1m(line: str) -> list[str]:
    item, title, genres = line.split("::")
    return [item, *_title(title), labels(genres.split("|"))]


def _movie_20m(row: Mapping[str, str]) -> list[str]:
    genres = row["genres"].replace("(no genres listed)", "")
    return [row["movieId"], *_title(row["title"]), labels(genres.split("|"))]


def _person_100k(line: str) -> list[str]:
    user, age, gender, occupation, zip_code = line.split("|")
    return [user, age, gender, occupation, zip_code]


def _person_1m(line: str) -> list[str]:
    user, gender, age, occupation, zip_code = line.split("::")
    return [user, age, gender, occupation, zip_code]
