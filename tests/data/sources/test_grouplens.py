"""MovieLens: RecBole's own copy of ml-100k, and shared data, through the official forms again."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from recbole_llm.data.sources import grouplens
from recbole_llm.data.sources.convert import convert


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Toy Story (1995)", ["Toy Story", "1995"]),
        ("Seven (Se7en) (1995)", ["Seven (Se7en)", "1995"]),
        ("Postino, Il (1994) ", ["Postino, Il", "1994"]),
        ("Land Before Time III (1995) (V)", ["Land Before Time III", "1995"]),
        ("2001: A Space Odyssey", ["2001: A Space Odyssey", ""]),
        ("Slingshot, The (Kådisbellan ) (1993)", ["Slingshot, The (Kådisbellan )", "1993"]),
    ],
)
def test_a_year_leaves_the_title(title: str, expected: list[str]) -> None:
    assert grouplens._title(title) == expected


def test_ml_100k_becomes_what_recboles_wheel_carries(ml_100k: Path, tmp_path, archive) -> None:
    movies = []
    for item, title, year, genres in rows(ml_100k / "ml-100k.item"):
        flags = [str(int(genre in genres.split())) for genre in grouplens.GENRES]
        movies.append("|".join([item, f"{title} ({year})", "", "", "", *flags]))
    files = {
        "ml-100k/u.data": (ml_100k / "ml-100k.inter").read_text().partition("\n")[2],
        "ml-100k/u.item": "\n".join(movies),
        "ml-100k/u.user": "\n".join("|".join(row) for row in rows(ml_100k / "ml-100k.user")),
    }
    archive(tmp_path / "ml-100k.zip", files, encoding="latin-1")
    facts = convert("ml-100k", place=tmp_path, folder=tmp_path, overwrite=False)
    assert facts["as_published"] is True and facts["interactions"] == 100_000
    for part in ("inter", "user"):
        made = (tmp_path / f"ml-100k.{part}").read_bytes()
        assert made == (ml_100k / f"ml-100k.{part}").read_bytes()
    made, there = rows(tmp_path / "ml-100k.item"), rows(ml_100k / "ml-100k.item")
    differing = [row[0] for row, other in zip(made, there, strict=True) if row != other]
    assert differing == ["267", "1412"]  # no year, and (1995) (V), which the wheel calls the year V
    assert made[1411][1:3] == ["Land Before Time III: The Time of the Great Giving", "1995"]


def test_ml_20m_has_quoted_titles_and_movies_without_genres(tmp_path: Path, archive) -> None:
    files = {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,11,3.5,1112486027\n1,12,4,1112484676\n",
        "movies.csv": 'movieId,title,genres\n11,"President, The (1995)",Comedy|Sci-Fi\n'
        "12,Untitled,(no genres listed)\n",
    }
    archive(tmp_path / "ml-20m.zip", files)
    convert("ml-20m", place=tmp_path, folder=tmp_path, overwrite=False)
    assert rows(tmp_path / "ml-20m.item") == [
        ["11", "President, The", "1995", "Comedy Sci-Fi"],
        ["12", "Untitled", "", ""],
    ]
    assert rows(tmp_path / "ml-20m.inter")[0] == ["1", "11", "3.5", "1112486027"]


@pytest.mark.parametrize("name", ["ml-100k", "ml-1m"])
def test_a_rating_without_a_time_is_named(name: str, write_release, tmp_path, archive) -> None:
    place = write_release(name)
    (file,) = place.iterdir()
    wrong = {"ml-100k": ("ml-100k/u.data", "1\t2\t3"), "ml-1m": ("ml-1m/ratings.dat", "1::2::3")}
    member, line = wrong[name]
    archive(file, {member: line, "u.item": "", "u.user": "", "movies.dat": "", "users.dat": ""})
    with pytest.raises(Exception, match=rf"{member}:1: is no row.*expected 4, got 3"):
        convert(name, place=place, folder=tmp_path / "out", overwrite=False)


@pytest.mark.slow
@pytest.mark.shared_data
def test_ml_1m_at_its_real_size(shared_data: Path, tmp_path: Path, archive) -> None:
    with tarfile.open(shared_data / "ml-1m.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    given = tmp_path / "atomic"
    ratings, people = rows(given / "ml-1m.inter"), rows(given / "ml-1m.user")
    movies = rows(given / "ml-1m.item")
    files = {
        "ml-1m/ratings.dat": "".join(f"{u}::{i}::5::{t}\n" for u, i, t in ratings),
        "ml-1m/movies.dat": "".join(
            f"{i}::{title} ({year})::{'|'.join(genres.split())}\n"
            for i, title, year, genres in movies
        ),
        "ml-1m/users.dat": "".join(f"{u}::{g}::{a}::{o}::{z}\n" for u, a, g, o, z in people),
    }
    archive(tmp_path / "ml-1m.zip", files, encoding="cp1252")
    out = tmp_path / "out"
    facts = convert("ml-1m", place=tmp_path / "ml-1m.zip", folder=out, overwrite=False)
    assert facts["as_published"] is True and facts["items_without_row"] == 0
    rated = {item for _, item, _ in ratings}
    assert rows(out / "ml-1m.item") == [row for row in movies if row[0] in rated]
    assert rows(out / "ml-1m.user") == people
    assert rows(out / "ml-1m.inter") == [[u, i, "5", t] for u, i, t in ratings]
