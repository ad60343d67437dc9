"""MIND-small, clicks on news: ``behaviors.tsv`` and ``news.tsv`` of the training and dev parts.

Wu et al., 2020, MIND, ACL. Clicks in impressions have a time. The clicks of the four weeks before
have an order but no time; they get the last seconds before the first day of impressions, so that
each user's order is the true one and none of them falls behind an impression.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import chain

from recbole_llm.data.sources.archive import Member, Release, text
from recbole_llm.data.sources.writer import Counts, Table, Tables

CLICKS = ("user_id:token", "item_id:token", "timestamp:float")
NEWS = (
    "item_id:token", "title:token_seq", "abstract:token_seq", "category:token", "subcategory:token",
)  # fmt: skip
IMPRESSIONS_BEGIN = int(datetime(2019, 11, 9, tzinfo=timezone.utc).timestamp())


def mind_small(release: Release) -> Tables:
    """Read all ``behaviors.tsv`` and ``news.tsv``, those of the training part first."""
    behaviors, news = (_parts(release, name) for name in ("behaviors.tsv", "news.tsv"))
    return Tables(
        interactions=Table(CLICKS, _clicks(behaviors)),
        items=Table(NEWS, chain.from_iterable(member.rows(_news) for member in news)),
        published=Counts(94_057, None, None),
    )


def _parts(release: Release, name: str) -> list[Member]:
    """Return a file of the training part, and of the dev part where it is there."""
    of_training: dict[bool, list[Member]] = {True: [], False: []}
    for member in release.find_all(name):
        of_training["train" in member.place.removeprefix(str(release.place))].append(member)
    for members in of_training.values():
        release.require_one(name, members)
    return [*of_training[True], *of_training[False]]


def _clicks(members: list[Member]) -> Iterator[list[str]]:
    known: set[str] = set()

    def clicks(line: str) -> list[list[str]]:
        _, user, time, history, shown = line.split("\t")
        earlier = [] if user in known else history.split()
        known.add(user)
        begin, seconds = IMPRESSIONS_BEGIN - len(earlier), str(_seconds(time))
        marked = [item.rpartition("-") for item in shown.split()]
        return [
            *([user, item, str(begin + at)] for at, item in enumerate(earlier)),
            *([user, item, seconds] for item, _, is_clicked in marked if int(is_clicked)),
        ]

    for member in members:
        yield from chain.from_iterable(member.rows(clicks))


def _seconds(time: str) -> int:
    """Return a time such as ``11/13/2019 8:36:57 AM``, whose zone is not published, as UTC.

    Not by strptime, which reads AM and PM in the language of the machine.
    """
    day, clock, half = time.split()
    month, date, year = map(int, day.split("/"))
    hour, minute, second = map(int, clock.split(":"))
    hour = hour % 12 + 12 * ["AM", "PM"].index(half)
    moment = datetime(year, month, date, hour, minute, second, tzinfo=timezone.utc)
    return int(moment.timestamp())


def _news(line: str) -> list[str]:
    item, category, subcategory, title, abstract, *_ = line.split("\t")
    return [item, text(title), text(abstract), category, subcategory]
