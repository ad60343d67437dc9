"""What a sweep costs: ours against RecBole's, Ray's own cost a trial, and what ASHA saves.

    uv run python benchmarks/sweep_speed.py [trials] [overhead] [asha] [--rounds=1] [--small]
        [--work=FOLDER]

trials: 8 points of GRU4Rec on ml-100k, 3 epochs each, tried by three contestants in turn, as many
rounds as are asked for. ``all_positions`` and ``prefixes`` are the search of a sweep of ours with
that ``training`` (the second is RecBole's own, one case a prefix), scheduler none, as many trials
at a time as there are cores: the seconds hold the start of Python and Ray, and the data; not the
finalists, the runs of the winner and the report, with which ``recbole-llm tune`` ends. ``stock`` is
RecBole's objective, called once a point in one process as its run_hyper.py does: the seconds hold
data, training, validation and the test of each point; not the start of Python. Its call of
``tune.report``, which crashes on today's Ray, is left out, and no weights are saved, which its
torch.load cannot read on today's PyTorch. Three epochs are few, which favours whoever spends less
around them; an epoch of all positions is not the work of one of prefixes. So each contestant's best
validation score stands beside its times, in its own evaluation.
overhead: trials of one epoch, one at a time; what passes between the end of one and the end of the
next that is not the trial's own time. Of trials that run at a time it tells nothing.
asha: the sweep of tuning/llminterestlinear.yaml (space, points tried first, settings, 12 trials)
under three seeds, without scheduler and with ASHA: epochs spent, and the best score. ASHA compares
trials at 10, 30 and 90 epochs, a third goes on; ``replays`` has what others would have spent and
found, from the curves of the trials without scheduler, the sweep's own among them (20, half).
With ``--work`` its trials are kept there, and a call that was stopped is gone on with by the next.

Each part prints what it found, the target and whether it was met, and is written to
results/sweep_speed.json when it is done. ``--small`` shows in a minute or two that all runs: its
figures mean nothing, and it writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import yaml

from recbole_llm.files import write_json
from sections.halving import replays
from sections.process import median_ratio, provenance

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "sweep_speed.json"
SHIPPED = ROOT / "tuning" / "llminterestlinear.yaml"
FASTER, OVERHEAD, SHARE, LOSS = 20, 2.0, 0.5, 0.01  # the targets
ASHA = {"kind": "asha", "grace_epochs": 10, "reduction": 3}
GRID = {"learning_rate": [1e-3, 2e-3], "hidden_size": [64, 128], "dropout_prob": [0.1, 0.3]}
STOCK, OURS = "stock", ("all_positions", "prefixes")
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
found = []
for point in points:
    begin = time.perf_counter()
    done = quick_start.objective_function(config_dict={**settings, **point}, saved=False)
    found.append([time.perf_counter() - begin, float(done["best_valid_score"])])
print(json.dumps(found))
"""
SEARCH = """
import sys
from pathlib import Path
from recbole_llm.sweep.checks import check_sweep
from recbole_llm.sweep.ledger import TRIALS, Ledger
from recbole_llm.sweep.search import Search, place_of
sweep, results = check_sweep(Path(sys.argv[1])), Path(sys.argv[2])
(results / TRIALS).mkdir(parents=True, exist_ok=True)
ledger = Ledger(results)
ledger.read()
ledger.try_again(hours=None)
with place_of(sweep, address=None) as ray:
    Search(sweep, ledger, ray, data_path=None, work=Path("work"), say=print).trials()
"""


