"""Datasets that tests make, and the real one in RecBole's wheel."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from recbole_llm.cluster import CONNECTS_ANEW, COPIES_FOLDER, OWN_CLUSTER, TOKEN
from recbole_llm.job import Job, Outcome, failure
from recbole_llm.job_child import train

os.environ |= {**OWN_CLUSTER, TOKEN: "0" * 64}  # before any test imports Ray
os.environ |= {COPIES_FOLDER: "0", CONNECTS_ANEW: "0"}
os.environ |= {"RAY_worker_niceness": "0"}  # Ray's 15 leaves its tests nothing beside the others
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process compiles every package anew
torch.set_num_threads(1)  # the workers that run the tests fill the cores
os.environ["OMP_NUM_THREADS"] = "1"  # also in the processes that tests start
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # or each starts others, which import PyTorch
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or what tests start ignores it too
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PROGRAM = [sys.executable, "-c", "import sys; from recbole_llm.cli import main; sys.exit(main())"]
WAIT = 300  # seconds that a slow machine may need for what takes one
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

Events = Sequence[tuple[str, str, float]]
Writer = Callable[..., Path]


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return (Path.touch, (self.path,))


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    """Return an object whose pickle makes ``canary.path`` when it is loaded."""
    return Canary(tmp_path / "canary")


@pytest.fixture(scope="session")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that stands in for the user's cache during all tests."""
    return tmp_path_factory.mktemp("cache-home")


@pytest.fixture(autouse=True)
def _own_working_directory(
    tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs, logs and TensorBoard files land in the test's own folder, vectors never at home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))
    monkeypatch.setattr("sys.argv", ["pytest", "--never=read"])


@pytest.fixture
def write_dataset(tmp_path: Path) -> Writer:
    """Return a function that writes atomic files and returns the folder for ``data_path``."""

    def write(events: Events, titles: dict[str, str] | None = None, *, name: str = "toy") -> Path:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = ["user_id:token\titem_id:token\ttimestamp:float"]
        rows += [f"{user}\t{item}\t{time!r}" for user, item, time in events]
        (folder / f"{name}.inter").write_text("\n".join(rows) + "\n", encoding="utf-8")
        if titles is not None:
            rows = ["item_id:token\ttitle:token_seq"]
            rows += [f"{item}\t{title}" for item, title in titles.items()]
            (folder / f"{name}.item").write_text("\n".join(rows) + "\n", encoding="utf-8")
        return tmp_path / "data"

    return write


@pytest.fixture(scope="session")
def ml_100k() -> Path:
    """Return the folder of ml-100k in RecBole's wheel."""
    import recbole

    return Path(recbole.__file__).parent / "dataset_example" / "ml-100k"


@pytest.fixture
def gpu() -> None:
    """Skip a test where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, this machine has none")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real datasets, or skip with a reason where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is absent: real datasets beyond ml-100k are not here")
    return SHARED_DATA


@pytest.fixture
def train_here() -> Callable[[Job], Outcome]:
    """Return a function that stands in for a process, but trains, in this one."""
    return _train_here


def _train_here(job: Job) -> Outcome:
    run_dir = Path(job.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
        train(job)
    except Exception as error:
        return Outcome(None, None, failure(error, traceback=traceback.format_exc()), 1.0)
    result = json.loads((run_dir / "result.json").read_text("utf-8"))
    return Outcome(result, (run_dir / "ranks.csv.gz").read_bytes(), None, 1.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """Return headless Chromium; without one skip, but not in CI."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        message = "chromium and chromedriver are absent: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ARGUMENTS:
        options.add_argument(argument)
    chrome = Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def toy_data(write_dataset) -> Path:
    """Return the folder of a dataset: twelve users walk a circle of nine items."""
    walks = [(f"u{user}", f"i{(user + k) % 9}", float(k)) for user in range(12) for k in range(7)]
    folder: Path = write_dataset(walks, {f"i{k}": f"title {k}" for k in range(9)})
    return folder


@pytest.fixture
def start_command(toy_data: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a command of ours in a process of its own."""
    started = []

    def begin(command: str, file: Path, *options: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAM, command, str(file), f"--data_path={toy_data}", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def fork() -> Iterator[Callable[..., BaseProcess]]:
    """Return a function that calls another in a process of its own, which knows all of this one."""
    started = []

    def call(work: Callable[..., Any], *arguments: Any) -> None:
        gc.disable()  # OpenVINO's models, once collected, would wait for threads left behind
        work(*arguments)

    def begin(work: Callable[..., Any], *arguments: Any) -> BaseProcess:
        process = multiprocessing.get_context("fork").Process(target=call, args=(work, *arguments))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Return a function that waits until something is there, and returns it."""

    def wait(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT
        while not (found := condition()):
            assert time.monotonic() < end, "it never came"
            time.sleep(0.05)
        return found

    return wait
