"""A ring whose users walk on, or turn round; and what a shop's users do next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from recbole_llm import run_recbole

RING, USERS, STEPS = 10, 40, 8
Event = tuple[str, str, float]


class Ring:
    """Forty users who walk eight steps; half of them turn round then."""

    turned = tuple(f"u{user}" for user in range(0, USERS, 2))

    @staticmethod
    def walk(begin: int, *, steps: int, way: int = 1) -> list[str]:
        """Return items, one after another."""
        return [f"i{(begin + way * step) % RING}" for step in range(steps)]

    @classmethod
    def turns(cls) -> list[Event]:
        """Return what the users who turn do next: six steps back."""
        return [
            (user, item, float(STEPS + step))
            for user in cls.turned
            for step, item in enumerate(cls.walk(int(user[1:]) + STEPS - 2, steps=6, way=-1))
        ]


def write_inter(path: Path, events: Sequence[Event]) -> Path:
    """Write an ``.inter`` file."""
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    rows += [f"{user}\t{item}\t{time!r}" for user, item, time in events]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def write_events(tmp_path: Path) -> Callable[[Sequence[Event]], Path]:
    """Return a function that writes new events and returns the file."""
    return lambda events: write_inter(tmp_path / "new.inter", events)


@pytest.fixture(scope="session")
def ring_world() -> type[Ring]:
    """Return what the tests know of the ring."""
    return Ring


@pytest.fixture(scope="session")
def ring_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that learned the ring, by ids alone."""
    folder = tmp_path_factory.mktemp("ring")
    events = [
        (f"u{user}", item, float(step))
        for user in range(USERS)
        for step, item in enumerate(Ring.walk(user, steps=STEPS))
    ]
    write_inter(folder / "data" / "ring.inter", events)
    settings: dict[str, Any] = {
        "data_path": str(folder / "data"), "run_dir": str(folder / "run"), "item_features": "id",
        "embedding_size": 16, "hidden_size": 32, "dropout_prob": 0.0, "learning_rate": 0.02,
        "epochs": 20, "train_batch_size": 16, "metrics": ["Hit"], "topk": [1],
        "valid_metric": "Hit@1", "show_progress": False, "enable_amp": False,
        "MAX_ITEM_LIST_LENGTH": 4,
    }  # fmt: skip
    run_recbole("LLMInterestGRU", "ring", config_dict=settings)
    return folder / "run"
