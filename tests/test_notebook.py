"""The notebook runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tour.ipynb"


@pytest.fixture
def tour() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(tour) -> None:
    cells = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.slow
def test_it_runs_and_draws(tour, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    (settings,) = (cell for cell in tour.cells if cell.source.count('"epochs": 4') == 1)
    settings.source = settings.source.replace('"epochs": 4', '"epochs": 1')
    client = NotebookClient(tour, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [one for cell in tour.cells for one in cell.get("outputs", [])]
    pictures = [one for one in outputs if "image/png" in one.get("data", {})]
    tables = [one for one in outputs if "text/html" in one.get("data", {})]
    assert len(pictures) == 3 and len(tables) >= 7
    assert "<img " in (tmp_path / "gallery.html").read_text(encoding="utf-8")
