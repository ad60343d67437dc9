"""The report of a sweep: what it shows, in words, in figures and in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from recbole_llm.sweep.figures import NAMES
from recbole_llm.sweep.importance import importances
from recbole_llm.sweep.ledger import TRIALS, Ledger
from recbole_llm.sweep.outcome import candidates, outcome_of
from recbole_llm.sweep.points import random_points
from recbole_llm.sweep.report import write_report

SPACE = {
    "learning_rate": {"loguniform": [1e-4, 1e-1]},
    "dropout_prob": {"uniform": [0.0, 0.5]},
    "text_prompt": {"choice": ["<script>alert(1)</script>", "b | c"]},
    "scoring": {"choice": ["inner", "cosine"]},
    "temperature": {"uniform": [0.1, 1.0], "when": {"scoring": "cosine"}},
}
STATES = ("done", "pruned", "failed", "stopped")
SECONDS = {"prepare": 60.0, "encode": 0.0, "train": 1000.0, "evaluate": 20.0, "per_epoch": 10.0}
RESULT = {"test_result": {"ndcg@3": 0.25}, "protocol": {}, "versions": {}, "commit": "c0ffee",
          "seconds": SECONDS}  # fmt: skip


def new_ledger(folder: Path) -> Ledger:
    (folder / TRIALS).mkdir(parents=True)
    return Ledger(folder)


@pytest.fixture(scope="module")
def ledger(sweep, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Return trials whose score hangs on the dropout alone."""
    ledger = new_ledger(tmp_path_factory.mktemp("out"))
    for number, point in zip(range(24), random_points(sweep(space=SPACE)), strict=False):
        ledger.begin(f"t{number}", point=point, seed=1)
        for epoch in range(number % 5 + 1):
            score = 0.1 + point["dropout_prob"] * (1 + epoch / 10)
            ledger.add(f"t{number}", epoch=epoch, score=score, seconds=1.0, point=point)
        state = STATES[number % 4]
        error = {"type": "NonFiniteError", "message": "<b>NaN</b> | inf", "traceback": ""}
        ledger.end(f"t{number}", state, error if state == "failed" else None)
    return ledger


@pytest.fixture(scope="module")
def report(sweep, ledger: Ledger) -> Path:
    """Return the folder of a report."""
    alone = {"top": 1, "seeds": [1]}
    one = sweep(space=SPACE, about="<img src=x onerror=alert(1)>", finalists=alone)
    render(one, ledger, ledger.folder)
    return ledger.folder


def render(sweep, ledger: Ledger, folder: Path) -> None:
    (winner, *_) = candidates(sweep, ledger)
    outcome = outcome_of(sweep, winner, ledger, {"1": RESULT})
    write_report(folder, sweep, ledger, outcome, name="<script>alert(2)</script>")


@pytest.mark.slow
def test_importance_finds_what_the_score_hangs_on(sweep, ledger: Ledger) -> None:
    found = importances(sweep(space=SPACE), ledger.trials())
    assert found.fit > 0.5
    others = [share for name, (share, _) in found.table.items() if name != "dropout_prob"]
    assert found.table["dropout_prob"][0] > 5 * max(others)


def test_few_or_equal_trials_tell_nothing(sweep, ledger: Ledger, tmp_path: Path) -> None:
    assert importances(sweep(space=SPACE), ledger.trials()[:9]) is None
    equal = new_ledger(tmp_path / "equal")
    for trial in ledger.trials():
        equal.begin(trial.id, point=trial.point, seed=1)
        equal.add(trial.id, epoch=0, score=0.5, seconds=1.0, point=trial.point)
    assert importances(sweep(space=SPACE), equal.trials()) is None


@pytest.mark.slow
def test_a_forest_that_explains_nothing_is_not_drawn(
    sweep, ledger: Ledger, report: Path, tmp_path: Path
) -> None:
    """Its importances are noise; the report says so, and a figure of an earlier one goes."""
    report = shutil.copytree(report, tmp_path / "report")
    noise = new_ledger(tmp_path / "noise")
    rng = np.random.default_rng(0)
    for trial in ledger.trials()[:12]:
        noise.begin(trial.id, point=trial.point, seed=1)
        noise.add(trial.id, epoch=0, score=rng.uniform(), seconds=1.0, point=trial.point)
        noise.end(trial.id, "done")
    found = importances(sweep(space=SPACE), noise.trials())
    assert found.fit <= 0 and not found.table
    render(sweep(space=SPACE, finalists={"top": 1, "seeds": [1]}), noise, report)
    assert not [file for file in (report / "figures").iterdir() if file.stem == "importance"]
    for name in ("report.md", "report.html"):
        words = f"trials it has not seen is {found.fit:.2f}."
        assert "Importance of settings is not drawn" in (text := (report / name).read_text())
        assert words in text


@pytest.mark.slow
def test_the_words_hold_the_best_and_the_failed(report: Path, ledger: Ledger) -> None:
    text = (report / "report.md").read_text()
    best = ledger.ranked()[0]
    assert f"| {best.id} | {best.best:.4f} |" in text
    assert "6 done, 6 cut, 6 FAILED, 6 stopped" in text
    assert "&lt;b>NaN&lt;/b> \\| inf" in text and "<script>" not in text
    assert "the forest's R² on trials it has not seen is 0." in text
    assert "and 0.30 hours of the winner's runs" in text
    assert "0.2500: 0.2500 (seed 1)" in text  # one seed: no deviation


@pytest.mark.slow
def test_every_figure_is_drawn(report: Path) -> None:
    names = {file.name for file in (report / "figures").iterdir()}
    stems = ("best-so-far", "curves", "parallel", "importance")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert set(stems) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_in_a_browser_without_a_word_on_the_console(
    report: Path, browser, width: int, scheme: str
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme_is = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme_is)
    browser.get((report / "report.html").as_uri())
    run = browser.execute_script
    assert run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert run("return [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    assert run("return document.images.length") == 4
    assert run("return document.querySelector('h1').textContent") == "<script>alert(2)</script>"
    assert run("return document.scripts.length") == 0
    back = run("return getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 23, 26)"}[scheme]
    assert browser.get_log("browser") == []
