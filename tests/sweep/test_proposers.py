"""What is tried next, from the beginning and after a stop."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from recbole_llm.errors import RequestError
from recbole_llm.sweep.ledger import TRIALS, Ledger
from recbole_llm.sweep.outcome import candidates, lost_seeds
from recbole_llm.sweep.points import random_points
from recbole_llm.sweep.proposers import finalists_of, proposer_of

PEAK = {"dropout_prob": {"uniform": [0.0, 0.9]}, "scoring": {"choice": ["inner", "cosine"]}}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / TRIALS).mkdir()
    return Ledger(tmp_path)


def score(point) -> float:
    return (point["scoring"] == "cosine") - (point["dropout_prob"] - 0.6) ** 2


def try_all(proposer, ledger: Ledger, most: int = 1000) -> list[dict]:
    """Try what is proposed, as a sweep does, and return the points."""
    points = []
    while len(points) < most and (one := proposer.next()) is not None:
        ledger.begin(one.id, point=one.point, seed=one.seed, role=one.role)
        ledger.add(one.id, epoch=0, score=score(one.point), seconds=1.0, point=one.point)
        ledger.end(one.id, "done")
        proposer.tell(one.id, score(one.point))
        points.append(one.point)
    return points


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_after_a_stop_only_what_is_missing_is_proposed(sweep, ledger, searcher: str) -> None:
    one = sweep(space=PEAK, searcher=searcher, budget={"trials": 12})
    before = try_all(proposer_of(one, ledger), ledger, most=5)
    stopped = proposer_of(one, ledger).next()
    ledger.begin(stopped.id, point=stopped.point, seed=stopped.seed)  # and no more of it
    again = Ledger(ledger.folder)
    again.read()
    after = try_all(proposer_of(one, again), again)
    assert len(before) == 5 and len(after) == 7 and after[0] == stopped.point
    assert len(again.trials()) == 12 and all(point not in before for point in after)


def test_random_points_are_the_same_with_and_without_a_stop(sweep, ledger, tmp_path) -> None:
    one = sweep(space=PEAK, budget={"trials": 6})
    points = try_all(proposer_of(one, ledger), ledger, most=2)
    points += try_all(proposer_of(one, ledger), ledger)
    (tmp_path / "other" / TRIALS).mkdir(parents=True)
    other = Ledger(tmp_path / "other")
    assert try_all(proposer_of(one, other), other) == points


def test_tpe_learns_where_scores_are_high(sweep, ledger: Ledger) -> None:
    """Its later points are better than chance, after a stop too."""
    one = sweep(space=PEAK, searcher="tpe", budget={"trials": 40})
    early = try_all(proposer_of(one, ledger), ledger, most=25)[:10]  # drawn at random
    again = Ledger(ledger.folder)
    again.read()
    late = try_all(proposer_of(one, again), again)
    assert len(late) == 15
    assert fmean(map(score, late)) > fmean(map(score, early)) + 0.2
    assert max(map(score, late)) > 0.99


def test_tpe_holds_its_budget_while_several_run(sweep, ledger: Ledger) -> None:
    proposer = proposer_of(sweep(space=PEAK, searcher="tpe", budget={"trials": 3}), ledger)
    taken = [proposer.next() for _ in range(4)]
    assert taken[3] is None and len({one.id for one in taken[:3]}) == 3


@pytest.mark.slow
def test_a_small_space_ends_under_tpe_too(sweep, ledger: Ledger) -> None:
    space = {"scoring": PEAK["scoring"], "dropout_prob": {"choice": [0.1, 0.6]}}
    one = sweep(space=space, searcher="tpe", budget={"trials": 30})
    assert len(try_all(proposer_of(one, ledger), ledger)) == 4


def test_lists_are_choices_of_tpe(sweep, ledger: Ledger) -> None:
    space = {**PEAK, "augmentation": {"choice": [[], ["drop", "mask"]]}}
    one = sweep(space=space, searcher="tpe", budget={"trials": 8})
    try_all(proposer_of(one, ledger), ledger, most=4)
    points = try_all(proposer_of(one, ledger), ledger)
    assert all(point["augmentation"] in ([], ["drop", "mask"]) for point in points)


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_points_to_evaluate_are_tried_first_once_and_of_the_budget(
    sweep, ledger, searcher: str
) -> None:
    first = {"scoring": "cosine", "dropout_prob": 0.25}
    one = sweep(space=PEAK, searcher=searcher, budget={"trials": 4}, points_to_evaluate=[first])
    points = try_all(proposer_of(one, ledger), ledger, most=2)
    points += try_all(proposer_of(one, ledger), ledger)
    assert points[0] == first and points.count(first) == 1 and len(points) == 4


def test_without_optuna_the_way_out_is_said(sweep, ledger, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(RequestError, match=r"tpe needs Optuna.*uv sync --extra tune"):
        proposer_of(sweep(searcher="tpe"), ledger)


def test_finalists_are_the_best_points_under_other_seeds(sweep, ledger: Ledger) -> None:
    one = sweep(space=PEAK, budget={"trials": 5}, finalists={"top": 2, "seeds": [7, 8]})
    try_all(proposer_of(one, ledger), ledger)
    wanted = finalists_of(one, ledger)
    best = [trial.point for trial in ledger.ranked()[:2]]
    assert [(w.point, w.seed) for w in wanted] == [(p, s) for p in best for s in (7, 8)]
    assert {w.role for w in wanted} == {"finalist"} and len({w.id for w in wanted}) == 4


def test_finalists_of_other_seeds_do_not_choose(sweep, ledger: Ledger) -> None:
    """After a resume with other finalists the old runs count no more."""
    parts = {"space": PEAK, "budget": {"trials": 5}}
    one = sweep(**parts, finalists={"top": 2, "seeds": [7, 8]})
    try_all(proposer_of(one, ledger), ledger)
    for seeds, best in (([7, 8], 0), ([9, 10], 1)):
        one = sweep(**parts, finalists={"top": 2, "seeds": seeds})
        for wanted in finalists_of(one, ledger):
            is_best = wanted.point == ledger.ranked()[best].point
            ledger.begin(wanted.id, point=wanted.point, seed=wanted.seed, role="finalist")
            ledger.add(wanted.id, epoch=0, score=float(is_best), seconds=1, point=wanted.point)
            ledger.end(wanted.id, "done")
        winner = candidates(one, ledger)[0]
        assert winner.point == ledger.ranked()[best].point
        assert list(winner.scores) == [str(seed) for seed in seeds]


def test_tpe_hears_nothing_of_what_failed(sweep, ledger: Ledger) -> None:
    """A trial that reached a score and then diverged is no good place to look at."""
    one = sweep(space=PEAK, searcher="tpe", budget={"trials": 40})
    for number, point in zip(range(20), random_points(one), strict=False):
        name = f"{number:08}"
        ledger.begin(name, point=point, seed=2020)
        fake = 9.0 if point["scoring"] == "inner" else score(point)
        ledger.add(name, epoch=0, score=fake, seconds=1.0, point=point)
        ledger.end(name, "failed" if point["scoring"] == "inner" else "done")
    late = try_all(proposer_of(one, ledger), ledger, most=15)
    assert sum(point["scoring"] == "cosine" for point in late) > 7


def test_one_point_needs_no_finalists(sweep, ledger: Ledger) -> None:
    one = sweep(space=PEAK, budget={"trials": 1})
    try_all(proposer_of(one, ledger), ledger)
    assert finalists_of(one, ledger) == []


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_a_resumed_sweep_proposes_what_may_be_tried_again(sweep, ledger, searcher: str) -> None:
    """What was stopped and what its machine failed, but no more than the budget."""
    parts = {"space": PEAK, "searcher": searcher}
    one = sweep(**parts, budget={"trials": 3})
    proposer, points = proposer_of(one, ledger), []
    for state in ("done", "stopped", "failed"):
        wanted = proposer.next()
        points.append(wanted.point)
        ledger.begin(wanted.id, point=wanted.point, seed=wanted.seed)
        slow = {"type": "TrialTimeoutError", "message": "slow", "traceback": ""}
        ledger.add(wanted.id, epoch=0, score=0.5, seconds=1.0, point=wanted.point)
        ledger.end(wanted.id, state, slow if state == "failed" else None)
        proposer.tell(wanted.id, None if state == "failed" else 0.5)
    for trials, expected in ((3, points[1:]), (2, points[1:2]), (1, [])):
        again = Ledger(ledger.folder)
        again.read()
        again.try_again(hours=None)
        proposer = proposer_of(sweep(**parts, budget={"trials": trials}), again)
        assert [one.point for one in iter(proposer.next, None)] == expected


def test_tpe_keeps_away_from_points_that_still_run(sweep, ledger: Ledger) -> None:
    """Several at a time are not near-duplicates of the best."""
    one = sweep(space=PEAK, searcher="tpe", budget={"trials": 60})
    proposer = proposer_of(one, ledger)
    try_all(proposer, ledger, most=20)
    running = [proposer.next().point["dropout_prob"] for _ in range(8)]
    gaps = [abs(a - b) for place, a in enumerate(running) for b in running[:place]]
    assert fmean(gaps) > 0.1


def finalist(ledger: Ledger, wanted, score: float | None) -> None:
    ledger.begin(wanted.id, point=wanted.point, seed=wanted.seed, role="finalist")
    if score is not None:
        ledger.add(wanted.id, epoch=0, score=score, seconds=1, point=wanted.point)
    error = {"type": "OutOfMemoryError", "message": "m", "traceback": ""}
    ledger.end(wanted.id, "failed" if score is None else "done", error if score is None else None)


def test_more_sound_seeds_come_before_a_better_mean(sweep, ledger: Ledger) -> None:
    """And what lost seeds is named."""
    one = sweep(space=PEAK, budget={"trials": 5}, finalists={"top": 2, "seeds": [7, 8]})
    try_all(proposer_of(one, ledger), ledger)
    best, second = ledger.ranked()[:2]
    for wanted in finalists_of(one, ledger):
        is_best = wanted.point == best.point
        finalist(ledger, wanted, (0.9 if wanted.seed == 7 else None) if is_best else 0.1)
    assert [winner.trial for winner in candidates(one, ledger)] == [second.id, best.id]
    assert lost_seeds(one, ledger) == [f"{best.id} has 1 of 2 seeds"]


def test_finalists_differ_where_trials_came_to_equal_settings(sweep, ledger: Ledger) -> None:
    """As population-based training can leave them: one trial took over the settings of another."""
    points = [{"dropout_prob": rate, "scoring": "inner"} for rate in (0.1, 0.2, 0.3)]
    for name, begun, best, value in zip(
        "abc", points, [points[1], *points[1:]], (3, 2, 1), strict=True
    ):
        ledger.begin(name, point=begun, seed=1)
        ledger.add(name, epoch=0, score=value, seconds=1.0, point=best)
        ledger.end(name, "done")
    one = sweep(space=PEAK, finalists={"top": 2, "seeds": [7, 8]})
    wanted = finalists_of(one, ledger)
    assert [its.point for its in wanted] == [points[1], points[1], points[2], points[2]]
    assert len({its.id for its in wanted}) == 4
    for its in wanted:
        finalist(ledger, its, 0.5)
    assert [winner.trial for winner in candidates(one, ledger)] == ["a", "c"]


def test_where_all_finalists_fail_no_single_seed_wins(sweep, ledger: Ledger) -> None:
    one = sweep(space=PEAK, budget={"trials": 5}, finalists={"top": 2, "seeds": [7, 8]})
    try_all(proposer_of(one, ledger), ledger)
    for wanted in finalists_of(one, ledger):
        finalist(ledger, wanted, None)
    assert candidates(one, ledger) == [] and len(lost_seeds(one, ledger)) == 2
    alone = sweep(space=PEAK, budget={"trials": 5}, finalists={"top": 1, "seeds": [7, 8]})
    assert [winner.trial for winner in candidates(alone, ledger)] == [ledger.ranked()[0].id]
    assert lost_seeds(alone, ledger) == []
