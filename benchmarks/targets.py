"""Test NDCG@10 of our models, of controls and of RecBole's, on real datasets under two rulers.

    uv run python benchmarks/targets.py --data_path FOLDER [--plan] [--only ml-1m] [--variant LSTM]

benchmarks/targets.yaml says what is wanted. What results/targets/ holds is not run again; a run
that was stopped goes on where it stood (its directory is in saved/targets/).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_llm import run_recbole
from recbole_llm.files import write_json
from recbole_llm.parsing import load_yaml
from recbole_llm.plugin import MODELS

ROOT = Path(__file__).parents[1]
SPEC, RESULTS = ROOT / "benchmarks" / "targets.yaml", ROOT / "results" / "targets"
KEPT = ("seed", "best_valid_result", "test_result", "seconds", "epochs", "best_epoch")
KEPT_FACTS = ("protocol", "parameters", "device", "versions", "commit", "settings")


@dataclass(frozen=True)
class Run:
    """One training run: everything that can change its numbers."""

    dataset: str
    ruler: str
    variant: str
    seed: int
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """A path below the results, made of what the run is."""
        variant = re.sub(r"[^A-Za-z0-9]+", "-", self.variant)
        return f"{self.dataset}-{self.ruler}/{variant}-{self.seed}"


def wanted(spec: Mapping[str, Any]) -> Iterator[Run]:
    """Yield every run of the spec, seed by seed, so that each row fills evenly."""
    for row in spec["rows"]:
        for seed in spec["seeds"]:
            for variant, settings in spec["variants"].items():
                own = (
                    spec["settings"].get(row["dataset"], {}) if settings["model"] in MODELS else {}
                )
                ruler = spec["rulers"][row["ruler"]]
                yield Run(row["dataset"], row["ruler"], variant, seed, {**own, **ruler, **settings})


def train(run: Run, data_path: Path | None) -> dict[str, Any]:
    """Train a run, or go on with it, and return what is kept of it."""
    run_dir = ROOT / "saved" / "targets" / run.name
    settings = {**run.settings, "seed": run.seed, "run_dir": str(run_dir), "show_progress": False}
    if data_path and run.dataset != "ml-100k":
        settings["data_path"] = str(data_path)
    model = settings.pop("model")
    if (run_dir / "config.json").exists():
        result = run_recbole(resume=run_dir)
    else:
        result = run_recbole(model, run.dataset, config_dict=settings)
    facts = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    kept = {key: result[key] for key in KEPT} | {key: facts[key] for key in KEPT_FACTS}
    return {
        "dataset": run.dataset,
        "ruler": run.ruler,
        "variant": run.variant,
        "model": model,
        **kept,
    }


def line(runs: list[dict[str, Any]]) -> str:
    """Return mean and spread of validation and test over the seeds of a variant."""
    cells = []
    for part in ("best_valid_result", "test_result"):
        found = [one[part]["ndcg@10"] for one in runs]
        spread = f" ± {statistics.stdev(found):.4f}" if len(found) > 1 else ""
        cells.append(f"{statistics.mean(found):.4f}{spread}")
    return f"valid {cells[0]}  test {cells[1]}  ({len(runs)} seeds)"


def main() -> None:
    """Run what is missing, write the JSON after each run, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_path", type=Path)
    parser.add_argument("--only", help="a dataset, or dataset-ruler")
    parser.add_argument("--variant", help="a variant")
    parser.add_argument("--plan", action="store_true", help="say what is missing and stop")
    request = parser.parse_args()
    runs = [
        run
        for run in wanted(load_yaml(SPEC))
        if request.only in (None, run.dataset, f"{run.dataset}-{run.ruler}")
        and request.variant in (None, run.variant)
    ]
    for run in runs:
        file = RESULTS / f"{run.name}.json"
        if request.plan:
            print(f"{'present' if file.exists() else 'missing'}  {run.name}")
        elif not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, train(run, request.data_path))
    for place, variant in dict.fromkeys((f"{r.dataset}-{r.ruler}", r.variant) for r in runs):
        names = [r.name for r in runs if (f"{r.dataset}-{r.ruler}", r.variant) == (place, variant)]
        found = [
            json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
            for name in names
            if (RESULTS / f"{name}.json").exists()
        ]
        print(f"{place:18} {variant:24}", line(found) if found else "missing")


if __name__ == "__main__":
    main()
