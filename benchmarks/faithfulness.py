"""Whether explanations are faithful: deletion curves of a run's influences against random deletion.

    uv run python benchmarks/faithfulness.py saved/RUN_DIR --out=faithfulness [--users 200]

For users drawn by a fixed seed, the first recommended item is explained by the events that the
model reads, as if the user had no others. Events are then deleted one after another, and the
item's standing is read anew each time: its score in standard deviations above the items of none of
them. An order is faithful if the score falls early (Petsiuk et al., 2018, arXiv 1806.07421).
Orders: by influence (counterfactual), the latest first, at random (the mean of draws), the least
influential first, and with ``--steps`` by integrated gradients of so many, which takes long. An
area is the mean score over the deletions; lower is more faithful.
Writes faithfulness.json, .svg and .png into ``--out``. Those in results/faithfulness are of
LLMInterestLSTM, seed 2021, of ``recbole-llm bench benchmarks/ml-100k.yaml``; those in its folder
words of the same run, with ``--users 20 --steps 16``.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from recbole_llm.errors import in_one_line
from recbole_llm.files import write_files
from recbole_llm.pictures import STYLE, picture
from recbole_llm.provenance import commit
from recbole_llm.recommend.explain.counterfactual import Case
from recbole_llm.recommend.explain.words import attribute
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.trajectory.gallery import drawn_users

RANDOM, INFLUENCE, LATEST = "at random", "by influence", "latest first"
COLORS = {
    INFLUENCE: "#d1495b", "by integrated gradients": "#c9702b", LATEST: "#2a6f97",
    RANDOM: "#8a8f98", "least influential first": "#5b8c5a",
}  # fmt: skip


def case_of(recommender: Recommender, user: str) -> Case:
    """Return a user's first recommended item, with the events that the model reads."""
    (rows,), _ = recommender.requests.rows_of([Request(user=user)], problems=[])
    window = rows[-recommender.model.max_seq_length :].tolist()
    return Case(recommender, Request(history=tuple(recommender.items[row] for row in window)))


def orders(case: Case, *, draws: random.Random, repeats: int, steps: int) -> Any:
    """Return the orders of deletion, some orders a name; events are counted from 0."""
    effects = [one.influence for one in case.influences()]
    events = list(range(len(effects)))
    strongest = sorted(events, key=lambda at: -effects[at])
    found = {INFLUENCE: [strongest], "least influential first": [strongest[::-1]]}
    found[LATEST] = [events[::-1]]
    found[RANDOM] = [draws.sample(events, len(events)) for _ in range(repeats)]
    if steps:
        parts = dict.fromkeys(events, 0.0)
        for one in attribute(case, steps=steps).events:
            parts[one.event - 1] = sum(part for _, part in one.words)
        found["by integrated gradients"] = [sorted(events, key=lambda at: -parts[at])]
    return found


def curves(case: Case, chosen: dict[str, list[list[int]]], *, most: int) -> dict[str, list[float]]:
    """Return the score after 0 to ``most`` deletions in each order, the mean of a name's orders."""
    found = {}
    for name, lists in chosen.items():
        histories = [case.without(order[:count]) for order in lists for count in range(most + 1)]
        scores = [one.score for one in case.standings(histories)]
        runs = [scores[at : at + most + 1] for at in range(0, len(scores), most + 1)]
        found[name] = [statistics.fmean(column) for column in zip(*runs, strict=True)]
    return found


def measure(recommender: Recommender, users: Sequence[str], **how: Any) -> Iterator[dict[str, Any]]:
    """Yield the curves of each user who has events enough."""
    draws = random.Random(0)
    for user in users:
        case = case_of(recommender, user)
        if len(case.rows) > how["most"]:
            chosen = orders(case, draws=draws, repeats=how["repeats"], steps=how["steps"])
            yield {"user": user, "curves": curves(case, chosen, most=how["most"])}


def summary(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean curves, areas, and each area below that of random deletion, paired by user."""
    names = list(measured[0]["curves"])
    mean = {
        name: [
            statistics.fmean(column)
            for column in zip(*(one["curves"][name] for one in measured), strict=True)
        ]
        for name in names
    }
    gains = {name: _below(RANDOM, name, measured) for name in names}
    areas = {name: statistics.fmean(curve) for name, curve in mean.items()}
    found = {"users": len(measured), "curves": mean, "areas": areas, "gains": gains}
    return found | {"influence_below_latest": _below(LATEST, INFLUENCE, measured)}


def _below(other: str, name: str, measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return by how much one order's area is below another's, paired by user."""
    apart = [
        statistics.fmean(one["curves"][other]) - statistics.fmean(one["curves"][name])
        for one in measured
    ]
    error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else None
    return {"mean": statistics.fmean(apart), "standard_error": error}


def draw(found: dict[str, Any]) -> Figure:
    """Draw the mean deletion curves."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in found["curves"].items():
        label = f"{name} ({found['areas'][name]:.3f})"
        axes.plot(range(len(curve)), curve, color=COLORS[name], marker="o", ms=3, label=label)
    axes.set_xlabel("Events deleted; in brackets: area, lower is more faithful")
    axes.set_ylabel("Score of the explained item (deviations)")
    axes.set_title(f"Deletion curves, mean of {found['users']} users")
    axes.legend(frameon=False)
    return figure


@in_one_line()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure a run, print the areas, write the figure and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--most", type=int, default=8, help="events deleted")
    parser.add_argument("--repeats", type=int, default=10, help="random orders a user")
    parser.add_argument(
        "--steps", type=int, default=0, help="by integrated gradients too, of these"
    )
    asked = parser.parse_args(argv)
    recommender = Recommender.load(asked.run)
    users = drawn_users(recommender.requests, asked.users, least=asked.most + 1)
    how = {"most": asked.most, "repeats": asked.repeats, "steps": asked.steps}
    measured = list(measure(recommender, users, **how))
    if not measured:
        parser.error(f"no user of {asked.run} has more than --most={asked.most} events.")
    found = summary(measured)
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE):
        drawn = picture(draw(found), name="faithfulness", title="Deletion curves")
    facts = {"commit": commit(), "run": Path(recommender.place).name, **how, **found}
    stem = asked.out / "faithfulness"
    write_files(
        {
            stem.with_suffix(".json"): json.dumps(facts, indent=1) + "\n",
            stem.with_suffix(".svg"): drawn.svg,
            stem.with_suffix(".png"): drawn.png,
        }
    )
    for name, gain in found["gains"].items():
        print(f"{name}: area {found['areas'][name]:.4f}, below random {gain['mean']:.4f}")


if __name__ == "__main__":
    main()
