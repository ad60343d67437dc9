"""The state of a training between two epochs: with it, training goes on as if never stopped."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_llm.errors import RunDirError
from recbole_llm.train.checkpoints import read_tensors, vector_digests, write_tensors
from recbole_llm.train.packing import pack, unpack

FORMAT = "recbole-llm training 1"
PROGRESS = (  # attributes of a trainer that change from epoch to epoch
    "cur_step",
    "best_valid_score",
    "best_valid_result",
    "best_epoch",
    "epoch_seconds",
    "evaluate_seconds",
    "curve",
)


def save_state(path: Path, trainer: Any, *, next_epoch: int, is_finished: bool) -> None:
    """Write all that the next epoch depends on, atomically.

    Args:
        path: The file.
        trainer: A trainer of ours, after ``next_epoch`` epochs.
        next_epoch: The epoch to come.
        is_finished: Whether there is none to come, because training ended or was stopped early.
    """
    random_states = trainer.world.gather(random_state(trainer.loader))
    if not trainer.world.is_first:
        return
    state = {
        "weights": dict(trainer.model.state_dict()),
        "steps": trainer.steps.state_dict(),
        "random": random_states,
        "progress": {name: _plain(getattr(trainer, name)) for name in PROGRESS},
        "next_epoch": next_epoch,
        "is_finished": is_finished,
    }
    tensors: dict[str, torch.Tensor] = {}
    packed = pack(state, "state", tensors)
    about = {"format": FORMAT, "vectors": vector_digests(trainer.model), "state": packed}
    write_tensors(path, tensors, about=about)


def load_state(path: Path, trainer: Any) -> dict[str, Any]:
    """Bring a trainer back to where :func:`save_state` saw it.

    Returns:
        ``next_epoch``, ``is_finished``, and ``random``, of each process what
        :func:`restore_random` wants right before the next epoch.

    Raises:
        RunDirError: If the file is missing, damaged, or of another model.
    """
    fields = {"vectors": dict, "state": dict}
    tensors, about = read_tensors(path, kind=FORMAT, fields=fields, device=torch.device("cpu"))
    try:
        if about["vectors"] != vector_digests(trainer.model):
            raise ValueError("it was trained on other item vectors than are here now")
        state = unpack(about["state"], tensors)
        trainer.model.load_state_dict(state["weights"])
        trainer.steps.load_state_dict(state["steps"])
        for name in PROGRESS:
            setattr(trainer, name, state["progress"][name])
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        raise RunDirError(
            f"{path}: training cannot go on from it: {error}. Start a new run."
        ) from None
    return {key: state[key] for key in ("next_epoch", "is_finished", "random")}


def random_state(loader: Any) -> dict[str, Any]:
    """Return the states of all sources of chance that training draws from.

    Args:
        loader: The training data; RecBole's has a generator of its own.
    """
    generator = getattr(loader, "generator", None)
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "loader": None if generator is None else generator.get_state(),
    }


def restore_random(state: Mapping[str, Any], loader: Any) -> None:
    """Set all sources of chance to what :func:`random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if state["loader"] is not None:
        loader.generator.set_state(state["loader"])


def _plain(value: Any) -> Any:
    """Return NumPy's numbers, and dictionaries of them, as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, np.generic) else value
