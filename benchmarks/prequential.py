"""Frozen against updated over time: each period is a test first, and then new events.

    uv run python benchmarks/prequential.py steam-100k --data_path FOLDER [--seeds 2020 2021 2022]

The first part of all events in time order (``--base``, a share) trains the model; its last event of
each user is validation. The rest is cut into ``--periods`` of equal numbers of events. For each, in
turn, every event but a user's first is a case, once: given the last MAX_ITEM_LIST_LENGTH events of
the user before it, those of the period among them, all items of the dataset are ranked, those that
no one has met yet too (by their text), and the expected NDCG@10 is noted. Only then is the period
trained on (prequential evaluation: Gama et al., 2013, Machine Learning 90). Methods: ``frozen``,
the weights of the first part; ``updated`` by ``fit_partial`` after each period; the same without
replay, which never sees what was validation; and popularity, the number of events of an item before
the period. Writes <dataset>.json, .svg and .png into results/prequential.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure

from recbole_llm import fit_partial, run_recbole
from recbole_llm.atomic import read_atomic
from recbole_llm.errors import in_one_line
from recbole_llm.files import write_files, write_json
from recbole_llm.pictures import STYLE, picture
from recbole_llm.provenance import commit
from recbole_llm.ranking_metrics import Ranking, expected_metric
from recbole_llm.recommend.ranker import BATCH
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.train.blocks import SPAN, TILE, ScoreBlocks
from recbole_llm.train.ranking import rank

RESULTS = Path(__file__).parents[1] / "results" / "prequential"
FIELDS = ("user_id", "item_id", "timestamp")
FROZEN, UPDATED, UNREPLAYED, POPULAR = "frozen", "updated", "updated, no replay", "popularity"
COLORS = {UPDATED: "#d1495b", UNREPLAYED: "#c9702b", FROZEN: "#2a6f97", POPULAR: "#8a8f98"}
Found = dict[str, list[np.ndarray]]  # NDCG@10 of the cases of each period by each method


@dataclass(frozen=True)
class Stream:
    """A dataset's events in time order, ``(E,)`` each, and where they stand among a user's own.

    Attributes:
        name: The dataset.
        folder: Where its files lie.
        users, items: Raw ids.
        times: Seconds.
        flat: The events, user after user, in time order.
        at: Where in ``flat`` each event stands.
        start: Where in ``flat`` the first event of its user stands.
    """

    name: str
    folder: Path
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    flat: np.ndarray
    at: np.ndarray
    start: np.ndarray

    @classmethod
    def read(cls, folder: Path, name: str) -> Stream:
        """Read a dataset's file of interactions."""
        table = read_atomic(folder / f"{name}.inter", columns=FIELDS)
        times = table.floats("timestamp")
        order = np.argsort(times, kind="stable")
        users, items = (np.array(table.columns[field])[order] for field in FIELDS[:2])
        _, owner, counts = np.unique(users, return_inverse=True, return_counts=True)
        flat = np.argsort(owner, kind="stable")
        start = (np.cumsum(counts) - counts)[owner]
        return cls(name, folder, users, items, times[order], flat, np.argsort(flat), start)

    def write_inter(self, path: Path, events: slice) -> Path:
        """Write some events as an ``.inter`` file."""
        parts = (self.users[events], self.items[events], self.times[events].tolist())
        rows = ["\t".join(map(str, row)) for row in zip(*parts, strict=True)]
        path.write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows, ""]))
        return path

    def write_items(self, path: Path, *, but: Sequence[str], events: slice) -> Path | None:
        """Write the items of some events, but those named, as an ``.item`` file, if any."""
        wanted = set(self.items[events]) - set(but)
        lines = (self.folder / f"{self.name}.item").read_text("utf-8").split("\n")
        at = [cell.partition(":")[0] for cell in lines[0].split("\t")].index("item_id")
        rows = [line for line in lines[1:] if line and line.split("\t")[at] in wanted]
        path.write_text("\n".join([lines[0], *rows, ""]), encoding="utf-8")
        return path if rows else None

    def cases(self, period: slice) -> np.ndarray:
        """Return the events of a period that have one before them."""
        events = np.arange(period.start, period.stop)
        return events[self.at[events] > self.start[events]]