def tune(folder: Path, **sweep: Any) -> tuple[list[dict[str, Any]], float]:
    """Run the search of a sweep; return its trials in order and its seconds, start-up included."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({"finalists": {"top": 1, "seeds": [1]}} | sweep))
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", SEARCH, str(file), str(folder / "results")], check=True, cwd=folder
    )
    seconds = time.perf_counter() - begin
    found = [json.loads(file.read_text()) for file in (folder / "results/trials").glob("*.json")]
    return sorted(found, key=lambda one: one["number"]), seconds


def require(
    trials: Sequence[dict[str, Any]], *, number: int, states: Collection[str],
    epochs: int | None = None,
) -> None:  # fmt: skip
    """Refuse to count trials that are too few, that failed, or that trained less than was meant."""
    odd = [one for one in trials if one["state"] not in states or not one["curve"]]
    odd += [one for one in trials if epochs not in (None, len(one["curve"]))]
    if odd or len(trials) != number:
        told = [
            (one["state"], len(one["curve"]), (one.get("error") or {}).get("message"))
            for one in odd
        ]
        raise SystemExit(f"{len(trials)} of {number} trials; these do not count: {told}")


@dataclass(frozen=True)
class Work:
    """What all contestants do: so many epochs of each point of a grid, under one protocol."""

    grid: Mapping[str, Sequence[Any]]
    epochs: int
    protocol: Mapping[str, Any]

    @property
    def points(self) -> list[dict[str, Any]]:
        """The points of the grid."""
        return [dict(zip(self.grid, one, strict=True)) for one in product(*self.grid.values())]


def trials(folder: Path, *, small: bool, rounds: int) -> dict[str, Any]:
    """Return trials an hour and best scores of the contestants, by round, and their ratios."""
    work = Work(GRID, 3, COMMON)
    if small:
        few = {"MAX_ITEM_LIST_LENGTH": 5, "user_inter_num_interval": "[100,inf)"}
        work = Work({"learning_rate": [1e-3]}, 1, COMMON | few)
    found = []
    for place in range(rounds):
        first = place % 3
        order = [*OURS, STOCK][first:] + [*OURS, STOCK][:first]
        found.append({name: _contestant(folder / f"{place}{name}", name, work) for name in order})
        print(json.dumps(found[-1]), flush=True)
    ratios = {name: median_ratio(found, "per_hour", of=name, to=STOCK) for name in OURS}
    told = ", ".join(f"{name} {ratio:.1f} times" for name, ratio in ratios.items())
    return {
        "points": work.points, "epochs": work.epochs, "rounds": found, "ratios": ratios,
        "per_hour": {
            name: statistics.median(one[name]["per_hour"] for one in found)
            for name in (*OURS, STOCK)
        },
        "figure": f"trials an hour against RecBole's: {told}",
        "target": f"all_positions at least {FASTER} times", "is_met": ratios[OURS[0]] >= FASTER,
    }  # fmt: skip


def _contestant(folder: Path, name: str, work: Work) -> dict[str, float]:
    """Return the seconds of a contestant, its trials an hour, and its best validation score."""
    seconds, best = stock(folder, work) if name == STOCK else ours(folder, name, work)
    return {
        "seconds": seconds, "per_hour": 3600 * len(work.points) / seconds, "best_valid": best,
    }  # fmt: skip


def ours(folder: Path, training: str, work: Work) -> tuple[float, float]:
    """Return the seconds of the search of a sweep of ours, and its best score."""
    found, seconds = tune(
        folder, model="GRU4Rec", dataset="ml-100k", protocol=dict(work.protocol), searcher="grid",
        budget={}, scheduler="none", settings={"training": training, "epochs": work.epochs},
        space={name: {"choice": values} for name, values in work.grid.items()},
    )  # fmt: skip
    require(found, number=len(work.points), states={"done"}, epochs=work.epochs)
    if any(one["point"] not in work.points for one in found):
        raise SystemExit(f"other points were tried than {work.points}")
    return seconds, max(one["best"] for one in found)


def stock(folder: Path, work: Work) -> tuple[float, float]:
    """Return the seconds of RecBole's objective, called once a point, and its best score."""
    settings = {
        **work.protocol, "model": "GRU4Rec", "dataset": "ml-100k", "epochs": work.epochs,
        "train_neg_sample_args": None, "valid_metric": "NDCG@10", "show_progress": False,
        "state": "ERROR",
    }  # fmt: skip
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", OBJECTIVE, json.dumps([work.points, settings])],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    if len(found) != len(work.points):
        raise SystemExit(f"RecBole tried {len(found)} of {len(work.points)} points")
    return sum(one[0] for one in found), max(one[1] for one in found)


