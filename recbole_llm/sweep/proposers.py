"""What is tried next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from recbole_llm.errors import RequestError, how_to_install
from recbole_llm.sweep.ledger import Ledger, Role, Trial
from recbole_llm.sweep.points import PATIENCE, Point, grid_points, is_drawn, random_points, trial_id
from recbole_llm.sweep.specs import Dimension, Sweep


@dataclass(frozen=True)
class Wanted:
    """A trial to run.

    Attributes:
        id: The trial's.
        point: Its settings.
        seed: Its seed.
        role: What it is for.
    """

    id: str
    point: Point
    seed: int
    role: Role = "trial"


class Proposer(Protocol):
    """Says what is tried next, one trial at a time."""

    def next(self) -> Wanted | None:
        """Return the next trial, or None if there is none left."""

    def tell(self, name: str, score: float | None) -> None:
        """Hear the best score of a trial, None of one that failed."""


class Listed:
    """Proposes what a list has and the ledger has not.

    Args:
        wanted: The trials, in order.
        ledger: What has been tried.
    """

    def __init__(self, wanted: Iterable[Wanted], *, ledger: Ledger) -> None:
        self._rest: Iterator[Wanted] = iter(wanted)
        self._ledger = ledger

    def next(self) -> Wanted | None:
        """Return the next trial that is to be run, or None."""
        return next((one for one in self._rest if self._ledger.is_open(one.id)), None)

    def tell(self, name: str, score: float | None) -> None:
        """Learn nothing."""


class TreeParzen:
    """Proposes by Optuna's tree-structured Parzen estimator (Bergstra et al., 2011).

    Args:
        sweep: The sweep.
        ledger: What has been tried, from which it goes on.

    Raises:
        RequestError: If Optuna is not there.
    """

    def __init__(self, sweep: Sweep, *, ledger: Ledger) -> None:
        try:
            import optuna
        except ImportError:
            raise RequestError(f"searcher: tpe needs Optuna. {how_to_install('tune')}") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._sweep, self._ledger = optuna, sweep, ledger
        before = ledger.trials("trial")
        self._again = [one for one in before[: sweep.budget.trials] if ledger.is_open(one.id)]
        sampler = optuna.samplers.TPESampler(
            seed=(sweep.seed + len(before)) % 2**32, constant_liar=True
        )
        self._study = optuna.create_study(
            sampler=sampler, direction="maximize" if ledger.is_bigger_better else "minimize"
        )
        self._asked: dict[str, Any] = {}
        for one in before:
            if not ledger.is_open(one.id):
                self._add(one)
        for point in sweep.points_to_evaluate:
            if ledger.get(trial_id(sweep, point, seed=sweep.seed)) is None:
                self._study.enqueue_trial(self._params(point))

    def next(self) -> Wanted | None:
        """Return a trial that was stopped, then new ones, until the budget is spent."""
        if self._again:
            one = self._again.pop(0)
            return Wanted(one.id, one.point, one.seed)
        limit, known = self._sweep.budget.trials, len(self._ledger.trials("trial"))
        if limit is not None and known + len(self._new()) >= limit:
            return None
        for _ in range(PATIENCE):
            trial = self._study.ask()
            point = self._suggested(trial)
            name = trial_id(self._sweep, point, seed=self._sweep.seed)
            known_trial = self._ledger.get(name)
            if known_trial is None and name not in self._asked:
                self._asked[name] = trial
                return Wanted(name, point, self._sweep.seed)
            is_sound = known_trial is not None and known_trial.state != "failed"
            self._tell(trial, known_trial.best if known_trial and is_sound else None)
        return None

    def tell(self, name: str, score: float | None) -> None:
        """Learn the best score of a trial."""
        if name in self._asked:
            self._tell(self._asked[name], score)
        elif known := self._ledger.get(name):  # one that was tried again
            self._add(known)

    def _new(self) -> set[str]:
        """Return the trials that were proposed and have not begun."""
        return {name for name in self._asked if self._ledger.get(name) is None}

    def _tell(self, trial: Any, score: float | None) -> None:
        states = self._optuna.trial.TrialState
        state = states.FAIL if score is None else states.COMPLETE
        self._study.tell(trial, score, state=state, skip_if_finished=True)

    def _suggested(self, trial: Any) -> Point:
        point: Point = {}
        for name, dimension in self._sweep.space.items():
            if is_drawn(dimension, point):
                point[name] = _suggested_value(trial, name, dimension)
        return point

    def _add(self, trial: Trial) -> None:
        """Tell the study of a trial that another process ran."""
        if trial.best is None or trial.state == "failed":
            return
        spaces = {
            name: _distribution(self._optuna, self._sweep.space[name]) for name in trial.point
        }
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=self._params(trial.point), distributions=spaces, value=trial.best
            )
        )

    def _params(self, point: Point) -> dict[str, Any]:
        """Return a point as Optuna has it: of a choice its place."""
        drawn = {name: self._sweep.space[name] for name in point}
        return {
            name: its.ends.index(point[name]) if its.kind == "choice" else point[name]
            for name, its in drawn.items()
        }


def _suggested_value(trial: Any, name: str, dimension: Dimension) -> Any:
    ends = dimension.ends
    if dimension.kind == "choice":  # by place, since Optuna takes no lists
        return ends[trial.suggest_categorical(name, range(len(ends)))]
    if dimension.kind == "int":
        return trial.suggest_int(name, *ends)
    return trial.suggest_float(name, *ends, log=dimension.kind == "loguniform")


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds = optuna.distributions
    if dimension.kind == "choice":
        return kinds.CategoricalDistribution(range(len(dimension.ends)))
    if dimension.kind == "int":
        return kinds.IntDistribution(*dimension.ends)
    return kinds.FloatDistribution(*dimension.ends, log=dimension.kind == "loguniform")


def proposer_of(sweep: Sweep, ledger: Ledger) -> Proposer:
    """Return what proposes the trials of a sweep that its ledger has not.

    Raises:
        RequestError: If it needs a package that is not there.
    """
    if sweep.searcher == "tpe":
        return TreeParzen(sweep, ledger=ledger)
    points = grid_points(sweep) if sweep.searcher == "grid" else random_points(sweep)
    return Listed(_limited(sweep, points), ledger=ledger)


def _limited(sweep: Sweep, points: Iterator[Point]) -> Iterator[Wanted]:
    limit = sweep.budget.trials
    for place, point in enumerate(points):
        if limit is not None and place >= limit:
            return
        yield Wanted(trial_id(sweep, point, seed=sweep.seed), point, sweep.seed)


def best_trials(sweep: Sweep, ledger: Ledger) -> list[Trial]:
    """Return the best trials of the search, as many as there are finalists, the best first.

    Of those with equal settings, as population-based training may leave them, the first alone.
    """
    best: dict[str, Trial] = {}
    for one in ledger.ranked():
        best.setdefault(trial_id(sweep, one.settings, seed=sweep.seed), one)
    return list(best.values())[: sweep.finalists.top]


def finalists_of(sweep: Sweep, ledger: Ledger) -> list[Wanted]:
    """Return the best points under the seeds of the finalists; none where one point is left.

    A finalist that has the sweep's own seed is trained again too: as a trial it may have been
    stopped early.
    """
    best = best_trials(sweep, ledger)
    if len(best) < 2:
        return []
    return [
        Wanted(f"{trial_id(sweep, one.settings, seed=seed)}f", one.settings, seed, role="finalist")
        for one in best
        for seed in sweep.finalists.seeds
    ]
