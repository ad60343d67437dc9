"""From a user's history to the trajectory of their interest.

Letters: T events of a history, N items, G groups of items, H item-vector size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.top import top_items
from recbole_llm.recommend.trajectory.affinity import Groups, groups_of, title_words
from recbole_llm.recommend.trajectory.changes import change_points
from recbole_llm.recommend.trajectory.interests import drift, follow, ranked_by
from recbole_llm.recommend.trajectory.plane import Plane, plane_of
from recbole_llm.train.blocks import TILE

NEAREST = 5  # genres, words and items that are told of an interest


@dataclass(frozen=True)
class Trajectory:
    """How an interest moved over the events of a history.

    Attributes:
        name: Whose it is.
        rows: The events as rows of the item table, ``(T,)``.
        interests: After each event by kind, as ``follow`` returns them.
        ranked: Those that lists are made by, ``(T, H)``.
        changes: The events, counted from 0, at which a new stretch begins.
        plane: Where the interests of all kinds are seen.
    """

    name: str
    rows: Tensor
    interests: Mapping[str, Tensor]
    ranked: Tensor
    changes: list[int]
    plane: Plane


class Atlas:
    """Draws up trajectories over the items of a run.

    Args:
        recommender: The run.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender
        vectors = recommender.candidates.vectors
        self.genres = groups_of(recommender.genres, vectors)
        self.words = groups_of(title_words(recommender.titles), vectors)

    def trajectory(self, request: Request, *, name: str) -> Trajectory:
        """Return the trajectory of a user or of a history.

        Raises:
            RequestError: If the user or an item is unknown, or it is a history of texts.
        """
        problems: list[str] = []
        (rows,), texts = self.recommender.requests.rows_of([request], problems=problems)
        if problems:
            raise RequestError(all_problems("trajectory", problems))
        if texts:
            raise RequestError("trajectory: takes a user or a history of item ids.")
        interests = follow(self.recommender, rows)
        ranked = ranked_by(interests)
        return Trajectory(
            name=name,
            rows=rows,
            interests=interests,
            ranked=ranked,
            changes=change_points(functional.normalize(ranked, dim=-1)),
            plane=plane_of(torch.cat(list(interests.values()))),
        )

    def landmarks(self) -> dict[str, Groups]:
        """Return the heat map that shows most at a glance: genres, or words where there are none.

        Returns:
            One, by its figure's name; none at all where items have neither.
        """
        groups = self.genres if self.genres.names else self.words
        return {"heatmap": groups} if groups.names else {}

    def maps(self, trajectory: Trajectory) -> dict[str, Groups]:
        """Return the groups of a trajectory's heat maps: landmarks, words and nearest items."""
        found = self.landmarks()
        if self.genres.names and self.words.names:
            found["heatmap_words"] = self.words
        return found | {"heatmap_items": self._near_items(trajectory)}

    def _near_items(self, trajectory: Trajectory) -> Groups:
        """Return the items that the interest came nearest to, each a group of its own."""
        known = self.recommender
        near = {item: None for _, ids in self._nearest_items(trajectory.ranked) for item in ids}
        vectors = known.candidates.vectors
        apart = vectors[list(near)].double() - vectors[1:].double().mean(0)
        names = [known.titles[item] or known.items[item] for item in near]
        return Groups(names, apart, self.genres.spread)

    def facts(self, trajectory: Trajectory) -> dict[str, Any]:
        """Return a trajectory as numbers and names that JSON can hold."""
        kinds = {
            name: self._kind(interests, trajectory.plane)
            for name, interests in trajectory.interests.items()
        }
        begins = set(trajectory.changes)
        steps = [
            {"event": at + 1, **self._item(row), "is_change": at in begins}
            | {name: steps[at] for name, steps in kinds.items()}
            for at, row in enumerate(trajectory.rows.tolist())
        ]
        return {
            "name": trajectory.name,
            "window": self.recommender.model.max_seq_length,
            "changes": [at + 1 for at in trajectory.changes],
            "stretches": self.stretches(trajectory),
            "plane": {"shares": list(trajectory.plane.shares)},
            "steps": steps,
        }

    def stretches(self, trajectory: Trajectory) -> list[dict[str, Any]]:
        """Return each stretch between changes, and what the interest was nearest to in it."""
        ends = [0, *trajectory.changes, len(trajectory.rows)]
        found = []
        for begin, end in itertools.pairwise(ends):
            part = trajectory.ranked[begin:end]
            nearest = {
                name: _nearest(groups, groups.affinity(part).mean(0, keepdim=True))[0]
                for name, groups in (("genres", self.genres), ("words", self.words))
            }
            found.append({"first": begin + 1, "last": end} | nearest)
        return found

    def titles(self, trajectory: Trajectory) -> list[str]:
        """Return what to call the item of each event."""
        known = self.recommender
        return [known.titles[row] or known.items[row] for row in trajectory.rows.tolist()]

    def _kind(self, interests: Tensor, plane: Plane) -> list[dict[str, Any]]:
        """Return what each interest of a kind is near to, where it is seen and how it moved."""
        genres, words = (
            _nearest(groups, groups.affinity(interests)) for groups in (self.genres, self.words)
        )
        moved = [None, *drift(interests).tolist()]
        whole = zip(
            plane.places(interests).tolist(),
            moved,
            genres,
            words,
            self._items(interests),
            strict=True,
        )
        keys = ("place", "drift", "genres", "words", "items")
        return [dict(zip(keys, parts, strict=True)) for parts in whole]

    def _items(self, interests: Tensor) -> list[list[dict[str, Any]]]:
        return [
            [self._item(item) | {"score": score} for score, item in zip(*row, strict=True)]
            for row in self._nearest_items(interests)
        ]

    def _nearest_items(self, interests: Tensor) -> Iterator[tuple[list[float], list[int]]]:
        """Yield scores and ids of the nearest items, seen ones among them, as a list's."""
        length = min(NEAREST, len(self.recommender.items) - 1)
        for tile in torch.split(interests, TILE):
            scores, ids = top_items(tile, self.recommender.candidates, seen=None, length=length)
            yield from zip(scores.tolist(), ids.tolist(), strict=True)

    def _item(self, row: int) -> dict[str, Any]:
        return {"item": self.recommender.items[row], "title": self.recommender.titles[row]}


def _nearest(groups: Groups, affinities: Tensor) -> list[list[dict[str, Any]]]:
    """Return the nearest groups of each row of affinities ``(T, G)``, the nearest first."""
    values, places = affinities.topk(min(NEAREST, len(groups.names)), dim=1)
    return [
        [{"name": groups.names[at], "affinity": value} for value, at in zip(*row, strict=True)]
        for row in zip(values.tolist(), places.tolist(), strict=True)
    ]
