"""What a sweep costs: ours against RecBole's, Ray's own cost a trial, and what ASHA saves.

    uv run python benchmarks/sweep_speed.py [trials] [overhead] [asha] [--small]

trials: the same 8 points of GRU4Rec on ml-100k, the same number of epochs each, tried by
``recbole-llm tune`` (which trains it on all positions) and by RecBole's objective, called once a
point in one process as its run_hyper.py does. Its call of ``tune.report``, which crashes on today's
Ray, is left out, and no weights are saved, which its torch.load cannot read on today's PyTorch.
overhead: trials of one epoch, one at a time; what passes between the end of one and the end of the
next that is not the trial's own time.
asha: the same points with and without ASHA, three draws of them: epochs spent, and the best score.

Each part is written to results/sweep_speed.json when it is done. ``--small`` shows in minutes that
all runs, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from recbole_llm.files import write_json
from sections.process import provenance

RESULT = Path(__file__).parents[1] / "results" / "sweep_speed.json"
GRID = {"learning_rate": [1e-3, 2e-3], "hidden_size": [64, 128], "dropout_prob": [0.1, 0.3]}
COMMON = {
    "MAX_ITEM_LIST_LENGTH": 50, "topk": [10], "metrics": ["Recall", "MRR", "NDCG"],
}  # fmt: skip
SPACE = {
    "learning_rate": {"loguniform": [5e-4, 5e-3]},
    "dropout_prob": {"uniform": [0.0, 0.5]},
    "embedding_size": {"choice": [32, 64, 128]},
}
OBJECTIVE = """
import json, sys, time
import recbole_llm  # the work-arounds without which RecBole does not run on today's stack
from recbole.quick_start import quick_start
quick_start.tune.report = lambda **metrics: None
points, settings = json.loads(sys.argv[1])
sys.argv[1:] = []
times = []
for point in points:
    begin = time.perf_counter()
    quick_start.objective_function(config_dict={**settings, **point}, saved=False)
    times.append(time.perf_counter() - begin)
print(json.dumps(times))
"""


def tune(folder: Path, **sweep: Any) -> tuple[list[dict[str, Any]], float]:
    """Run the search of a sweep; return its trials in order and its seconds, start-up included."""
    file = folder / "sweep.yaml"
    sweep = {
        "dataset": "ml-100k",
        "protocol": COMMON,
        "finalists": {"top": 1, "seeds": [1]},
    } | sweep
    file.write_text(yaml.safe_dump(sweep))
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", SEARCH, str(file), str(folder / "results")], check=True, cwd=folder
    )
    seconds = time.perf_counter() - begin
    found = [json.loads(file.read_text()) for file in (folder / "results/trials").glob("*.json")]
    return sorted(found, key=lambda one: one["number"]), seconds


SEARCH = """
import sys
from pathlib import Path
from recbole_llm.sweep.checks import check_sweep
from recbole_llm.sweep.ledger import TRIALS, Ledger
from recbole_llm.sweep.search import Search, place_of
sweep, results = check_sweep(Path(sys.argv[1])), Path(sys.argv[2])
(results / TRIALS).mkdir(parents=True)
with place_of(sweep, address=None) as ray:
    Search(sweep, Ledger(results), ray, data_path=None, work=Path("work"), say=print).trials()
"""


def trials(folder: Path, *, small: bool) -> dict[str, Any]:
    """Return trials an hour of both, and their ratio."""
    epochs, grid = (1, {"learning_rate": [1e-3]}) if small else (3, GRID)
    (folder / "ours").mkdir()
    mine, seconds = tune(
        folder / "ours", model="GRU4Rec", searcher="grid", budget={}, scheduler="none",
        settings={"training": "all_positions", "epochs": epochs},
        space={name: {"choice": values} for name, values in grid.items()},
    )  # fmt: skip
    points = [one["point"] for one in mine]
    settings = COMMON | {
        "model": "GRU4Rec", "dataset": "ml-100k", "epochs": epochs, "train_neg_sample_args": None,
        "valid_metric": "NDCG@10", "show_progress": False, "state": "ERROR",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", OBJECTIVE, json.dumps([points, settings])],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours_hour, stock_hour = (3600 * len(points) / time_ for time_ in (seconds, sum(theirs)))
    return {
        "points": points, "epochs": epochs, "ours_seconds": seconds, "stock_seconds": theirs,
        "ours_per_hour": ours_hour, "stock_per_hour": stock_hour, "ratio": ours_hour / stock_hour,
    }  # fmt: skip


def overhead(folder: Path, *, small: bool) -> dict[str, Any]:
    """Return the seconds a trial costs beyond its own, after the first."""
    found, _ = tune(
        folder, model="LLMInterestLinear", scheduler="none", concurrency=1,
        budget={"trials": 3 if small else 12}, settings={"epochs": 1}, space=SPACE,
    )  # fmt: skip
    ends = [3600 * one["hours"] for one in found]
    own = [one["curve"][-1]["seconds"] for one in found]
    each = [
        end - before - seconds
        for before, end, seconds in zip(ends, ends[1:], own[1:], strict=False)
    ]
    return {"seconds": each, "median": statistics.median(each), "most": max(each)}


def asha(folder: Path, *, small: bool) -> dict[str, Any]:
    """Return epochs and best scores with and without ASHA, of several draws of points."""
    number, epochs, repeats = (2, 3, 1) if small else (12, 60, 3)
    rounds = []
    for repeat in range(repeats):
        one: dict[str, Any] = {}
        for kind in ("none", "asha"):
            place = folder / f"{kind}{repeat}"
            place.mkdir()
            found, _ = tune(
                place, model="LLMInterestLinear", budget={"trials": number}, seed=repeat,
                settings={"epochs": epochs}, space=SPACE,
                scheduler={"kind": kind, "grace_epochs": 3, "reduction": 3},
            )  # fmt: skip
            spent = sum(len(trial["curve"]) for trial in found)
            one[kind] = {"epochs": spent, "best": max(trial["best"] for trial in found)}
        one["share_of_epochs"] = one["asha"]["epochs"] / one["none"]["epochs"]
        one["loss_of_best"] = 1 - one["asha"]["best"] / one["none"]["best"]
        rounds.append(one)
        print(json.dumps(one), flush=True)
    return {"trials": number, "epochs": epochs, "rounds": rounds}


PARTS = {"trials": trials, "overhead": overhead, "asha": asha}


def main() -> None:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    request = parser.parse_args()
    if wrong := set(request.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    for name in request.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            part = PARTS[name](Path(folder), small=request.small)
        print(f"{name}: {json.dumps(part)}", flush=True)
        if not request.small:
            kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
            write_json(RESULT, kept | {name: provenance() | part})


if __name__ == "__main__":
    main()
