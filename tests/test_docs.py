"""Pages that are made by a script say what the script says."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.page.content import board_content
from recbole_llm.bench.runner import plan_facts
from recbole_llm.bench.specs import expand
from recbole_llm.bench.suite_file import read_suite
from recbole_llm.bench.tables import csv_text, latex, markdown

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
SUITES = sorted(file.parent.name for file in RESULTS.glob("*/leaderboard.md"))
DATA = r"<script [^>]*application/json[^>]*>(.*?)</script>"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Return a function that runs a script of benchmarks/ and returns what it defines."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return lambda name: runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"))


def test_the_settings_page_is_made_from_the_schema() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "settings.py"))["page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(("part", "name"), [("figures", "table"), ("leaderboards",) * 2])
def test_the_readme_shows_what_was_measured(part: str, name: str, script) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = script("pages")["marks"](part)
    assert readme.split(begin)[1].split(end)[0] == script("figures")[name]()


def test_pages_show_what_was_measured(script) -> None:
    pages = script("pages")
    for page, parts in pages["PAGES"].items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, part in parts.items():
            begin, end = pages["marks"](name)
            assert text.split(begin)[1].split(end)[0] == part(), (page, name)


def test_the_readme_shows_the_leaderboards_that_are_there(tmp_path: Path, script) -> None:
    leaderboards = script("figures")["leaderboards"]
    leaderboards.__globals__["ROOT"] = tmp_path
    head = "# x\n\nAbout.\n\n"
    table = "| Model | NDCG@10 |\n| --- | ---: |\n| A | **0.1 ± –** |"
    for suite, titles in {"ml-100k": ["ml-100k"], "ml-1m": ["ml-1m, R", "ml-1m, F"]}.items():
        boards = [f"## {one}\n\n### Accuracy and cost\n\n{table}\n\nNote.\n" for one in titles]
        page = tmp_path / "results" / suite / "leaderboard.md"
        page.parent.mkdir(parents=True)
        page.write_text(head + "\n".join(boards) + "\n## Left out\n\n- x\n", encoding="utf-8")
        figure = page.parent / "figures" / titles[0] / "tradeoff.svg"
        figure.parent.mkdir(parents=True)
        figure.touch()
        found = leaderboards()
        assert found.count(table) == found.count("**ml-") == (1 if suite == "ml-100k" else 3)
        assert "](results/ml-100k/figures/ml-100k/tradeoff.svg)" in found
        assert found.count("![") == 1 and "Note." not in found and "Left out" not in found
    assert found.index("ml-1m, R") < found.index("ml-1m, F") and "claim" not in found


def test_the_readme_counts_what_holds_of_a_claim(tmp_path: Path, script) -> None:
    claims = script("figures")["claims"]
    claims.__globals__["ROOT"] = tmp_path
    (tmp_path / "results" / "ml-1m").mkdir(parents=True)
    (tmp_path / "results" / "ml-1m" / "leaderboard.md").write_text(
        "# x\n\n## ml-1m, R\n\n### Claim: A is better in NDCG@10\n\n"
        "| Against | All test cases | Tail items | Cold items |\n| --- | --- | --- | --- |\n"
        "| B | holds: +0.02, p 0.001 | does not hold: -0.1 | cannot be said (users: 3) |\n"
        "| C | holds: +0.01, p 0.003 | cannot be said (seeds) | cannot be said (seeds) |\n\n"
        "The suite claims more.\n\n## ml-1m, F\n\n### Accuracy and cost\n\n| A |\n",
        encoding="utf-8",
    )
    *_, table = claims()
    assert table.split("\n") == [
        "| suite, table | claimed of | all test cases | tail items | cold items |",
        "|---|---|---|---|---|",
        "| ml-1m: ml-1m, R | A | 2 of 2 | 0 of 2, 1 cannot be said | cannot be said |",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_a_committed_leaderboard_is_what_its_records_say(suite: str) -> None:
    boards = read_boards(RESULTS / suite)
    for render, ending in ((markdown, "md"), (csv_text, "csv"), (latex, "tex")):
        page = (RESULTS / suite / f"leaderboard.{ending}").read_text(encoding="utf-8")
        assert page == render(boards)
    html = (RESULTS / suite / "index.html").read_text(encoding="utf-8")
    (data,) = re.findall(DATA, html, flags=re.DOTALL)
    shown = [one | {"figures": []} for one in json.loads(data)["boards"]]
    assert shown == json.loads(json.dumps([board_content(board, []) for board in boards.boards]))


@pytest.mark.parametrize("suite", SUITES)
def test_committed_results_name_all_runs_of_their_suite(suite: str) -> None:
    path = ROOT / "benchmarks" / f"{suite}.yaml"
    wanted, problems = read_suite(path)
    specs, more = expand(wanted, path)
    assert not problems + more
    kept = json.loads((RESULTS / suite / "suite.json").read_text(encoding="utf-8"))
    assert kept == plan_facts(wanted, specs)


def test_the_targets_page_says_what_the_records_say(script) -> None:
    page = script("targets")["page"]()
    assert (ROOT / "docs" / "targets.md").read_text(encoding="utf-8") == page