def ndcg(stream: Stream, run: Path, cases: np.ndarray, *, work: Path) -> np.ndarray:
    """Return the expected NDCG@10 of each case by a run, all items of the stream ranked."""
    known = Recommender.load(run).items
    file = stream.write_items(work / "unknown.item", but=known, events=slice(None))
    recommender = Recommender.load(run, new_items=file)
    row_of = recommender.requests.rows
    if lost := sorted(set(stream.items) - set(row_of)):
        raise SystemExit(f"{stream.name}.item: has no row of {lost[0]}, one of {len(lost)}.")
    rows = torch.tensor([row_of[item] for item in stream.items[stream.flat]])
    most = recommender.model.max_seq_length
    found = []
    for begin in range(0, len(cases), BATCH):
        part = cases[begin : begin + BATCH]
        ends = [(max(stream.start[one], stream.at[one] - most), stream.at[one]) for one in part]
        interests = recommender.interests([rows[a:b] for a, b in ends], recommender.table)
        targets = rows[torch.from_numpy(stream.at[part])]
        for at in range(0, len(part), TILE):
            found.append(_ranked(recommender, interests[at : at + TILE], targets[at : at + TILE]))
    return expected_metric("ndcg", Ranking.join(found), k=10)


@torch.no_grad()
def _ranked(recommender: Recommender, interests: torch.Tensor, targets: torch.Tensor) -> Ranking:
    scores = ScoreBlocks(interests, recommender.candidates, SPAN)
    return rank(scores, targets, seen=None, list_length=0, place=recommender.place)


def popular(stream: Stream, cases: np.ndarray, *, before: int) -> np.ndarray:
    """Return the expected NDCG@10 of each case by the number of an item's events so far."""
    _, item = np.unique(stream.items, return_inverse=True)
    counts = np.bincount(item[:before], minlength=item.max() + 1)
    own, ordered = counts[item[cases]], np.sort(counts)
    above = len(ordered) - np.searchsorted(ordered, own, side="right")
    ties = len(ordered) - above - np.searchsorted(ordered, own, side="left") - 1
    candidates = np.full_like(above, len(ordered))
    return expected_metric("ndcg", Ranking(above, ties, candidates, above[:, None][:, :0]), k=10)


def run_seed(
    stream: Stream, cuts: Sequence[int], *, seed: int, asked: Any, work: Path
) -> tuple[Found, set[str]]:
    """Return the NDCG@10 of the cases of each period by each method, and the first run's items."""
    base = work / "base" / stream.name
    base.mkdir(parents=True)
    stream.write_inter(base / f"{stream.name}.inter", slice(0, cuts[0]))
    shutil.copy(stream.folder / f"{stream.name}.item", base)
    settings = {
        "data_path": str(base), "run_dir": str(work / "run"), "seed": seed, "show_progress": False,
        "eval_args": {"split": {"LS": "valid_only"}}, "MAX_ITEM_LIST_LENGTH": asked.length,
        "load_col": {"inter": list(FIELDS)},
    }  # fmt: skip
    run_recbole(asked.model, stream.name, config_dict=settings)
    runs = dict.fromkeys((FROZEN, UPDATED, UNREPLAYED), work / "run")
    found: Found = {name: [] for name in (*runs, POPULAR)}
    for number, (begin, end) in enumerate(pairwise(cuts)):
        cases = stream.cases(slice(begin, end))
        found[POPULAR].append(popular(stream, cases, before=begin))
        of_run = {run: ndcg(stream, run, cases, work=work) for run in set(runs.values())}
        for name, run in runs.items():
            found[name].append(of_run[run])
            print(f"seed {seed}, period {number + 1}, {name}: {of_run[run].mean():.4f}", flush=True)
        if end < cuts[-1]:
            for name, replay in ((UPDATED, asked.replay), (UNREPLAYED, 0.0)):
                events = slice(begin, end)
                runs[name] = updated(stream, runs[name], events, replay=replay, asked=asked)
    return found, set(Recommender.load(work / "run").items)


def updated(stream: Stream, run: Path, events: slice, *, replay: float, asked: Any) -> Path:
    """Update a run with the events of a period and return the new run."""
    work = run.parent
    known = Recommender.load(run).items
    result = fit_partial(
        run,
        stream.write_inter(work / "new.inter", events),
        items=stream.write_items(work / "new.item", but=known, events=events),
        epochs=asked.epochs,
        replay=replay,
        learning_rate=asked.learning_rate,
    )
    return Path(result["run_dir"])


