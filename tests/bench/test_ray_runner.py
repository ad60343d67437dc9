"""Runs as Ray tasks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from ray.cluster_utils import Cluster

from recbole_llm.bench.ray_runner import RayRunner
from recbole_llm.bench.results import read_failures, read_records
from recbole_llm.cluster import CONNECTS_ANEW, COPIES_FOLDER
from recbole_llm.errors import RequestError


def test_without_ray_the_way_out_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RequestError, match=r"need Ray. Run: pip install 'ray\[tune\]>=2.54'"):
        next(RayRunner(address="auto", gpus=0, cpus=1)([]))


@pytest.mark.slow
def test_what_this_machine_does_not_have_is_refused(write_suite, start, small) -> None:
    process = start(write_suite(settings=small), "--gpus=99", "--seeds=1")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "--gpus: a run shall have 99, and this machine has" in err


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "a:99999999"])
def test_an_address_where_nobody_listens_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match=f"--address: {address} is no Ray cluster that answers"):
        next(RayRunner(address=address, gpus=0, cpus=1)([]))


def test_an_address_where_another_server_is_is_refused() -> None:
    """Ray itself would ask it for many minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_as_http, args=(server,))
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        words = rf"--address: {address} is no Ray cluster that answers \(another server is there\)"
        with pytest.raises(RequestError, match=words):
            next(RayRunner(address=address, gpus=0, cpus=1)([]))
        thread.join()


def _answer_as_http(server: socket.socket) -> None:
    with server.accept()[0] as connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("nothing found", r"auto is no Ray cluster that answers \(nothing found\)"),
        (
            "No node info found matching the attributes",
            r"the cluster at auto does not know this machine. .* ray start --address=auto",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_refused(monkeypatch, told, words) -> None:
    """Or one that this machine is no node of."""

    def init(**_) -> None:
        raise ConnectionError(told)

    monkeypatch.setitem(
        sys.modules,
        "ray",
        SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=KeyError)),
    )
    with pytest.raises(RequestError, match=words):
        next(RayRunner(address="auto", gpus=0, cpus=1)([]))


