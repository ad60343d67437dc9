"""What a result says of the code that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_llm import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout whose package and results are committed, read as if it were ours."""
    files = ("recbole_llm/__init__.py", "results/toy/suite.json")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    package = SimpleNamespace(__file__=str(tmp_path / files[0]))
    monkeypatch.setattr(provenance, "recbole_llm", package)
    return tmp_path


def test_a_commit_is_marked_where_code_differs_and_not_where_results_do(checkout: Path) -> None:
    commit = provenance.commit()
    assert len(commit) == 40
    (checkout / "results" / "toy" / "suite.json").write_text("2")
    (checkout / "saved").write_text("untracked")
    assert provenance.commit() == commit
    (checkout / "recbole_llm" / "__init__.py").write_text("2")
    assert provenance.commit() == f"{commit}+"


def test_an_installed_package_has_no_commit(checkout: Path) -> None:
    (checkout / ".git").rename(checkout / "git")
    assert provenance.commit() is None
