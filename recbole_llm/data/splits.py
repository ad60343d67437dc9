"""Splits that RecBole lacks: a global cut in time, and items held out of training.

Letters: E events, in exact time order, N items. Each event has a level: 0 is training's, 1 is
validation's, 2 is the test's. Training holds the events of level 0 and no others. A user's case of
validation or test is the first event of that level, if an event that may be seen precedes it; its
history is all events of that or a lower level before it. So no part of the data holds an event that
it must not know, and a user has one case at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from torch import Tensor

from recbole_llm.errors import DataError
from recbole_llm.settings import OWN_SPLITS, ColdStart

DatasetLike: Any = object  # what a mixin of any RecBole dataset may ask of itself


class Splits(DatasetLike):
    """Mixin for any RecBole dataset whose events are in exact order: RecBole's splits, and ours.

    Attributes:
        known_items: Of a training part of one of our splits, or of a share of the users, the items
            that it holds, ``(K,)``: all others are no candidates in training. None where all items
            are.
    """

    known_items: Tensor | None = None
    inter_feat: Any

    def _normalize(self) -> None:
        """Keep the exact times before RecBole scales them to 0..1."""
        kind, _ = self._split()
        if kind in OWN_SPLITS:
            self._sort_by_time()
            self._times = self.inter_feat[self.time_field].to_numpy(copy=True)
        super()._normalize()

    def _split(self) -> tuple[str, Any]:
        """Return the kind of split and what it says; benchmark files come split."""
        split = self.config["eval_args"]["split"]
        if not split or self.config["benchmark_filename"]:
            return "", None
        ((kind, how),) = split.items()
        return kind, how

    def build(self) -> list[Any]:
        """Split into training, validation and test, and refuse a split that leaves a part empty.

        Raises:
            DataError: If there is nothing to train on, or nothing in a part that the split makes.
        """
        kind, how = self._split()
        parts = self._own_parts() if kind in OWN_SPLITS else super().build()
        left_out = {"valid_only": "test", "test_only": "validation"}.get(str(how))
        for name, part in zip(("training", "validation", "test"), parts, strict=True):
            if len(part) == 0 and name != left_out:
                self._refuse_empty(name)
        if (self.config["train_share"] or 1.0) < 1:
            self._keep_share(parts[0])
        return parts

    def _keep_share(self, training: Any) -> None:
        """Take users out of a training part, with all that they did, and what no other did."""
        users, share = training.inter_feat[self.uid_field], self.config["train_share"]
        tokens, seed = self.field2id_token[self.uid_field], self.config["train_share_seed"] or 0
        everyone = users.unique()
        chosen = drawn_users(tokens[everyone.numpy()], share=share, seed=seed)
        is_kept = torch.from_numpy(np.isin(tokens[users.numpy()], chosen))
        training.inter_feat = training.inter_feat[is_kept.nonzero()[:, 0]]
        counts = np.asarray(training.inter_matrix().sum(axis=0)).ravel()
        training.known_items = torch.from_numpy(np.flatnonzero(counts))
        self.logger.info(
            f"train_share {share:g}: training sees {len(chosen)} of {len(everyone)} users, "
            f"{int(is_kept.sum())} of {len(users)} targets and {len(training.known_items)} items; "
            "no other item is a candidate in training."
        )

    def _refuse_empty(self, name: str) -> None:
        kind, how = self._split()
        needs = {
            "LS": "Leave-one-out needs users with at least 4 interactions.",
            "time_cut": "A case needs a user with an interaction before the cut and one after.",
            "cold_start": "A case needs an interaction before that with a held-out item.",
        }.get(kind, "Give it a larger share.")
        raise DataError(
            f"{self.dataset_name}: the {name} part of split {{{kind!r}: {how!r}}} is empty. {needs}"
        )

    def _own_parts(self) -> list[Any]:
        table = self.inter_feat
        users = table[self.uid_field].to_numpy()
        levels = self._levels(table[self.iid_field].to_numpy())
        masks = [levels == 0, *(cases_of(users, levels, level=level) for level in (1, 2))]
        enough = [len(np.unique(users[masks[0]])) < masks[0].sum(), masks[1].any(), masks[2].any()]
        for name, is_enough in zip(("training", "validation", "test"), enough, strict=True):
            if not is_enough:
                self._refuse_empty(name)
        Dataset._change_feat_format(self)  # users and items, once for all parts
        training, *cases = (self._part(table[mask]) for mask in masks)
        known = table[self.iid_field].to_numpy()[masks[0]]
        training.known_items = torch.from_numpy(np.unique(known))
        for part in cases:
            part.inter_feat = part.inter_feat[_last_of_each(part.inter_feat[self.uid_field])]
        return [training, *cases]

    def _levels(self, items: np.ndarray) -> np.ndarray:
        """Return the level of each event, ``(E,)``."""
        kind, how = self._split()
        if kind == "time_cut":
            cuts = cut_times(self._times, how)
            levels = np.searchsorted(cuts, self._times, side="right")
            about = f"training before time {cuts[0]!r}, test from {cuts[1]!r}"
        else:
            of_item = self._item_levels(items, ColdStart(**how))
            levels = of_item[items]
            counts = np.bincount(of_item[np.unique(items)], minlength=3)
            about = "{} items trained, {} held out for validation, {} for the test".format(*counts)
        events = np.bincount(levels, minlength=3)
        new = len(np.setdiff1d(items, items[levels == 0]))
        self.logger.info(
            f"Split {kind}: {about}; {events[0]}, {events[1]} and {events[2]} interactions; {new} "
            "items have none in training. They are candidates in evaluation, not in training."
        )
        return levels

    def _item_levels(self, items: np.ndarray, how: ColdStart) -> np.ndarray:
        """Return the level of each item, ``(N,)``."""
        present, first = np.unique(items, return_index=True)
        by_name = np.argsort(self.field2id_token[self.iid_field][present])
        present, times = present[by_name], self._times[first[by_name]]
        if how.items == "newest":
            order = np.argsort(times, kind="stable")
        else:
            order = np.random.default_rng(how.seed).permutation(len(present))
        levels = np.zeros(self.item_num, dtype=np.int64)
        levels[present[order]] = np.repeat([0, 1, 2], share_sizes(how.shares, len(present)))
        return levels

    def _part(self, table: Any) -> Any:
        """Return a dataset of some of the events, in RecBole's form and with its cases."""
        part = self.copy(table.reset_index(drop=True))
        part.feat_name_list = ["inter_feat"]
        part._change_feat_format()
        part.feat_name_list = self.feat_name_list
        part._drop_unused_col()
        return part


