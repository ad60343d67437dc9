"""The estimators of an effect, by hand and by enumeration, and the world that judges them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "propensity.py"
# A world of two pairs: what follows an exposure, what follows none, and the propensity.
IF_EXPOSED, IF_NOT, PROPENSITY = np.array([1.0, 3.0]), np.array([0.5, 1.0]), np.array([0.2, 0.6])


@pytest.fixture(autouse=True)
def _sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def logs() -> list[tuple[float, Any]]:
    """Return every log that the world may give, and its probability."""
    from sections.estimators import Log

    found = []
    for both in itertools.product([False, True], repeat=2):
        exposed = np.array(both)
        probability = np.where(exposed, PROPENSITY, 1 - PROPENSITY).prod()
        found.append((probability, Log(exposed, np.where(exposed, IF_EXPOSED, IF_NOT), PROPENSITY)))
    return found


def test_ips_is_right_on_average() -> None:
    from sections.estimators import ips

    assert sum(share for share, _ in logs()) == pytest.approx(1)
    mean = sum(share * ips(log) for share, log in logs())
    assert mean == pytest.approx((0.5 + 2.0) / 2)


def test_a_clip_misses_what_it_cuts_off() -> None:
    from sections.estimators import ips

    mean = sum(share * ips(log, clip=0.4) for share, log in logs())
    # the first pair's exposure counts 0.2 / 0.4 of what it should; 1 - 0.6 is not below the clip
    assert mean == pytest.approx((0.5 * 1.0 + 3.0 - 0.5 - 1.0) / 2)


def test_a_naive_difference_by_hand() -> None:
    from sections.estimators import Log, naive

    log = Log(np.array([True, False, True]), np.array([1.0, 0.5, 0.0]), np.full(3, 0.1))
    assert naive(log) == pytest.approx(0.5 - 0.5)


def test_a_self_normalised_estimate_by_hand() -> None:
    from sections.estimators import Log, snips

    log = Log(
        np.array([True, True, False, False]),
        np.array([1.0, 0.0, 1.0, 0.0]),
        np.array([0.5, 0.25, 0.5, 0.75]),
    )
    assert snips(log) == pytest.approx(2 / (2 + 4) - 2 / (2 + 4))
    # as others, 0.5 and 0.25 are lifted to 0.5: both weigh 2; exposed, both weigh 2 too
    assert snips(log, clip=0.5) == pytest.approx(2 / 4 - 2 / 4)


def test_a_constant_moves_ips_and_not_its_self_normalised_form() -> None:
    from sections.estimators import Log, ips, snips

    rng = np.random.default_rng(0)
    propensity = rng.uniform(0.1, 0.9, 50)
    exposed, outcome = rng.random(50) < propensity, rng.random(50)
    low, high = Log(exposed, outcome, propensity), Log(exposed, outcome + 7, propensity)
    assert snips(high) == pytest.approx(snips(low)) and ips(high) != pytest.approx(ips(low))
    doubled = Log(exposed, 2 * outcome, propensity)
    assert snips(doubled) == pytest.approx(2 * snips(low))


def test_where_all_are_exposed_as_likely_all_self_normalise_to_the_naive_one() -> None:
    from sections.estimators import Log, naive, snips

    rng = np.random.default_rng(0)
    log = Log(rng.random(50) < 0.3, rng.random(50), np.full(50, 0.3))
    assert snips(log) == pytest.approx(naive(log))


def test_a_world_is_drawn_as_it_says() -> None:
    from sections.exposure import World

    taste, found = np.full((400, 500), 0.5), np.full(500, 0.2)
    world = World(taste, found, np.full((400, 500), 0.3))
    exposed, clicked = world.draw(np.random.default_rng(0))
    assert exposed.mean() == pytest.approx(0.3, abs=0.01)
    assert clicked[exposed].mean() == pytest.approx(0.5, abs=0.01)
    assert clicked[~exposed].mean() == pytest.approx(0.5 * 0.2, abs=0.01)
    assert world.effect == pytest.approx(0.5 * 0.8)


def test_a_table_of_low_rank_is_completed() -> None:
    from sections.exposure import completed

    rng = np.random.default_rng(0)
    whole = 3 + np.outer(rng.choice([-1, 1], 30), rng.choice([-1, 1], 40))
    given = np.where(rng.random(whole.shape) < 0.6, whole, 0)
    found = completed(given.astype(float), rank=1, rounds=50)
    assert (np.sign(found - 3) == np.sign(whole - 3)).all()
    assert np.abs(found - whole)[given == 0].mean() < 0.2  # 1 at the mean rating


def test_exposures_are_confounded_as_the_world_says() -> None:
    from sections.exposure import world_of

    rng = np.random.default_rng(0)
    predicted, counts = rng.uniform(1, 5, (50, 40)), rng.integers(1, 100, 40)
    alone, taste = (world_of(predicted, counts, by_taste=by_taste) for by_taste in (0.0, 1.0))
    assert (alone.propensity == alone.propensity[:1]).all()
    order = np.argsort(counts)
    assert (np.diff(alone.propensity[0, order]) >= 0).all()
    assert np.corrcoef(taste.propensity[:, order[-1]], predicted[:, order[-1]])[0, 1] > 0.8


def test_popularity_stands_for_propensity_at_the_scale_of_what_was_exposed() -> None:
    from sections.exposure import popularity_propensity

    exposed = np.zeros((100, 2), dtype=bool)
    exposed[:60] = True
    clicked = np.zeros((100, 2), dtype=bool)
    clicked[:16, 0] = clicked[:4, 1] = True
    found = popularity_propensity(exposed, clicked, power=0.5)
    assert found[0].tolist() == pytest.approx([0.8, 0.4])  # 1 to 1/2, and 0.6 on average
