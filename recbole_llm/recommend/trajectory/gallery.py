"""A page of trajectories of a run's users."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.pages import data_address, static_page
from recbole_llm.recommend.requests import Request, Requests
from recbole_llm.recommend.trajectory.atlas import Atlas
from recbole_llm.recommend.trajectory.figures import pictures
from recbole_llm.recommend.trajectory.interests import drift

LEAST_EVENTS, SEED = 10, 0
TEMPLATE = Path(__file__).parent / "gallery.html"


@dataclass(frozen=True)
class Shown:
    """A user on the page.

    Attributes:
        name: Raw id.
        events: Number of events.
        drift: Mean drift of a step.
        changes: Events at which the interest turned, counted from 1.
        stretches: Between them, as the atlas tells of them.
        pictures: Title and address of each figure.
    """

    name: str
    events: int
    drift: float
    changes: list[int]
    stretches: list[dict[str, Any]]
    pictures: list[tuple[str, str]]


def drawn_users(requests: Requests, most: int, *, least: int = LEAST_EVENTS) -> list[str]:
    """Return users with enough events, drawn by a fixed seed, in the run's order.

    Args:
        requests: Who is known.
        most: How many to draw; fewer where there are fewer.
        least: Events that are enough.
    """
    ends = requests.ends
    known = [user for user, at in requests.users.items() if ends[at + 1] - ends[at] >= least]
    chosen = set(random.Random(SEED).sample(known, min(most, len(known))))
    return [user for user in known if user in chosen]


def gallery(atlas: Atlas, users: Sequence[str], *, run: str) -> str:
    """Return the page, those whose interest moved most first.

    Args:
        atlas: Draws up the trajectories.
        users: Raw user ids.
        run: What to call the run.

    Raises:
        RequestError: If users are unknown.
    """
    problems: list[str] = []
    atlas.recommender.requests.rows_of([Request(user=user) for user in users], problems=problems)
    if problems:
        raise RequestError(all_problems("--users", problems))
    shown = sorted(_shown(atlas, users), key=lambda one: -one.drift)
    about = (
        f"{len(shown)} users of the run, those whose interest moved most first. Drift is 1 − cos "
        "of the interests before and after an event; an interest turns where a new stretch begins, "
        "which a computation guesses: of many short stretches most are chance."
    )
    return static_page(TEMPLATE, run=run, about=about, users=shown)


def _shown(atlas: Atlas, users: Sequence[str]) -> Iterator[Shown]:
    for user in users:
        one = atlas.trajectory(Request(user=user), name=f"user {user}")
        drawn = pictures(one, atlas.landmarks(), atlas.titles(one))
        far = drift(one.ranked)
        yield Shown(
            name=user,
            events=len(one.rows),
            drift=float(far.mean()) if len(far) else 0.0,
            changes=[at + 1 for at in one.changes],
            stretches=atlas.stretches(one),
            pictures=[(its.title, data_address(its)) for its in drawn],
        )