def share_sizes(shares: Sequence[float], total: int) -> np.ndarray:
    """Return how many of ``total`` each share is, ``(3,)``; rounding is at their borders."""
    borders = np.cumsum([0.0, *shares]) / sum(shares) * total
    return np.diff(np.round(borders).astype(np.int64))


def drawn_users(users: Sequence[str], *, share: float, seed: int) -> np.ndarray:
    """Return a share of the users, at least one; those of a smaller share are among them.

    Args:
        users: Raw ids, in any order.
        share: Of them.
        seed: Of the draw.
    """
    order = np.random.default_rng(seed).permutation(np.sort(users))
    return order[: max(1, round(share * len(order)))]


def cut_times(times: np.ndarray, how: Sequence[float]) -> tuple[float, float]:
    """Return the times from which events are validation's and the test's.

    Args:
        times: Of all events, in order, ``(E,)``.
        how: The two times, or three shares of the events. Events that share the time at a border
            are all behind it.
    """
    if len(how) == 2:
        return float(how[0]), float(how[1])
    first, second, _ = np.cumsum(share_sizes(how, len(times))).clip(max=len(times) - 1)
    return float(times[first]), float(times[second])


def cases_of(users: np.ndarray, levels: np.ndarray, *, level: int) -> np.ndarray:
    """Tell which events the cases of a level need: each user's case and its history.

    Args:
        users: The user of each event, ``(E,)``, in time order.
        levels: The level of each event, ``(E,)``.
        level: 1 for validation, 2 for the test.

    Returns:
        ``(E,)``, true for a user's first event of the level and the events of no higher level
        before it, if there are any.
    """
    seen = np.flatnonzero(levels <= level)
    seen = seen[np.argsort(users[seen], kind="stable")]  # user after user, in time order
    is_first = np.ones(len(seen), dtype=bool)
    is_first[1:] = users[seen[1:]] != users[seen[:-1]]
    group, begin, at = np.cumsum(is_first) - 1, np.flatnonzero(is_first), np.arange(len(seen))
    is_target = levels[seen] == level
    target = np.full(len(begin), -1)
    target[group[is_target][::-1]] = at[is_target][::-1]  # the first one is written last
    has_case = target > begin
    needed = np.zeros(len(users), dtype=bool)
    needed[seen[has_case[group] & (at <= target[group])]] = True
    return needed


def _last_of_each(users: Tensor) -> Tensor:
    """Return the position of each user's last case; cases are user after user."""
    is_last = torch.ones(len(users), dtype=torch.bool)
    is_last[:-1] = users[:-1] != users[1:]
    return torch.nonzero(is_last)[:, 0]
