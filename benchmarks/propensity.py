"""Judges estimators of the effect of exposures in a world where it is known: bias and variance.

    uv run python benchmarks/propensity.py [--repeats 20]

The users, items and ratings are ml-100k's; taste is a low-rank fit of the ratings, and exposures
and clicks are drawn (``sections/exposure.py``). Two effects are estimated: the mean over all pairs
of a user and an item, and the mean over what a policy would recommend, ten items a user by the text
of what they rated 4 or more. In one world exposures depend on popularity alone, in the other on the
user's taste too, which popularity as a propensity does not know. Writes results/propensity.json and
results/propensity.svg.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from recbole_llm.build import create_dataset
from recbole_llm.config import LLMConfig
from recbole_llm.files import write_files, write_json
from recbole_llm.pictures import STYLE, picture
from sections.estimators import Log, ips, naive, snips
from sections.exposure import World, completed, popularity_propensity, world_of
from sections.process import provenance

RESULT = Path(__file__).parents[1] / "results" / "propensity.json"
RANK, ROUNDS, LENGTH, POWER = 10, 20, 10, 0.5
Estimate = Callable[[Log], float]
ESTIMATORS: Mapping[str, Estimate] = {
    "naive": naive,
    "IPS": ips,
    "IPS clipped at 0.02": lambda log: ips(log, clip=0.02),
    "IPS clipped at 0.1": lambda log: ips(log, clip=0.1),
    "SNIPS": snips,
    "SNIPS clipped at 0.02": lambda log: snips(log, clip=0.02),
}
WORLDS = {"by popularity alone": 0.0, "by popularity and taste": 1.0}  # exposures
PROXY = " by popularity"  # of estimators that do not know the propensities


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return ml-100k's stars ``(U, N)``, 0 where there is none, and text vectors ``(N, D)``."""
    columns = ["user_id", "item_id", "rating", "timestamp"]
    settings = {"load_col": {"inter": columns}, "state": "ERROR"}
    dataset = create_dataset(LLMConfig("LLMInterestLSTM", "ml-100k", None, settings))
    vectors = dataset.item_vectors().table.numpy()
    stars = np.zeros((dataset.user_num, dataset.item_num))
    events = dataset.inter_feat
    stars[events["user_id"], events["item_id"]] = 1 + 4 * events["rating"]  # they come as 0..1
    return stars[1:, 1:], vectors[1:]


def by_text(stars: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return which unrated items have the texts most like those that a user liked, ``(U, N)``."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    scores = np.where(stars > 0, -np.inf, (stars >= 4) @ unit @ unit.T)
    chosen = np.zeros(stars.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(-scores, axis=1)[:, :LENGTH], True, axis=1)
    return chosen


def estimates(world: World, chosen: Mapping[str, np.ndarray], *, seed: int) -> dict[str, Any]:
    """Return what each estimator says of each effect, from one log."""
    exposed, clicked = world.draw(np.random.default_rng(seed))
    proxy = popularity_propensity(exposed, clicked, power=POWER)
    found = {}
    for name, pairs in chosen.items():
        known, guessed = (
            Log(exposed[pairs], clicked[pairs].astype(float), propensity[pairs])
            for propensity in (world.propensity, proxy)
        )
        found[name] = {one: estimate(known) for one, estimate in ESTIMATORS.items()}
        found[name] |= {f"{one}{PROXY}": ESTIMATORS[one](guessed) for one in ("IPS", "SNIPS")}
    return found


def judged(truth: float, values: list[float]) -> dict[str, Any]:
    """Return bias, variance and root mean squared error of estimates of a truth."""
    bias = statistics.fmean(values) - truth
    error = statistics.fmean((value - truth) ** 2 for value in values) ** 0.5
    return {
        "bias": bias,
        "variance": statistics.variance(values),
        "bias_standard_error": (statistics.variance(values) / len(values)) ** 0.5,
        "rmse": error,
        "estimates": values,
    }


def measure(world: World, chosen: Mapping[str, np.ndarray], *, repeats: int) -> dict[str, Any]:
    """Return the truth of each effect and how each estimator does."""
    logs = [estimates(world, chosen, seed=seed) for seed in range(repeats)]
    found = {}
    for name, pairs in chosen.items():
        truth = float(world.effect[pairs].mean())
        found[name] = {
            "pairs": int(pairs.sum()),
            "truth": truth,
            "mean_propensity": float(world.propensity[pairs].mean()),
            "least_propensity": float(world.propensity[pairs].min()),
            "estimators": {
                one: judged(truth, [log[name][one] for log in logs]) for one in logs[0][name]
            },
        }
    return found


def draw(effects: Mapping[str, Any]) -> Figure:
    """Draw each estimator's estimates beside the truth."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    shape = len(WORLDS), len(effects) // len(WORLDS)
    grid = figure.subplots(*shape, sharex=True, sharey=True).flat
    for axes, (name, one) in zip(grid, effects.items(), strict=True):
        rows = {label: each["estimates"] for label, each in one["estimators"].items()}
        marks = {"marker": "|", "linewidth": 1.2, "jitter": False}
        sns.stripplot(rows, orient="h", size=12, color="#2a6f97", ax=axes, **marks)
        axes.axvline(one["truth"], color="#d1495b", label=f"truth, {one['truth']:.3f}")
        axes.set_title(f"Exposed {name}")
        axes.legend(frameon=False, loc="upper left", borderpad=0, handlelength=1)
    figure.supxlabel("Estimated effect of an exposure on the probability of a click", size=9)
    return figure


def main() -> None:
    """Draw the logs, print bias and variance, write the JSON and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    stars, vectors = data()
    predicted, counts = completed(stars, rank=RANK, rounds=ROUNDS), (stars > 0).sum(0)
    chosen = {"all pairs": np.ones(stars.shape, bool), "a policy's": by_text(stars, vectors)}
    effects = {
        f"{name}, {pairs}": one
        for name, by_taste in WORLDS.items()
        for pairs, one in measure(
            world_of(predicted, counts, by_taste=by_taste), chosen, repeats=repeats
        ).items()
    }
    for name, one in effects.items():
        print(f"{name}: true effect {one['truth']:.4f}, {one['pairs']} pairs")
        for label, each in one["estimators"].items():
            print(
                f"  {label:24s} bias {each['bias']:+.4f} ± {each['bias_standard_error']:.4f}  "
                f"variance {each['variance']:.2e}  RMSE {each['rmse']:.4f}"
            )
    write_json(RESULT, {"repeats": repeats, "effects": effects, **provenance()})
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE):
        drawn = picture(draw(effects), name="propensity", title="Estimates and the truth")
    write_files({RESULT.with_suffix(".svg"): drawn.svg})


if __name__ == "__main__":
    main()
