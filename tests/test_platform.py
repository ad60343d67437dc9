"""Other Pythons, other systems, other people's homes."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import recbole

from recbole_llm import compat
from recbole_llm.files import write_json
from recbole_llm.parsing import load_yaml, parse_value, split_command

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SMALL = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 16, "topk": [3],
    "valid_metric": "NDCG@3", "show_progress": False,
}  # fmt: skip
RUN = """
import json, sys, warnings
from recbole_llm.cli import run_recbole_command
for words in json.loads(sys.argv[1]):
    if "--model=SASRec" in words:  # RecBole gives tensors to np.argsort: NumPy 2 has a word for it
        warnings.filterwarnings("ignore", "__array_wrap__")
    assert run_recbole_command(words) == 0
"""
OPENS = re.compile(r"(^|\.)(open|read_text|write_text|TextIOWrapper)$")
BINARY = re.compile(r"'[rwax+]*b[+]?'")


# ---- versions ----------------------------------------------------------------------------------


def resolve(wishes: Mapping[str, tuple[str, str]]) -> dict[str, tuple[int, str]]:
    """Let uv choose versions of all we need, for several wishes at once.

    Args:
        wishes: Options and a constraint, by a name.

    Returns:
        By name the exit code, and the versions or why there are none.
    """
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--extra=tune"]
    command += ["--only-binary=numpy"]  # nobody shall have to compile it
    env = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    env |= {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # PyTorch's oldest
    started = {}
    for name, (options, constraint) in wishes.items():
        Path(name).write_text(constraint)
        words = [*command, *options.split(), f"--constraint={name}", str(ROOT / "pyproject.toml")]
        started[name] = subprocess.Popen(
            words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    found = {}
    for name, process in started.items():
        out, err = process.communicate()
        found[name] = process.returncode, out + err
    is_offline = any(
        re.search(r"dns error|error sending request|[Ff]ailed to fetch", text)
        for _, text in found.values()
    )
    if is_offline and os.environ.get("CI") != "true":
        pytest.skip("no package index can be reached")
    return found


@pytest.mark.slow
def test_every_python_numpy_and_system_that_we_allow_has_what_we_need() -> None:
    wishes = {
        f"python{python}-numpy{numpy}": (f"--python-version={python}", f"numpy=={numpy}.*")
        for python, numpy in ((PYTHONS[0], "1.26"), (PYTHONS[0], "2"), (PYTHONS[-1], "2"))
    }
    for system, python in zip(("windows", "macos"), PYTHONS[1:-1], strict=True):
        wishes[system] = f"--python-version={python} --python-platform={system}", ""
    for name, (code, text) in resolve(wishes).items():
        assert code == 0, (name, text)
        versions = dict(line.split("==") for line in text.split() if "==" in line)
        assert versions["pandas"].startswith("2."), name
        assert tuple(map(int, versions["torch"].split(".")[:2])) >= (2, 11), name
        if "numpy" in name:
            assert f"numpy{versions['numpy']}".startswith(name.partition("-")[2])


@pytest.mark.slow
def test_versions_that_we_cannot_work_with_are_refused() -> None:
    too_new_or_old = ("pandas>=3", "torch<2.11", "numpy<1.26", "ray<2.54")
    wishes = {one: ("--python-version=3.11", one) for one in too_new_or_old}
    wishes["numpy==1.26.*"] = f"--python-version={PYTHONS[-1]}", "numpy==1.26.*"
    for wish, (code, text) in resolve(wishes).items():
        name = re.split("[<>=]", wish)[0]
        assert code == 1 and f"recbole-llm depends on {name}" in " ".join(text.split()), text


def test_the_gate_reads_our_code_as_the_oldest_python_does() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={PYTHONS[0]}"' in text
    assert f'target-version = "py{PYTHONS[0].replace(".", "")}"' in text  # ruff
    assert f'python_version = "{PYTHONS[0]}"' in text  # mypy


# ---- warnings ----------------------------------------------------------------------------------


def test_recboles_docstrings_that_every_new_python_warns_of_are_silent() -> None:
    dien = Path(recbole.__file__).parent / "model" / "sequential_recommender" / "dien.py"
    source = dien.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SyntaxError, match="invalid escape sequence"):
            compile(source, str(dien), "exec")
        compat.apply()
        compile(source, str(dien), "exec")
        with pytest.raises(DeprecationWarning):
            warnings.warn("something else", DeprecationWarning, stacklevel=1)


# ---- paths, homes and encodings ----------------------------------------------------------------


@pytest.fixture
def films(write_dataset) -> Path:
    events = [(f"u{u}", f"i{(u * u + k) % 11}", float(k)) for u in range(20) for k in range(7)]
    folder: Path = write_dataset(events, {f"i{k}": f"İı film 映画 {k}" for k in range(11)})
    return folder


def train(
    data: Path, *options: str, cwd: Path, models: Sequence[str], **env: str
) -> list[dict[str, Any]]:
    """Run the main command on models, in one process, and return what it prints of each."""
    words = ["--dataset=toy", f"--data_path={data}", *(f"--{k}={v}" for k, v in SMALL.items())]
    runs = json.dumps([[f"--model={model}", *words] for model in models])
    known = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    chosen = {"OMP_NUM_THREADS": "1", "RECBOLE_LLM_TRACEBACK": "1"}
    done = subprocess.run(
        [sys.executable, *options, "-c", RUN, runs],
        cwd=cwd, env={**known, **chosen, **env}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


@pytest.mark.slow
def test_no_home_folder_locale_or_strict_python_changes_a_result(films, tmp_path) -> None:
    """A home and folders in other scripts; a locale that knows ASCII only, as Windows' know little.

    Deprecations are errors in both, and where RecBole's own models run.
    """
    strict = ("-W", "error::DeprecationWarning")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    both = ("LLMInterestLSTM", "SASRec")
    plain, stock = train(
        films, *strict, cwd=tmp_path, models=both, HOME=str(tmp_path), **ascii_only
    )
    home = tmp_path / "Jürgen Müller's 家"
    shutil.copytree(films, home / "Daten und 数据")
    (far,) = train(
        home / "Daten und 数据", *strict, cwd=home, models=both[:1], HOME=str(home),
        LC_ALL="C.UTF-8",
    )  # fmt: skip
    assert far["test_result"] == plain["test_result"]
    assert far["best_valid_result"] == plain["best_valid_result"]
    assert far["run_dir"].startswith(str(home))
    assert list(home.glob(".cache/**/*.safetensors"))  # the vectors
    assert stock["epochs"] == 2


def test_text_is_read_and_written_in_a_named_encoding() -> None:
    """Windows' default is not UTF-8."""
    wrong = []
    for file in (ROOT / "recbole_llm").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            call = ast.unparse(node) if isinstance(node, ast.Call) else ""
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            is_named = "utf-8" in call or "encoding=" in call
            if OPENS.search(name) and not is_named and not BINARY.search(call):
                wrong.append((file.name, call))
    assert {name for name, _ in wrong} == {"archive.py", "download.py"}, wrong  # zips and sockets


def test_only_files_open_for_writing_are_synced(tmp_path, monkeypatch) -> None:
    """On Windows fsync refuses others."""
    fcntl = pytest.importorskip("fcntl")
    modes = []

    def fsync(number: int) -> None:
        modes.append(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "x.json", {"a": 1})
    assert modes == [os.O_RDWR] and json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_no_module_needs_what_windows_lacks_to_be_imported() -> None:
    lacking = {"fcntl", "grp", "pwd", "resource", "termios"}
    for file in (ROOT / "recbole_llm").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not lacking & set(names), file


@pytest.mark.parametrize(
    "path", [r"C:\Users\Jürgen Müller\new data", r"\\server\share\x", "D:/data", "~/データ"]
)
def test_paths_of_any_system_stay_as_they_are(path: str, tmp_path) -> None:
    assert parse_value("data_path", path) == path
    _, options, _ = split_command(
        ["results", f"--out={path}"], place="x", wants="one folder", options=("out",)
    )
    assert options["out"] == path
    (tmp_path / "a.yaml").write_text(f"data_path: {path}\n", encoding="utf-8")
    assert load_yaml(tmp_path / "a.yaml") == {"data_path": path}
