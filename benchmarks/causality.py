"""Writes the tables of docs/causality.md from results/propensity.json and results/causality/.

uv run python benchmarks/causality.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from figures import ROOT, fill, read, spread

from recbole_llm.bench.results import read_records


def estimators() -> str:
    """Return the tables of estimators for docs/causality.md, one an effect."""
    parts = []
    for name, effect in read("propensity.json")["effects"].items():
        lines = [
            f"Exposed {name}: {effect['pairs']:,} of them, mean propensity "
            f"{effect['mean_propensity']:.3f}; the true effect is {effect['truth']:.4f}.",
            "",
            "| estimator | bias ± standard error | variance | RMSE |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {label} | {one['bias']:+.4f} ± {one['bias_standard_error']:.4f} "
            f"| {one['variance']:.1e} | {one['rmse']:.4f} |"
            for label, one in effect["estimators"].items()
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def suite() -> str:
    """Return the tables of the suite for docs/causality.md, one a ruler: test NDCG@10 by group."""
    rulers: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for record in read_records(ROOT / "results" / "causality")[0]:
        rows = rulers.setdefault(record.facts["ruler"], {})
        rows.setdefault(record.facts["label"], []).append(record.facts)
    parts = []
    for ruler, rows in sorted(rulers.items(), reverse=True):
        groups = next(iter(rows.values()))[0]["slices"]["item_popularity"]
        cases = [f"{name}, {one['cases']}" for name, one in groups.items()]
        lines = [f"| {ruler} | all | {' | '.join(cases)} | coverage@10 | seeds |"]
        lines.append("|---" * (len(groups) + 4) + "|")
        for label, runs in rows.items():
            scores = [[run["test_result"]["ndcg@10"] for run in runs]]
            scores += [
                [run["slices"]["item_popularity"][name]["metrics"]["ndcg@10"] for run in runs]
                for name in groups
            ]
            scores.append([run["lists"]["coverage@10"] for run in runs])
            cells = " | ".join(spread(values) for values in scores)
            lines.append(f"| {label} | {cells} | {len(runs)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Put the tables between the marks of the page."""
    fill("docs/causality.md", {"estimators": estimators(), "suite": suite()})


if __name__ == "__main__":
    main()
