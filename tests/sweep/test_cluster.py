"""Sweeps on a Ray cluster of several nodes, started on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from recbole_llm.sweep.search import place_of

pytestmark = pytest.mark.slow
GRID = {
    "searcher": "grid",
    "budget": {},
    "space": {"learning_rate": {"choice": [0.01, 1e-6, 0.02, 2e-6, 0.03, 3e-6]}},
}


def settings(epochs: int) -> dict[str, Any]:
    """Return settings of a small model that trains so many epochs."""
    return {
        "item_features": "id", "embedding_size": 8, "hidden_size": 8, "train_batch_size": 8,
        "stopping_step": 1000, "epochs": epochs,
    }  # fmt: skip


@pytest.fixture
def nodes() -> Iterator[Callable[..., Cluster]]:
    """Return a function that starts a Ray cluster of several nodes on this machine."""
    started: list[Cluster] = []

    def start(**resources: Any) -> Cluster:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **resources})
        started.append(cluster)
        return cluster

    yield start
    for cluster in started:
        cluster.shutdown()


def test_a_cluster_loses_a_node_in_the_middle(sweep, runner, nodes, until) -> None:
    """Its trials begin again on what is left."""
    cluster = nodes()
    lost = cluster.add_node(num_cpus=1)
    one = sweep(**GRID, settings=settings(300), concurrency=2)

    def lose() -> None:
        until(lambda: sum(bool(one.curve) for one in runner.ledger.trials()) == 2)
        cluster.remove_node(lost, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    with place_of(one, address=cluster.address) as ray:
        trials = runner(one, ray=ray)
    thread.join()
    assert len(trials) == 6 and {one.state for one in trials} == {"done"}
    assert sorted(one.attempts for one in trials)[-1] == 2, runner.heard


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_trial_sees_its_own_gpu_and_no_other(sweep, runner, nodes, monkeypatch, share) -> None:
    """By UUID as well, as with MIG; where it has none it sees none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a,MIG-2b")
    cluster = nodes(num_gpus=2)
    cluster.add_node(num_cpus=1)
    resources = {"cpus": 0.5, "gpus": share}
    one = sweep(**GRID, settings=settings(30), resources=resources)
    with place_of(one, address=cluster.address) as ray:
        trials = runner(one, ray=ray)
    assert {one.state for one in trials} == {"done"}
    seen = {one.gpu for one in trials}
    assert seen <= ({"GPU-1a", "MIG-2b"} if share else {""})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-1a,MIG-2b"
