"""Pages that are made by a script say what the script says."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_settings_page_is_made_from_the_schema() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "settings.py"))["page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page


def test_the_ablations_are_those_measured() -> None:
    page = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))["ablations"]()
    assert (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8") == page


def test_the_readme_shows_the_figures_that_were_measured() -> None:
    table = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))["table"]()
    assert table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_encoders_page_shows_the_figures_that_were_measured() -> None:
    table = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))["encoders"]()
    assert table in (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