def summary(
    stream: Stream, cuts: Sequence[int], found: Sequence[Found], *, known: set[str]
) -> dict[str, Any]:
    """Return facts of periods, and each method's means and gain; items not ``known`` are new."""
    spans = [slice(*pair) for pair in pairwise(cuts)]
    is_new = [np.array([one not in known for one in stream.items[stream.cases(s)]]) for s in spans]
    days = stream.times.astype("datetime64[s]").astype("datetime64[D]")
    periods = [
        {
            "from": str(days[span.start]),
            "to": str(days[span.stop - 1]),
            "events": span.stop - span.start,
            "cases": len(new),
            "cases_of_new_items": int(new.sum()),
        }
        for span, new in zip(spans, is_new, strict=True)
    ]
    users = np.concatenate([stream.users[stream.cases(span)] for span in spans])
    whole = {name: np.stack([np.concatenate(one[name]) for one in found]) for name in COLORS}
    new = np.concatenate(is_new)
    methods = {
        name: {
            "periods": [[float(part.mean()) for part in one[name]] for one in found],
            "all": [float(value) for value in cases.mean(1)],
            "known_items": [float(value) for value in cases[:, ~new].mean(1)],
            "new_items": [float(value) for value in cases[:, new].mean(1)],
            "gain": _gain(cases.mean(0) - whole[FROZEN].mean(0), users),
        }
        for name, cases in whole.items()
    }
    return {"base_events": cuts[0], "periods": periods, "methods": methods}


def _gain(apart: np.ndarray, users: np.ndarray) -> dict[str, float]:
    """Return the mean over cases, and its standard error where a user's cases are not apart."""
    _, owner = np.unique(users, return_inverse=True)
    sums = np.bincount(owner, weights=apart - apart.mean())
    return {
        "mean": float(apart.mean()),
        "standard_error": float((sums**2).sum() ** 0.5 / len(apart)),
    }


def draw(found: Mapping[str, Any]) -> Figure:
    """Draw each method's NDCG@10 over the periods, the mean of the seeds."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    days = [period["to"] for period in found["periods"]]
    places = range(len(days))
    for name, color in COLORS.items():
        one = found["methods"][name]
        values, mean = np.array(one["periods"]), np.mean(one["all"])
        label = f"{name} ({mean:.4f})"
        axes.plot(places, values.mean(0), color=color, marker="o", ms=3, label=label)
        axes.fill_between(places, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
    axes.set_xlabel("Last day of the period; in brackets: all periods")
    axes.set_ylabel("NDCG@10, all items ranked")
    axes.set_xticks(places, labels=days, rotation=30, ha="right")
    axes.set(
        ylim=(0, None), title=f"{found['model']} on {found['dataset']}: tested, then trained on"
    )
    axes.legend(frameon=False)
    return figure


@in_one_line()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write the numbers and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument("--model", default="LLMInterestLSTM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    parser.add_argument("--base", type=float, default=0.7, help="share of events before the cut")
    parser.add_argument("--periods", type=int, default=8)
    parser.add_argument("--length", type=int, default=50, help="MAX_ITEM_LIST_LENGTH")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--replay", type=float, default=1.0)
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    begun, by = time.perf_counter(), commit()
    stream = Stream.read(asked.data_path / asked.dataset, asked.dataset)
    cuts = np.linspace(asked.base, 1, asked.periods + 1) * len(stream.users)
    ends = cuts.round().astype(int).tolist()
    chosen = {key: value for key, value in vars(asked).items() if key not in ("data_path", "out")}
    found = []
    for number, seed in enumerate(asked.seeds, start=1):
        with tempfile.TemporaryDirectory() as work:
            of_seed, known = run_seed(stream, ends, seed=seed, asked=asked, work=Path(work))
        found.append(of_seed)
        facts = {**chosen, "seeds": asked.seeds[:number], "commit": by}
        facts |= summary(stream, ends, found, known=known)
        write(asked.out / asked.dataset, facts | {"seconds": time.perf_counter() - begun})


def write(stem: Path, facts: Mapping[str, Any]) -> None:
    """Write the numbers and the figure of the seeds so far."""
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE):
        drawn = picture(draw(facts), name=stem.name, title="Frozen against updated")
    write_files({stem.with_suffix(".svg"): drawn.svg, stem.with_suffix(".png"): drawn.png})
    write_json(stem.with_suffix(".json"), facts)


if __name__ == "__main__":
    main()
