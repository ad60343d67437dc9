"""Sweeps on real Ray that are killed or interrupted: what is left of them, and what goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

pytestmark = pytest.mark.slow
SMALL = {
    "item_features": "id", "embedding_size": 8, "hidden_size": 8, "train_batch_size": 8,
    "stopping_step": 1000,
}  # fmt: skip
RATES = {"learning_rate": {"choice": [0.01, 1e-6, 0.02, 2e-6]}}


def words(process: psutil.Process) -> str:
    """Return the command line of a process, of one that has ended meanwhile an agent's."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return "Agent"


def test_a_killed_sweep_goes_on_without_any_state_of_ray(
    write_sweep, start, until, is_trial, tmp_path: Path
) -> None:
    """SIGKILL, then damaged files of Ray's: only what is missing runs; paths are relative."""
    np.save("img.npy", np.eye(9, dtype=np.float32))
    Path("img.ids").write_text("".join(f"i{k}\n" for k in range(9)))
    image = {"item_features": ["id", "image"], "modalities": {"image": "img.npy"}}
    sweep = write_sweep(
        searcher="grid", budget={}, space=RATES, settings={**SMALL, **image, "epochs": 40},
        concurrency=1, finalists={"top": 1, "seeds": [1]},
    )  # fmt: skip
    folder = tmp_path / "out" / "trials"
    process = start(sweep, "--results=out", "--work=work")
    until(lambda: len(list(folder.glob("*.json"))) >= 2)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for one in family
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening and listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not [page for page in family if "--disable-frontend" not in page.cmdline()
                and "dashboard.py" in " ".join(page.cmdline())]  # fmt: skip
    folders = {one.cwd() for one in family if is_trial(one)}
    assert folders == {str(tmp_path)}  # and none of Ray's
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, left = psutil.wait_procs(family, timeout=20)
    assert all("Agent" in words(one) for one in left), left  # for a minute
    before = {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}
    over = {name: facts for name, facts in before.items() if facts["state"] != "running"}
    assert over and len(over) < len(before) < 4
    damaged = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    for path in damaged:
        path.write_bytes(b"\x80garbage")
    assert any(path.name == "tuner.pkl" for path in damaged)
    process = start(sweep, "--results=out", "--work=work", "--resume")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    after = {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}
    assert len(after) == 4 and all(after[name] == facts for name, facts in over.items())
    assert json.loads(out.splitlines()[-1])["test"]["scores"].keys() == {"1"}


@pytest.mark.parametrize(
    ("signals", "code", "word"),
    [
        ([signal.SIGINT], 130, "interrupted"),
        ([signal.SIGINT, signal.SIGINT], 130, "interrupted"),
        ([signal.SIGTERM], 143, "terminated"),
    ],
    ids=["once", "twice", "terminated"],
)
def test_an_interrupted_sweep_ends_cleanly(
    write_sweep, start, until, tmp_path: Path, signals, code, word
) -> None:
    """With one word, no trace, and no process left behind; Ray would replace our handlers."""
    sweep = write_sweep(
        searcher="grid", budget={}, space=RATES, settings=SMALL | {"epochs": 10**6}, concurrency=1
    )
    process = start(sweep, "--results=out")
    until(lambda: list((tmp_path / "out" / "trials").glob("*.json")))
    family = psutil.Process(process.pid).children(recursive=True)
    for one in signals:
        process.send_signal(one)
        time.sleep(0.5)
    _, err = process.communicate(timeout=240)
    assert process.returncode == code and word in err and "Traceback" not in err, err
    assert psutil.wait_procs(family, timeout=60)[1] == []