@pytest.mark.slow
def test_under_uv_no_folder_is_copied_and_nothing_connects_anew(tmp_path: Path) -> None:
    """Ray would take the working folder along, which may hold an environment of gigabytes."""
    code = (
        "from recbole_llm.cluster import cluster\n"
        "with cluster(None) as ray:\n"
        "    print('working_dir', ray.get_runtime_context().runtime_env.get('working_dir'))\n"
        "try:\n"
        "    ray.put(1)\n"
        "except Exception:\n"
        "    print('is connected', ray.is_initialized())"
    )
    ours = (COPIES_FOLDER, CONNECTS_ANEW)
    env = {name: value for name, value in os.environ.items() if name not in ours}
    words = ["uv", "run", "--no-project", "--python", sys.executable, "python", "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["working_dir None", "is connected False"]


STRANGERS = """
import os, subprocess, sys
from recbole_llm.cluster import cluster
join = "import sys, ray; ray.init(address=sys.argv[1])"
with cluster(None) as ray:
    words = [sys.executable, "-c", join, ray.get_runtime_context().gcs_address]
    plain = {name: value for name, value in os.environ.items() if "RAY_AUTH" not in name}
    wrong = {**plain, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "1"}
    tried = [subprocess.Popen(words, env=env, stderr=subprocess.PIPE) for env in (plain, wrong)]
    for one in tried:
        _, said = one.communicate()
        print(one.returncode, b"Failed to connect to Ray cluster" in said)
"""


@pytest.mark.parametrize(
    ("there", "asked", "gpus", "visible"),
    [(2, None, 1.0, "0,1"), (0, None, 0.0, ""), (2, 0.0, 0.0, ""), (2, 0.25, 0.25, "0,1")],
)
def test_a_run_sees_the_gpus_that_it_asked_for(monkeypatch, there, asked, gpus, visible) -> None:
    """Ray itself sets what is visible to one that asks, and leaves all to one that does not."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    seen = []

    def run_tasks(_, work, jobs, **shares):
        yield from ((name, work(job)) for name, job in jobs)
        seen.append(shares["gpus"])

    def execute(_):
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])

    node = {"Alive": True, "Resources": {"CPU": 2, "GPU": there}}
    ray = SimpleNamespace(nodes=lambda: [node], cluster_resources=lambda: node["Resources"])
    monkeypatch.setattr("recbole_llm.bench.ray_runner.cluster", lambda _: nullcontext(ray))
    monkeypatch.setattr("recbole_llm.bench.ray_runner.run_tasks", run_tasks)
    monkeypatch.setattr("recbole_llm.bench.ray_runner.execute", execute)
    monkeypatch.setattr("recbole_llm.bench.ray_runner.death", lambda outcome: outcome)
    list(RayRunner(address="auto", gpus=asked, cpus=1)([("a", None)]))
    assert seen == [visible, gpus]
    for more in ({"gpus": 3, "cpus": 1}, {"gpus": 0, "cpus": 3}):
        with pytest.raises(RequestError, match="a run shall have 3, and this machine has"):
            list(RayRunner(address="auto", **more)([("a", None)]))


@pytest.mark.slow
def test_only_who_has_the_token_is_let_in() -> None:
    """Others on this machine know the address, and at most the token of another cluster."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    words = [sys.executable, "-c", STRANGERS]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == 2 * ["1 True"]


@pytest.mark.slow
def test_runs_go_to_a_cluster_of_several_nodes_that_is_there(
    write_suite, start, tmp_path, small
) -> None:
    """The cluster is its owner's, and stays."""
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        suite = write_suite(settings=small, models={"LSTM": {"model": "LLMInterestLSTM"}})
        process = start(suite, f"--address={cluster.address}")
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        host, port = cluster.address.split(":")
        socket.create_connection((host, int(port)), timeout=10).close()
    finally:
        cluster.shutdown()
    records, _ = read_records(tmp_path / "results/toy")
    assert {one.facts["seed"] for one in records} == {1, 2}


@pytest.mark.slow
def test_ray_runs_what_can_run_and_listens_on_this_machine_only(
    write_suite, start, tmp_path, small, until
) -> None:
    """One run ends well, one raises, the worker of one is killed: each is told of itself alone."""
    text = {"item_features": "text", "text_encoder": "/no/such"}
    endless = {"epochs": 100_000, "stopping_step": 100_000}
    models = {
        "killed": {"model": "LLMInterestLSTM", "settings": endless},
        "broken": {"model": "LLMInterestLSTM", "settings": text},
        "good": {"model": "LLMInterestLSTM"},
    }
    process = start(write_suite(seeds=[1], settings=small, models=models), "--cpus=1")
    runs = tmp_path / "saved/bench/results/toy/toy"
    until(lambda: list(runs.glob("killed--*/training.safetensors")))
    driver = psutil.Process(process.pid)
    family = [driver, *driver.children(recursive=True)]
    listening = {
        connection.laddr.ip
        for one in family
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening and listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    (child,) = [one for one in psutil.process_iter() if _is_run(one, runs)]
    os.kill(child.ppid(), signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    psutil.wait_procs([child], timeout=240)
    records, _ = read_records(tmp_path / "results/toy")
    assert [one.facts["label"] for one in records] == ["good"]
    failures, problems = read_failures(tmp_path / "results/toy")
    errors = {one.facts["label"]: one.facts["error"]["type"] for one in failures}
    assert problems == [] and errors["broken"] == "EncoderError"
    assert errors["killed"] in ("WorkerCrashedError", "LocalRayletDiedError"), out


def _is_run(process: psutil.Process, runs: Path) -> bool:
    try:
        files = [file.path for file in process.open_files()]
        is_child = "recbole_llm.job_child" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return is_child and any(path.startswith(str(runs / "killed")) for path in files)