def overhead(folder: Path, *, small: bool, rounds: int) -> dict[str, Any]:
    """Return the seconds a trial costs beyond its own, after the first."""
    each: list[float] = []
    number = 3 if small else 12
    for place in range(rounds):
        found, _ = tune(
            folder / str(place), model="LLMInterestLinear", dataset="ml-100k", protocol=COMMON,
            scheduler="none", concurrency=1, budget={"trials": number}, settings={"epochs": 1},
            space=SPACE,
        )  # fmt: skip
        require(found, number=number, states={"done"}, epochs=1)
        each += _beyond(found)
    median = statistics.median(each)
    return {
        "seconds": each, "median": median, "most": max(each),
        "figure": f"{median:.2f} s a trial after the first, at most {max(each):.2f}",
        "target": f"all under {OVERHEAD:g} s", "is_met": max(each) < OVERHEAD,
    }  # fmt: skip


def _beyond(found: Sequence[dict[str, Any]]) -> Iterator[float]:
    """Yield what passed from the end of a trial to that of the next, less what the next took."""
    for before, one in pairwise(found):
        yield 3600 * (one["hours"] - before["hours"]) - one["curve"][-1]["seconds"]


def asha(folder: Path, *, small: bool, rounds: int) -> dict[str, Any]:
    """Return epochs and best scores with and without ASHA, under several seeds of a sweep."""
    sweep = yaml.safe_load(SHIPPED.read_text())
    sweep.pop("about")
    seeds = range(1 if small else 3)
    if small:
        sweep |= {"budget": {"trials": 2}, "settings": {"epochs": 3}}
    found, whole = [], []
    for seed in seeds:
        one: dict[str, Any] = {"seed": seed}
        for name, scheduler in (("none", {"kind": "none"}), ("asha", ASHA)):
            place = folder / "-".join(map(str, [*scheduler.values(), seed]))
            tried, _ = tune(place, **sweep | {"seed": seed, "scheduler": scheduler})
            states = {"done"} if name == "none" else {"done", "pruned"}
            require(tried, number=sweep["budget"]["trials"], states=states)
            if name == "none":
                whole.append([[point["valid"] for point in trial["curve"]] for trial in tried])
            spent = sum(len(trial["curve"]) for trial in tried)
            one[name] = {"epochs": spent, "best_valid": max(trial["best"] for trial in tried)}
        one["share_of_epochs"] = one["asha"]["epochs"] / one["none"]["epochs"]
        one["loss_of_best"] = 1 - one["asha"]["best_valid"] / one["none"]["best_valid"]
        found.append(one)
        print(json.dumps(one), flush=True)
    shares, losses = ([one[key] for one in found] for key in ("share_of_epochs", "loss_of_best"))
    told = (", ".join(f"{value:.1%}" for value in values) for values in (shares, losses))
    return {
        "file": SHIPPED.name, "trials": sweep["budget"]["trials"], "scheduler": ASHA,
        "seeds": found, "replays": replays(whole, epochs=sweep["settings"]["epochs"]),
        "figure": "epochs {}, best lower by {}".format(*told),
        "target": f"each seed at most {SHARE:.0%} of the epochs, best lower by at most {LOSS:.0%}",
        "is_met": max(shares) <= SHARE and max(losses) <= LOSS,
    }  # fmt: skip


PARTS = {"trials": trials, "overhead": overhead, "asha": asha}


def main() -> None:
    """Measure the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=1, help="of trials and overhead")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where asha keeps its trials")
    request = parser.parse_args()
    if wrong := set(request.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    for name in request.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            place = request.work if request.work and name == "asha" else Path(folder)
            part = PARTS[name](place.absolute(), small=request.small, rounds=request.rounds)
        met = "met" if part["is_met"] else "NOT met"
        print(f"{name}: {part['figure']}. Target: {part['target']}: {met}.", flush=True)
        if not request.small:
            kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
            write_json(RESULT, kept | {name: provenance() | part})


if __name__ == "__main__":
    main()
