"""The sweeps of this repository: equal budgets, and results that are theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from recbole_llm.plugin import OURS
from recbole_llm.sweep.checks import check_sweep

SWEEPS = sorted((Path(__file__).parents[2] / "tuning").glob("*.yaml"))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_sweeps_of_this_repository_are_sound(file: Path) -> None:
    sweep = check_sweep(file)
    of_dataset = "" if sweep.dataset == "ml-100k" else f"-{sweep.dataset}"
    assert file.stem == sweep.model.lower() + of_dataset


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "number"), [("ml-100k", 7), ("amazon-beauty", 3)])
def test_those_of_a_dataset_have_equal_budgets(dataset: str, number: int) -> None:
    sweeps = [sweep for sweep in map(check_sweep, SWEEPS) if sweep.dataset == dataset]
    assert len(sweeps) == number
    names = ("dataset", "metric", "protocol", "budget", "searcher", "scheduler", "seed",
             "finalists", "resources", "concurrency", "retries")  # fmt: skip
    assert {str([getattr(one, name) for name in names]) for one in sweeps} == {
        str([getattr(sweeps[0], name) for name in names])
    }
    sizes = {"embedding_size", "hidden_size", "inner_size"} if dataset == "amazon-beauty" else set()
    common = []
    for one in sweeps:  # RecBole's models are asked to learn every position, as ours do by default
        of_model = {} if one.model in OURS else {"training": "all_positions"}
        assert one.settings.items() >= of_model.items()
        own = sizes | of_model.keys()
        common.append({key: value for key, value in one.settings.items() if key not in own})
    assert all(one == common[0] for one in common)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_what_they_came_to_is_theirs(file: Path) -> None:
    """Results and best settings are of the sweep as it stands."""
    folder = file.parents[1] / "results" / "tuning" / file.stem
    if not folder.exists():
        pytest.skip("its sweep has not run")
    sweep = check_sweep(file)
    ran = json.loads((folder / "sweep.json").read_text())
    assert {key: ran[key] for key in sweep.facts} == sweep.facts
    winner = json.loads((folder / "outcome.json").read_text())["winner"]
    best = yaml.safe_load(
        (file.parent / "best" / f"{sweep.model}@{sweep.dataset}.yaml").read_text()
    )
    assert best.pop("about").startswith(f"Chosen by the sweep {file.stem} on validation")
    own = {"model": sweep.model, "dataset": sweep.dataset}
    assert best == {**own, **sweep.settings, **winner["point"]}
