"""Who may import whom, as docs/architecture.md says."""

from __future__ import annotations

import ast
import subprocess
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recbole_llm"

OURS = {
    "errors": set(),
    "usage": set(),
    "files": {"errors"},
    "hardware": set(),
    "atomic": {"errors"},
    "run_dir": {"errors", "files"},
    "ranks": {"errors", "files"},
    "validation": {"errors"},
    "pictures": set(),
    "pages": {"pictures"},
    "cluster": {"errors"},
    "job": {"errors", "run_dir", "ranks"},
    "job_child": {"errors", "files", "run_dir", "ranks", "job", "quick_start", "rerank", "resume"},
    "slices": set(),
    "report": {"errors", "slices", "ranks", "ranking_metrics", "data", "train"},
    "ranking_metrics": set(),
    "log": set(),
    "recbole_bounds": set(),
    "settings": {"errors", "recbole_bounds"},
    "parsing": {"errors", "settings"},
    "text": {"errors", "files", "hardware", "atomic", "text"},
    "compat": {"errors"},
    "plugin": {"compat", "parsing"},
    "feature_checks": {"errors", "settings"},
    "eval_checks": {"errors", "settings"},
    "metric_checks": {"errors"},
    "transfer_checks": {"settings", "plugin"},
    "unread_checks": {"settings", "plugin"},
    "checks": {
        "hardware",
        "errors",
        "transfer_checks",
        "unread_checks",
        "recbole_bounds",
        "settings",
        "parsing",
        "plugin",
        "feature_checks",
        "eval_checks",
        "metric_checks",
    },
    "dataset_yaml": {"parsing"},
    "config": {"errors", "settings", "parsing", "plugin", "compat", "checks", "dataset_yaml"},
    "provenance": {"files", "config", "plugin", "eval_checks", "hardware"},
    "data": {"errors", "files", "settings", "atomic", "text", "data"},
    "model": {"errors", "settings", "data", "model"},
    "train": {
        "errors",
        "compat",
        "files",
        "hardware",
        "run_dir",
        "ranking_metrics",
        "settings",
        "data",
        "model",
        "train",
    },
    "transfer": {
        "errors",
        "files",
        "run_dir",
        "settings",
        "config",
        "data",
        "text",
        "train",
        "recommend",
        "plugin",
        "resume",
        "transfer_checks",
    },
    "build": {
        "errors",
        "compat",
        "settings",
        "plugin",
        "checks",
        "config",
        "data",
        "model",
        "train",
        "transfer",
    },
    "recommend": {
        "errors",
        "files",
        "atomic",
        "run_dir",
        "settings",
        "parsing",
        "plugin",
        "log",
        "provenance",
        "resume",
        "text",
        "data",
        "model",
        "train",
        "pictures",
        "pages",
    },
    "quick_start": {
        "dataset_yaml",
        "errors",
        "files",
        "run_dir",
        "ranks",
        "recommend",
        "report",
        "log",
        "plugin",
        "compat",
        "config",
        "provenance",
        "build",
        "train",
        "resume",
        "launch",
        "transfer",
    },
    "resume": {"errors", "files", "run_dir", "parsing", "config", "provenance"},
    "launch": {
        "errors",
        "run_dir",
        "plugin",
        "compat",
        "checks",
        "config",
        "resume",
        "train",
        "quick_start",
    },
    "ensemble": {"errors", "eval_checks", "run_dir", "quick_start", "train"},
    "rerank": {
        "errors",
        "eval_checks",
        "files",
        "run_dir",
        "ranks",
        "ranking_metrics",
        "parsing",
        "plugin",
        "provenance",
        "quick_start",
        "report",
        "data",
        "train",
    },
    "bench": {
        "errors",
        "files",
        "run_dir",
        "ranks",
        "ranking_metrics",
        "slices",
        "parsing",
        "checks",
        "eval_checks",
        "plugin",
        "config",
        "dataset_yaml",
        "provenance",
        "transfer_checks",
        "validation",
        "job",
        "cluster",
        "pictures",
    },
    "sweep": {
        "errors",
        "files",
        "run_dir",
        "provenance",
        "log",
        "parsing",
        "plugin",
        "checks",
        "unread_checks",
        "compat",
        "config",
        "dataset_yaml",
        "validation",
        "job",
        "cluster",
        "pictures",
        "pages",
        "build",
        "data",
        "train",
    },
    "encode_command": {
        "errors",
        "files",
        "parsing",
        "settings",
        "plugin",
        "text",
        "data",
        "config",
        "build",
        "cluster",
    },
    "dataset_stats": {"errors", "files", "settings", "text", "data", "config", "build"},
    "dataset_command": {"errors", "parsing", "compat", "data", "dataset_yaml", "dataset_stats"},
    "cli": {
        "errors",
        "usage",
        "parsing",
        "config",
        "compat",
        "quick_start",
        "ensemble",
        "rerank",
        "dataset_command",
        "encode_command",
        "bench",
        "sweep",
        "recommend",
        "plugin",
    },
    "__init__": {"plugin", "compat"},
}
FORBIDDEN = {
    "settings": {"torch", "recbole", "ray"},
    "recbole_bounds": {"torch", "recbole", "ray"},
    "feature_checks": {"torch", "recbole", "ray"},
    "eval_checks": {"torch", "recbole", "ray"},
    "transfer_checks": {"torch", "recbole", "ray"},
    "slices": {"torch", "recbole", "ray", "pandas"},
    "atomic": {"torch", "recbole", "ray", "pandas"},
    "ranks": {"torch", "recbole", "ray", "pandas"},
    "ranking_metrics": {"torch", "recbole", "ray", "pandas"},
    "text": {"recbole", "ray", "pandas"},
    "plugin": {"torch", "ray"},
    "errors": {"torch", "recbole", "ray", "numpy"},
    "usage": {"torch", "recbole", "ray", "numpy"},
    "bench": {"torch", "recbole"},
}
BOARD = (
    "schemas",
    "results",
    "metrics",
    "stats",
    "rulers",
    "speeds",
    "claims",
    "scores",
    "boards",
    "collect",
    "cells",
    "claim_grids",
    "grids",
    "tables",
    "figures",
    "leaderboard",
    "page/__init__",
    "page/content",
)
NO_TORCH = (
    "bench.results",
    "bench.suite",
    "bench.suite_file",
    "bench.specs",
    "bench.plan",
    "bench.sources",
    "bench.runner",
    "job",
)
TORCH_ONLY = (
    "model/items.py",
    "model/adaptors.py",
    "model/kept.py",
    "model/known.py",
    "model/tuned.py",
    "model/evolution.py",
    "model/attention.py",
    "model/losses.py",
    "model/repeats.py",
    "model/softmax.py",
    "model/contrastive.py",
    "model/text_embedding.py",
)


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path, *, top_level: bool = False) -> set[str]:
    """Return the dotted names that a file imports, or only those outside of functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "recbole_llm":
                names |= {f"recbole_llm.{alias.name}" for alias in node.names}
    return names


def called(file: Path) -> set[str]:
    """Return the plain names that a file calls."""
    calls = [n for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def methods(file: Path) -> set[str]:
    """Return the names with a dot that a file calls, as ``torch.load``."""
    calls = [n for n in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(n, ast.Call)]
    return {ast.unparse(call.func) for call in calls if isinstance(call.func, ast.Attribute)}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may(file: Path) -> None:
    names = imports(file)
    ours = {name.split(".")[1] for name in names if name.startswith("recbole_llm.")}
    assert ours <= OURS[room(file)] | {room(file)}
    others = {name.split(".")[0] for name in names}
    assert not others & FORBIDDEN.get(room(file), set())


@pytest.mark.parametrize("name", NO_TORCH)
def test_suites_and_records_are_read_without_torch(name: str) -> None:
    reached, rest = set(), [f"recbole_llm.{name}"]
    while rest:
        file = PACKAGE / f"{rest.pop().removeprefix('recbole_llm.').replace('.', '/')}.py"
        if file.is_file() and file not in reached:
            reached.add(file)
            rest += imports(file, top_level=True)
    names = {n.split(".")[0] for file in reached for n in imports(file, top_level=True)}
    assert len(reached) > 1 and not names & {"torch", "recbole", "ray", "transformers"}


@pytest.mark.parametrize("name", TORCH_ONLY)
def test_model_parts_know_torch_only(name: str) -> None:
    known = (
        "torch",
        "typing",
        "dataclasses",
        "__future__",
        "collections.abc",
        "recbole_llm.model.",
    )
    assert [n for n in imports(PACKAGE / name) if not n.startswith(known)] == []


def test_releases_are_read_without_torch_and_recbole() -> None:
    for file in (PACKAGE / "data" / "sources").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(file)} & {"torch", "recbole", "pandas"}


@pytest.mark.parametrize("name", BOARD)
def test_leaderboards_know_records_only(name: str) -> None:
    file = PACKAGE / "bench" / f"{name}.py"
    known = {
        "errors",
        "files",
        "parsing",
        "ranks",
        "ranking_metrics",
        "slices",
        "validation",
        "pictures",
        "eval_checks",  # the names of settings that filter data
        "bench",
    }
    names = imports(file)
    assert {n.split(".")[1] for n in names if n.startswith("recbole_llm.")} <= known
    assert not {n.split(".")[0] for n in names} & {"torch", "recbole", "ray"}
    bench = {n.split(".")[2] for n in names if n.startswith("recbole_llm.bench.")}
    assert bench <= {part.split("/")[0] for part in BOARD}


ON_RAY = ("ray_parts", "states")  # they subclass what Ray has, and are imported late themselves


def test_language_models_are_imported_inside_functions() -> None:
    heavy = {"sentence_transformers", "transformers", "huggingface_hub", "ray"}
    on_ray = {f"recbole_llm.sweep.{name}" for name in ON_RAY}
    for file in FILES:
        names = imports(file, top_level=True)
        if file.stem not in ON_RAY:
            assert not {n.split(".")[0] for n in names} & heavy and not on_ray & names, file


def test_only_the_command_line_prints() -> None:
    for file in FILES:
        calls = [
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
        ]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not prints or file.name == "cli.py", file


@pytest.mark.slow
def test_nothing_evaluates_or_unpickles() -> None:
    for file in FILES:
        names = called(file)
        assert not names & {"eval", "exec"}, file
        assert not methods(file) & {"torch.load", "np.load", "numpy.load", "yaml.unsafe_load"}, file
        assert "pickle" not in {n.split(".")[0] for n in imports(file)}, file


@pytest.mark.slow
def test_the_wheel_holds_default_settings_and_dataset_files(tmp_path: Path) -> None:
    root = PACKAGE.parent
    done = subprocess.run(
        ["uv", "build", "--wheel", "--quiet", "--out-dir", str(tmp_path), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    patterns = ("*.py", "*.yaml", "*.js", "*.html", "*.css")
    for file in (file for pattern in patterns for file in PACKAGE.rglob(pattern)):
        assert str(file.relative_to(root)) in held
    for file in (root / "dataset_configs").glob("*.yaml"):
        assert f"recbole_llm/dataset_configs/{file.name}" in held
