"""MIND: clicks of impressions at their time, earlier ones before all impressions, once a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.data.sources.convert import convert
from recbole_llm.data.sources.mind import _seconds
from recbole_llm.errors import DataError

NEWS = '{}\tnews\tus\tTitle "{}"\tAbstract\turl\t[]\t[]\n'


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("11/9/2019 12:00:00 AM", 1573257600),
        ("11/9/2019 12:30:01 PM", 1573257600 + 12 * 3600 + 1801),
        ("11/13/2019 8:36:57 AM", 1573634217),
    ],
)
def test_times(time: str, seconds: int) -> None:
    assert _seconds(time) == seconds


@pytest.mark.parametrize("folder", ["plain", "trained"])
def test_a_history_comes_first_and_once(tmp_path: Path, archive, folder: str) -> None:
    """The training part is known by its own name, not by that of the folder it lies in."""
    place = tmp_path / folder
    place.mkdir()
    train = (
        "1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0 N5-1\n"
        "2\tU1\t11/10/2019 9:05:58 AM\tN1 N2\tN4-1\n"
    )
    dev = "1\tU1\t11/15/2019 9:05:58 AM\tN1 N2\tN6-1\n2\tU2\t11/15/2019 1:00:00 AM\t\tN1-1\n"
    news = "".join(NEWS.format(f"N{at}", at) for at in range(1, 6))
    archive(place / "MINDsmall_train.zip", {"behaviors.tsv": train, "news.tsv": news})
    archive(
        place / "MINDsmall_dev.zip",
        {"behaviors.tsv": dev, "news.tsv": NEWS.format("N6", 6) + NEWS.format("N1", "other")},
    )
    facts = convert("mind-small", place=place, folder=tmp_path, overwrite=False)
    assert (tmp_path / "mind-small.inter").read_text().splitlines()[1:] == [
        "U1\tN1\t1573257598",
        "U1\tN2\t1573257599",
        "U1\tN3\t1573463158",
        "U1\tN5\t1573463158",
        "U1\tN4\t1573376758",
        "U1\tN6\t1573808758",
        "U2\tN1\t1573779600",
    ]
    items = (tmp_path / "mind-small.item").read_text().splitlines()[1:]
    assert items[0] == 'N1\tTitle "1"\tAbstract\tnews\tus' and len(items) == 6
    assert facts["published"] == {"users": 94_057}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1\tU1\t11/11/2019 9:05:58 AM\tN1", "expected 5, got 4"),
        ("1\tU1\t2019-11-11\tN1\tN2-1", "not enough values"),
        ("1\tU1\t11/11/2019 9:05:58 XM\tN1\tN2-1", "XM"),
        ("1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2", "invalid literal"),
    ],
)
def test_a_line_that_is_no_impression_is_named(tmp_path, archive, line, words) -> None:
    good = "1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2-1\n"
    archive(tmp_path / "x.zip", {"behaviors.tsv": good + line, "news.tsv": NEWS.format("N1", 1)})
    with pytest.raises(DataError, match=rf"behaviors\.tsv:2: .*{words}"):
        convert("mind-small", place=tmp_path, folder=tmp_path, overwrite=False)


def test_a_part_that_is_there_twice_is_refused(tmp_path: Path, archive) -> None:
    """Packed and unpacked: each click would be written twice."""
    files = {"behaviors.tsv": "1\tU1\t11/11/2019 9:05:58 AM\t\tN1-1\n",
             "news.tsv": NEWS.format("N1", 1)}  # fmt: skip
    archive(tmp_path / "MINDsmall_train.zip", files)
    (tmp_path / "MINDsmall_train").mkdir()
    for name, content in files.items():
        (tmp_path / "MINDsmall_train" / name).write_text(content)
    with pytest.raises(DataError, match=r"more than one behaviors.tsv: .*MINDsmall_train"):
        convert("mind-small", place=tmp_path, folder=tmp_path / "out", overwrite=False)
