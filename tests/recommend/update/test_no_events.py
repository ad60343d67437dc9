"""Users whom the ``.user`` file names, and whose events the run's filter leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_llm import Recommender, fit_partial, run_recbole
from recbole_llm.errors import DataError, RequestError
from recbole_llm.recommend.catalogue import read_catalogue
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.trajectory.atlas import Atlas

USERS, STEPS = 8, 6
NONE = r"user: 'z1' has no events in the run's data\. Give a history\."


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that knows ``z1`` and ``z2`` by name alone; their events are too late for it."""
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "quiet").mkdir()
    walks = [(user, step, (user + step) % 7) for user in range(USERS) for step in range(STEPS)]
    rows = [f"u{user}\ti{item}\t{float(step)}" for user, step, item in walks]
    rows += ["z1\ti0\t105.0", "z2\ti1\t105.0"]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "quiet" / "quiet.inter").write_text("\n".join([head, *rows, ""]))
    names = [*(f"u{user}" for user in range(USERS)), "z1", "z2"]
    rows = ["user_id:token\tage:float", *(f"{name}\t30" for name in names), ""]
    (folder / "quiet" / "quiet.user").write_text("\n".join(rows))
    settings = {
        "data_path": str(folder), "run_dir": str(folder / "run"), "item_features": "id",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "user": ["user_id", "age"]},
        "val_interval": {"timestamp": "[0,100]"}, "embedding_size": 4, "hidden_size": 4,
        "epochs": 1, "metrics": ["Hit"], "topk": [1], "valid_metric": "Hit@1",
        "show_progress": False, "enable_amp": False, "MAX_ITEM_LIST_LENGTH": 1,
    }  # fmt: skip
    run_recbole("LLMInterestGRU", "quiet", config_dict=settings)
    return folder / "run"


def test_every_time_is_later_than_the_last_of_a_user_without_events(run_dir) -> None:
    kept = read_catalogue(run_dir)
    counts = dict(zip(kept.users, np.diff(kept.ends.numpy(), prepend=0).tolist(), strict=True))
    lasts = dict(zip(kept.users, kept.lasts.tolist(), strict=True))
    assert counts == {f"u{user}": STEPS for user in range(USERS)} | {"z1": 0, "z2": 0}
    assert lasts == {f"u{user}": STEPS - 1.0 for user in range(USERS)} | {
        "z1": -np.inf,
        "z2": -np.inf,
    }


def test_an_update_counts_their_targets_as_those_of_a_new_user(
    run_dir, write_events, tmp_path
) -> None:
    """Of z1's three events two are targets, of u0's one; z2 still has no event."""
    events = [("z1", "i0", 1.0), ("z1", "i1", 2.0), ("z1", "i2", 3.0), ("u0", "i3", 9.0)]
    found = fit_partial(run_dir, write_events(events), out=tmp_path / "new", epochs=1)
    counts = [found[f"new_{what}"] for what in ("events", "targets", "users", "items")]
    assert counts == [4, 3, 0, 0] and found["replayed_targets"] == 3
    kept = read_catalogue(tmp_path / "new")
    assert [kept.lasts[kept.users.index(user)] for user in ("z1", "z2")] == [3.0, -np.inf]
    recommender = Recommender.load(tmp_path / "new")
    assert recommender.for_user("z1", k=3) != recommender.most_popular(3)
    assert recommender.for_user("z2", k=3) == recommender.most_popular(3)


def test_their_first_events_alone_teach_nothing(run_dir, write_events, tmp_path) -> None:
    file = write_events([("z1", "i0", 50.0), ("v1", "i1", 50.0)])
    with pytest.raises(DataError, match="every event is the first of its user"):
        fit_partial(run_dir, file, out=tmp_path / "new")


def test_no_state_or_trajectory_is_made_of_nothing(run_dir) -> None:
    recommender = Recommender.load(run_dir)
    with pytest.raises(RequestError, match=NONE):
        recommender.start(user="z1")
    with pytest.raises(RequestError, match=NONE):
        Atlas(recommender).trajectory(Request(user="z1"), name="z1")
