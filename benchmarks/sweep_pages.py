"""What docs/tuning.md shows of sweeps: what they came to on ml-100k, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from suite_pages import ROOT, spread

from recbole_llm.bench.results import read_records

SUITE = ROOT / "results" / "ml-100k"
UNTUNED = {name: f"{name}, all positions" for name in ("GRU4Rec", "SASRec")}


def sweeps() -> str:
    """Return the table of each sweep's model with its defaults and as its sweep left it."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for record in read_records(SUITE)[0]:
        rows.setdefault(record.facts["label"], []).append(record.facts)
    lines = [
        "| model | trials: to their end, cut | trial-hours | validation: defaults | tuned "
        "| test: defaults | tuned | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for file in sorted((ROOT / "results" / "tuning").glob("*/outcome.json")):
        outcome = json.loads(file.read_text(encoding="utf-8"))
        if outcome["dataset"] == "ml-100k":
            model, cost = outcome["model"], outcome["cost"]
            runs = [rows.get(name, []) for name in (UNTUNED.get(model, model), f"{model}, tuned")]
            states = [str(cost["trials"].get(state, 0)) for state in ("done", "pruned")]
            cells = [model, ", ".join(states), f"{cost['trial_hours']:.1f}"]
            cells += [
                spread([run[part]["ndcg@10"] for run in its])
                for part in ("best_valid_result", "test_result")
                for its in runs
            ]
            lines.append(f"| {' | '.join(cells)} | {', '.join(str(len(its)) for its in runs)} |")
    return "\n".join(lines) + "\n"


def costs() -> str:
    """Return the table of what sweep_speed.py measured."""
    file = ROOT / "results" / "sweep_speed.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    lines = ["| part | measured | repeats | target | met |", "|---|---|---|---|---|"]
    for name in ("trials", "overhead", "asha"):
        if (part := found.get(name)) is None:
            lines.append(f"| `{name}` | not measured yet | | | |")
            continue
        repeats = part.get("rounds") or part.get("seeds")
        repeats = len(repeats) if isinstance(repeats, list) else repeats or 1
        cells = [part["figure"], str(repeats), part["target"], "yes" if part["is_met"] else "no"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def replays() -> str:
    """Return the table of what other settings of ASHA would have spent and lost, by seed."""
    file = ROOT / "results" / "sweep_speed.json"
    found = json.loads(file.read_text(encoding="utf-8")).get("asha")
    if found is None:
        return "Not measured yet.\n"
    lines = [
        "| grace_epochs | reduction | share of the epochs | best lower by |",
        "|---|---|---|---|",
    ]
    for one in found["replays"]:
        cells = [str(one["grace_epochs"]), str(one["reduction"])]
        for key, digits in (("share_of_epochs", 0), ("loss_of_best", 1)):
            cells.append(", ".join(f"{100 * value:.{digits}f}" for value in one[key]) + " %")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
