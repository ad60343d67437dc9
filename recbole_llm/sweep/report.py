"""The report of a sweep: Markdown, one HTML page that needs nothing from outside, and figures."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_llm.errors import RequestError, how_to_install
from recbole_llm.files import write_files
from recbole_llm.pictures import Picture
from recbole_llm.sweep.importance import LEAST, Importances, importances
from recbole_llm.sweep.ledger import Ledger, Trial, sound
from recbole_llm.sweep.lines import WORDS
from recbole_llm.sweep.specs import Sweep

MOST = 10  # trials that the table shows


def require_packages() -> None:
    """Refuse to begin where the report could not be drawn in the end.

    Raises:
        RequestError: If a package is not there.
    """
    for name in ("jinja2", "seaborn"):
        if importlib.util.find_spec(name) is None:
            raise RequestError(f"the report of a sweep needs {name}. {how_to_install('tune')}")


def write_report(
    folder: Path, sweep: Sweep, ledger: Ledger, outcome: Mapping[str, Any], *, name: str
) -> list[Path]:
    """Write ``report.md``, ``report.html`` and ``figures/``, and return the files.

    Raises:
        RequestError: If the folder cannot be written.
    """
    from recbole_llm.sweep.figures import NAMES, pictures
    from recbole_llm.sweep.page import render_page

    weights = importances(sweep, sound(ledger))
    drawn = list(pictures(sweep, ledger, weights))
    about = facts(sweep, ledger, outcome, weights, name=name)
    stale = set(NAMES) - {one.name for one in drawn}
    files: dict[Path, str | bytes] = {folder / "report.md": markdown(about, drawn)}
    files[folder / "report.html"] = render_page(about, drawn)
    for one in drawn:
        files[folder / "figures" / f"{one.name}.svg"] = one.svg
        files[folder / "figures" / f"{one.name}.png"] = one.png
    try:
        write_files(files)
        for old in stale:
            for kind in ("svg", "png"):
                (folder / "figures" / f"{old}.{kind}").unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be written ({error.strerror}).") from None
    return list(files)


def facts(
    sweep: Sweep,
    ledger: Ledger,
    outcome: Mapping[str, Any],
    weights: Importances | None,
    *,
    name: str,
) -> dict[str, Any]:
    """Return what a report says, in words and tables of words."""
    scored = sound(ledger)
    winner, test, cost = outcome["winner"], outcome["test"], outcome["cost"]
    states = ", ".join(f"{number} {WORDS[state]}" for state, number in cost["trials"].items())
    return {
        "name": name,
        "about": sweep.about,
        "head": {
            "Model": sweep.model,
            "Dataset": sweep.dataset,
            "Chosen by": f"validation {sweep.metric}",
            "Searcher": sweep.searcher,
            "Scheduler": _scheduler(sweep),
            "Trials": f"{sum(cost['trials'].values())}: {states}",
            "Finalists' runs": str(cost["finalist_runs"]),
            "Cost": f"{cost['trial_hours']:.2f} trial-hours, {cost['epochs']} epochs, in "
            f"{cost['hours']:.2f} hours; and {cost['winner_hours']:.2f} hours of the winner's runs",
            "Commit": str(outcome["commit"]),
        },
        "winner": [(key, _value(value)) for key, value in winner["point"].items()],
        "validation": _spread(winner["scores"], winner["mean"]),
        "test": _spread(test["scores"], test["mean"], test["std"]),
        "columns": ["trial", sweep.metric, "epoch", "ended", *sweep.space],
        "trials": [_row(one, sweep) for one in ledger.ranked()[:MOST]],
        "failed": [
            (one.id, one.error["type"], one.error["message"])
            for one in ledger.trials()
            if one.error is not None
        ],
        "importance": _importance(weights),
        "note": _note(sweep, scored, has_finalists=cost["finalist_runs"] > 0),
    }


def markdown(about: Mapping[str, Any], drawn: Sequence[Picture]) -> str:
    """Return the report as Markdown."""
    lines = [f"# Sweep {_cell(about['name'])}", ""]
    lines += [_cell(about["about"]), ""] if about["about"] else []
    lines += ["Made by `recbole-llm tune` from `trials/`; edits are lost.", ""]
    lines += [*_table(["", ""], list(about["head"].items())), ""]
    lines += ["## The winner", "", *_table(["setting", "value"], about["winner"]), ""]
    lines += [f"- Validation: {about['validation']}", f"- Test: {about['test']}", ""]
    lines += [about["note"], "", "## The best trials", ""]
    lines += [*_table(about["columns"], about["trials"]), ""]
    if about["failed"]:
        lines += ["## Failed", "", *_table(["trial", "error", "message"], about["failed"]), ""]
    lines += ["## Figures", ""]
    for one in drawn:
        lines += [f"![{one.title}](figures/{one.name}.svg)", ""]
    lines += [about["importance"], ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").replace("<", "&lt;").split())


def _row(trial: Trial, sweep: Sweep) -> list[str]:
    point = trial.settings
    own = [_value(point[key]) if key in point else "–" for key in sweep.space]
    epoch = str((trial.best_epoch or 0) + 1)
    return [trial.id, f"{trial.best:.4f}", epoch, WORDS[trial.state], *own]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _spread(scores: Mapping[str, float], mean: float, deviation: float | None = None) -> str:
    own = ", ".join(f"{score:.4f} (seed {seed})" for seed, score in scores.items())
    spread = "" if deviation is None else f" ± {deviation:.4f}"
    return f"{mean:.4f}{spread}: {own}"


def _scheduler(sweep: Sweep) -> str:
    chosen = sweep.scheduler
    words = {
        "asha": f"asha, grace {chosen.grace_epochs} epochs, reduction {chosen.reduction}",
        "median": f"median stopping, grace {chosen.grace_epochs} epochs",
        "pbt": f"population-based training, exchange every {chosen.grace_epochs} epochs",
        "none": "none",
    }
    return words[chosen.kind]


def _importance(weights: Importances | None) -> str:
    """Say how far the figure of importance is to be believed, or why there is none."""
    if weights is None:
        return f"Importance of settings is not drawn: it takes {LEAST} trials that differ in score."
    words = f"the forest's R² on trials it has not seen is {weights.fit:.2f}"
    if not weights.table:
        return f"Importance of settings is not drawn, as nothing is known of it: {words}."
    return f"Importance of settings: {words}; the nearer to 0, the less the figure means."


def _note(sweep: Sweep, trials: Sequence[Trial], *, has_finalists: bool) -> str:
    note = f"The best of {len(trials)} validation scores is too high by chance"
    note += "; those of finalists under other seeds are less so." if has_finalists else "."
    note += " The choice sees no test score."
    if sweep.scheduler.kind == "pbt":
        note += (
            " Under population-based training settings changed while a trial trained; the winner "
            "has those of its best epoch from the beginning."
        )
    return note
