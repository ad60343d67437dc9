"""TensorBoard and W&B hear the same; one progress bar an epoch."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_llm import run_recbole
from recbole_llm.errors import RequestError

BY_RECBOLE = {"Loss/Train", "Vaild_score"}  # the same once more, for whoever looks for its names
METRICS = ("recall@3", "mrr@3", "ndcg@3", "hit@3", "precision@3")
SHARED = {"train/train_loss", *(f"{part}/{name}" for part in ("valid", "test") for name in METRICS)}


def from_tensorboard() -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of the one run below log_tensorboard."""
    (folder,) = Path("log_tensorboard").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert set(events.Tags()["scalars"]) == SHARED | BY_RECBOLE
    return {
        name: [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]
        for name in SHARED
    }


class FakeWandb(ModuleType):
    """Keeps what it is told; a unit test's stand-in for the real one below."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.run = SimpleNamespace(summary={})
        self.logged: list[dict] = []

    def define_metric(self, *_: str, **__: str) -> None: ...

    def log(self, metrics: dict, commit: bool) -> None:
        self.logged.append(metrics)


def told(logged: list[dict], name: str) -> list[tuple[int, float]]:
    step = name.split("/")[0] + "_step"
    return [(int(one[step]), one[name]) for one in logged if name in one]


def test_both_hear_the_same(toy, monkeypatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    result = run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "log_wandb": True})
    scalars = from_tensorboard()
    for name in SHARED:
        if name.startswith("test/"):
            assert [wandb.run.summary[name]] == [value for _, value in scalars[name]]
        else:
            assert told(wandb.logged, name) == scalars[name] and len(scalars[name]) == 3
    assert wandb.run.summary["test/ndcg@3"] == result["test_result"]["ndcg@3"]
    assert not [name for name in wandb.run.summary if name.startswith("eval/")]


@pytest.mark.slow
def test_the_real_wandb_hears_it_too(toy, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    import wandb

    run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "log_wandb": True})
    heard = {name: wandb.run.summary[name] for name in SHARED}  # the last of each, from its service
    wandb.finish()
    assert list(Path("wandb").glob("offline-run-*/*.wandb"))
    assert heard == {name: values[-1][1] for name, values in from_tensorboard().items()}


@pytest.mark.parametrize(
    ("missing", "words"), [(True, "needs wandb. Run: pip"), (False, "No API key .* WANDB_MODE=off")]
)
def test_without_wandb_or_its_key_nothing_begins(toy, monkeypatch, missing, words: str) -> None:
    import wandb

    def init(**_) -> None:  # as the real one says it in a process that was never logged in
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", init)
    if missing:
        monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("recbole_llm.quick_start.prepare", lambda _: pytest.fail("data was read"))
    with pytest.raises(RequestError, match=f"log_wandb: .*{words}"):
        run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "log_wandb": True})


@pytest.mark.parametrize("model", ["LLMInterestLSTM", "GRU4Rec"])
def test_one_progress_bar_an_epoch(toy, capfd, model: str) -> None:
    run_recbole(model, "toy", config_dict={**toy, "show_progress": True, "state": "error"})
    bars = [line for line in capfd.readouterr().err.replace("\r", "\n").split("\n") if "|" in line]
    names = [re.sub(r"\x1b\[[\d;]*m", "", bar).split(":")[0].strip() for bar in bars]
    one_after_another = [name for name, _ in groupby(names)]  # a bar is drawn again as it grows
    assert one_after_another == ["Epoch     0", "Epoch     1", "Epoch     2", "Evaluate"]
