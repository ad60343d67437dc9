"""Sweeps on a Ray cluster of several nodes, started on this machine."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from recbole_llm.sweep.search import place_of

pytestmark = pytest.mark.slow
GPUS = "GPU-1a,MIG-2b"
GRID = {
    "searcher": "grid",
    "budget": {},
    "space": {"learning_rate": {"choice": [0.01, 1e-6, 0.02, 2e-6]}},
}


def settings(epochs: int) -> dict[str, Any]:
    """Return settings of a small model that trains so many epochs."""
    return {
        "item_features": "id", "embedding_size": 8, "hidden_size": 8, "train_batch_size": 8,
        "stopping_step": 1000, "epochs": epochs,
    }  # fmt: skip


@contextmanager
def two_nodes(**head: Any) -> Iterator[Cluster]:
    """Yield a Ray cluster of two nodes on this machine, of a core each; the head has more."""
    head = {"num_cpus": 1, "include_dashboard": False, **head}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def with_gpus() -> Iterator[Cluster]:
    """Return a cluster whose head has two GPUs."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CUDA_VISIBLE_DEVICES", GPUS)  # read when the nodes begin
            cluster = stack.enter_context(two_nodes(num_gpus=2))
        yield cluster


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_a_trial_sees_its_own_gpu_and_no_other(
    sweep, runner, with_gpus, monkeypatch, share
) -> None:
    """By UUID as well, as with MIG; where it has none it sees none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", GPUS)
    resources = {"cpus": 0.5 if share else 1, "gpus": share}  # two on one node, or one on each
    epochs = 300 if share == 1 else 30  # so that they run at the same time
    one = sweep(**GRID, settings=settings(epochs), resources=resources)
    with place_of(one, address=with_gpus.address) as ray:
        trials = runner(one, ray=ray)
    assert {one.state for one in trials} == {"done"}
    seen = {one.gpu for one in trials}
    assert seen <= (set(GPUS.split(",")) if share else {""})
    assert share < 1 or seen == set(GPUS.split(","))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == GPUS


def test_a_cluster_loses_a_node_in_the_middle(sweep, runner, until) -> None:
    """Its trials begin again on what is left."""
    one = sweep(**GRID, settings=settings(300), concurrency=2)

    def lose(cluster: Cluster) -> None:
        until(lambda: sum(bool(one.curve) for one in runner.ledger.trials()) == 2)
        (lost,) = cluster.worker_nodes
        cluster.remove_node(lost, allow_graceful=False)

    with two_nodes() as cluster, place_of(one, address=cluster.address) as ray:
        thread = threading.Thread(target=lose, args=(cluster,))
        thread.start()
        trials = runner(one, ray=ray)
        thread.join()
    assert len(trials) == 4 and {one.state for one in trials} == {"done"}
    assert sorted(one.attempts for one in trials)[-1] == 2, runner.heard


def test_a_whole_sweep_runs_on_a_cluster_from_the_command_line(
    write_sweep, start, with_gpus, tmp_path
) -> None:
    """Trials, finalists and the runs of the winner, all without the GPUs that are there."""
    one = write_sweep(**GRID | {"finalists": {"top": 2, "seeds": [1, 2]}}, settings=settings(2),
                      resources={"gpus": 0})  # fmt: skip
    options = ("--address=auto", "--results=out", f"--work={tmp_path / 'work'}")
    process = start(one, *options, RAY_ADDRESS=with_gpus.address)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["test"]["scores"].keys() == {"1", "2"}
    found = [json.loads(file.read_text()) for file in (tmp_path / "out/trials").glob("*.json")]
    assert [one["role"] for one in found].count("finalist") == 4 and len(found) == 8
    assert {one["state"] for one in found} == {"done"} and {one["gpu"] for one in found} == {""}
    tests = [json.loads(file.read_text()) for file in (tmp_path / "out/tests").glob("*.json")]
    assert [one["settings"]["use_gpu"] for one in tests] == [False, False]
