"""What a setting is worth: validation and test NDCG@10 of each of its values, over seeds.

    uv run python benchmarks/ablation.py interest_combination=current,sum,gate
    uv run python benchmarks/ablation.py model=LLMInterestRNN,LLMInterestGRU,LLMInterestLSTM

Runs that are in results/ablation/<dataset>-<setting>.json already are not run again. A default is
chosen by the validation column; the test column only reports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from recbole_llm import run_recbole
from recbole_llm.files import write_json
from recbole_llm.parsing import parse_value

RESULTS = Path(__file__).parents[1] / "results" / "ablation"


def run(setting: str, value: str, *, seed: int, model: str, dataset: str) -> dict[str, Any]:
    """Train once and return what is compared."""
    settings = {"seed": seed, "show_progress": False, "state": "ERROR"}
    if setting == "model":
        model = value
    else:
        settings[setting] = parse_value(setting, value)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        result = run_recbole(model, dataset, config_dict=settings)
        os.chdir(RESULTS)
    return {
        "valid": result["best_valid_result"]["ndcg@10"],
        "test": result["test_result"]["ndcg@10"],
        "epochs": result["epochs"],
        "train_seconds": result["seconds"]["train"],
    }


def line(value: str, runs: dict[str, dict[str, Any]]) -> str:
    """Return a row of the table."""
    cells = [f"{value:24s}"]
    for part in ("valid", "test"):
        found = [one[part] for one in runs.values()]
        spread = statistics.stdev(found) if len(found) > 1 else float("nan")
        cells.append(f"{part} {statistics.mean(found):.4f} ± {spread:.4f}")
    return "  ".join(cells) + f"  ({len(runs)} seeds)"


def main() -> None:
    """Run what is missing, write the JSON after each run, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", help="key=value,value,...")
    parser.add_argument("--model", default="LLMInterestLSTM")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    request = parser.parse_args()
    setting, _, values = request.setting.partition("=")
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{request.dataset}-{setting}.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in request.seeds:
        for value in values.split(","):
            runs = found.setdefault(value, {})
            if str(seed) not in runs:
                runs[str(seed)] = run(
                    setting, value, seed=seed, model=request.model, dataset=request.dataset
                )
                write_json(file, found)
    for value in values.split(","):
        print(line(value, found[value]))


if __name__ == "__main__":
    main()
