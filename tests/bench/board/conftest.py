"""Made-up results: whole folders of records with their ranks, as the runner leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from recbole_llm.bench.results import failure_path, ranks_path, record_path, spec_id
from recbole_llm.files import write_json
from recbole_llm.ranking_metrics import expected_metric
from recbole_llm.ranks import RANKS, Ranks, write_ranks

METRICS = ("recall@10", "ndcg@10", "mrr@10", "hit@10")
NUM_ITEMS = 1682


class Made(NamedTuple):
    """A row of a made-up suite; ``skill`` moves targets up, by a factor of e a unit."""

    label: str
    role: str
    skill: float
    seconds: float = 100.0
    parameters: int = 250_000


class Results:
    """A folder of made-up results."""

    def __init__(self, folder: Path, *, num_users: int) -> None:
        self.folder = folder
        self.num_users = num_users
        self.ruler: str | None = None
        self.plan: list[dict[str, Any]] = []

    def spec(self, made: Made, dataset: str, seed: int, **settings: Any) -> dict[str, Any]:
        model = made.label.partition(",")[0]
        return {"model": model, "dataset": dataset, "seed": seed, "settings": settings}

    def add(self, made: Made, dataset: str, seed: int, **changes: Any) -> Path:
        """Write a record and its ranks; ``changes`` replace what the record holds."""
        spec = self.spec(made, dataset, seed, **changes.pop("settings", {}))
        ranks = self._ranks(made, dataset, seed)
        facts = {
            **self._facts(made, spec, ranks),
            "curve": _curve(made, seed),
            "slices": _slices(ranks),
            **changes,
        }
        path = self._want(made, spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, facts)
        write_ranks(path.parent, ranks)
        (path.parent / RANKS).replace(ranks_path(path))
        return path

    def absent(self, made: Made, dataset: str, seed: int, *, skip: str | None = None) -> None:
        """Want a run that is not there."""
        self._want(made, self.spec(made, dataset, seed), skip=skip)

    def fail(self, made: Made, dataset: str, seed: int, error: str) -> None:
        """Want a run that failed."""
        spec = self.spec(made, dataset, seed)
        path = failure_path(self._want(made, spec))
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, _, message = error.partition(": ")
        write_json(
            path,
            self._head(made, spec)
            | {"error": {"type": kind, "message": message, "traceback": "..."}, "seconds": 3.0},
        )

    def write_plan(
        self, *, metric: str = "ndcg@10", claim: Mapping[str, Any] | None = None
    ) -> None:
        """Write which runs the suite wants: all that were added, in their order."""
        self.folder.mkdir(exist_ok=True)
        about = "Made-up runs for tests."
        facts = {"schema": 1, "suite": self.folder.name, "about": about, "metric": metric}
        facts["claim"] = claim
        write_json(self.folder / "suite.json", {**facts, "runs": self.plan})

    def _want(self, made: Made, spec: Mapping[str, Any], *, skip: str | None = None) -> Path:
        path = record_path(made.label, spec)
        run = {"label": made.label, "role": made.role, "path": path, "skip": skip}
        run |= {"dataset": spec["dataset"], "seed": spec["seed"], "spec_id": spec_id(spec)}
        run |= {"ruler": self.ruler}
        self.plan.append(run)
        return self.folder / path

    def _head(self, made: Made, spec: Mapping[str, Any]) -> dict[str, Any]:
        command = f"run_recbole --model={spec['model']} --dataset={spec['dataset']}"
        return {
            "schema": 1,
            "suite": self.folder.name,
            "ruler": self.ruler,
            "label": made.label,
            "role": made.role,
            "spec_id": spec_id(spec),
            "spec": spec,
            "command": f"{command} --seed={spec['seed']}",
        }

    def _ranks(self, made: Made, dataset: str, seed: int) -> Ranks:
        """Return ranks that hang on the user, which all models share, on skill and on chance."""
        shared = np.random.default_rng(sum(map(ord, dataset)))
        hardness = shared.normal(4.5, 1.7, self.num_users)
        own = np.random.default_rng([seed, *map(ord, made.label)])
        place = np.exp(hardness - made.skill + own.normal(0, 0.7, self.num_users))
        above = np.clip(place, 0, NUM_ITEMS - 1).astype(np.int64)
        return Ranks(
            users=[str(user) for user in range(1, self.num_users + 1)],
            items=[str(item) for item in shared.integers(1, NUM_ITEMS, self.num_users)],
            above=above,
            ties=np.zeros_like(above),
            candidates=np.full_like(above, NUM_ITEMS),
            users_without_case=[],
            popularity=np.resize([300, 100, 10, 0], self.num_users),  # head, torso, tail, cold
            history=np.resize([2, 6, 15, 30, 60], self.num_users),
        )

    def _facts(self, made: Made, spec: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
        test = _metrics(ranks, slice(None))
        jitter = 1 + 0.02 * (spec["seed"] % 5)
        lists = {"coverage@10": 0.4 + made.skill / 10, "gini@10": 0.8 - made.skill / 10}
        return {
            **self._head(made, spec),
            **{key: spec[key] for key in ("model", "dataset", "seed")},
            "best_valid_result": {name: 1.05 * value for name, value in test.items()},
            "test_result": test,
            "seconds": {"prepare": 0.8, "encode": 9.5, "train": made.seconds * jitter}
            | {"evaluate": 12.0, "per_epoch": made.seconds / 40},
            "epochs": 40,
            "best_epoch": 28,
            "protocol": PROTOCOL | {"data_sha256": {f"{spec['dataset']}.inter": "0123abcd" * 8}},
            "parameters": {"trainable": made.parameters},
            "peak_memory_mib": 812.5,
            "device": "cpu",
            "versions": {"python": "3.11.2", "recbole-llm": "0.1.0", "recbole": "1.2.1"},
            "commit": "8fa0a6f" + "0" * 33,
            "settings": {"valid_metric": "NDCG@10"},
            "gaps": {},
            "lists": lists | {"popularity@10": 168.9, "text_diversity@10": None},
        }


PROTOCOL = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": {"test": "full"}},
    "time_precision": "exact",
    "max_length": 50,
    "seen_items_filtered": False,
    "ties": "expectation over their order",
    "candidates": "all items",
}


def _metrics(ranks: Ranks, cases: Any) -> dict[str, float]:
    part = Ranks([], [], ranks.above[cases], ranks.ties[cases], ranks.candidates[cases], [])
    names = [name.split("@") for name in METRICS]
    return {f"{name}@{k}": float(expected_metric(name, part, k=int(k)).mean()) for name, k in names}


def _slices(ranks: Ranks) -> dict[str, Any]:
    """Return slices of the cases by their number, so that groups differ by chance alone."""
    number = np.arange(len(ranks.users))
    parts = {
        "item_popularity": ("head", "torso", "tail", "cold"),
        "history_length": ("1-4", "5-9", "10-19", "20-49", "50+"),
        "user.gender": ("F", "M"),
    }
    slices: dict[str, Any] = {}
    for name, groups in parts.items():
        slices[name] = {}
        for at, group in enumerate(groups):
            cases = np.flatnonzero(number % len(groups) == at)
            slices[name][group] = {"cases": len(cases), "metrics": _metrics(ranks, cases)}
    return slices


def _curve(made: Made, seed: int) -> list[dict[str, float]]:
    chance = np.random.default_rng(seed)
    best = 0.05 * np.exp(made.skill)
    return [
        {
            "epoch": epoch,
            "seconds": made.seconds * (epoch + 1) / 40,
            "valid": float(best * (1 - np.exp(-epoch / 7)) + chance.normal(0, 0.001)),
        }
        for epoch in range(40 if made.seconds else 0)
    ]


@pytest.fixture(scope="session")
def make_results() -> type[Results]:
    """Return the class of made-up results."""
    return Results


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Return an empty folder of made-up results, of 20 users."""
    return Results(tmp_path / "quick", num_users=20)


LSTM = Made("LLMInterestLSTM", "model", 0.9)
GRU4REC = Made("GRU4Rec", "baseline", 0.3, 900.0, 400_000)
POPULARITY = Made("Popularity", "control", -0.6, 0.0, 0)


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """Return rows to add, and the protocol that records have."""
    return SimpleNamespace(lstm=LSTM, gru4rec=GRU4REC, popularity=POPULARITY, protocol=PROTOCOL)


@pytest.fixture
def small(results: Results) -> Results:
    """Return three rows of two seeds, one run failed and one left out, with a plan."""
    for made in (LSTM, GRU4REC, POPULARITY):
        for seed in (2020, 2021):
            results.add(made, "ml-100k", seed)
    results.fail(GRU4REC, "ml-100k", 2022, "OutOfMemoryError: 3 GiB wanted,\n  2 GiB free")
    results.absent(Made("SASRec_100% & more", "baseline", 0), "ml-100k", 2020, skip="too slow")
    results.absent(Made("BERT4Rec", "baseline", 0), "ml-100k", 2020)
    results.write_plan()
    return results
