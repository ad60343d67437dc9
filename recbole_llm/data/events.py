"""A part of a sequential dataset as cases, each a place in one flat array of events.

Events stand user after user, in time order; a case is an event that has others before it.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

EVENT = "_event"  # column of a case: where its target stands in the flat array of events


def take(interaction: Interaction, index: Tensor) -> Interaction:
    """Return rows of an interaction by a tensor of positions."""
    return Interaction({name: value[index] for name, value in interaction.interaction.items()})


def interactions_of(dataset: Any) -> Interaction:
    """Return a part's interactions: its targets, and the first event of each user it begins with.

    The length of a history does not tell: where one event is the most that is read, all are 1.
    """
    event, users = dataset.inter_feat[EVENT], dataset.events[dataset.uid_field]
    start = torch.searchsorted(users, users[event])
    return take(dataset.events, torch.cat([event, start[event == start + 1]]))
