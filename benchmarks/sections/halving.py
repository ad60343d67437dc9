"""What ASHA would have spent and found, from curves of trials that ran to their end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler

GRACES, REDUCTIONS = (3, 5, 8, 10, 15, 20), (2, 3, 4)


def replayed(
    curves: Sequence[Sequence[float]], *, grace: int, reduction: int, epochs: int, at_once: int = 2
) -> tuple[int, float]:
    """Return the epochs spent and the best score, had Ray's ASHA heard these trials.

    Args:
        curves: Of each trial the score of each epoch, higher is better, in the order of their
            begin.
        grace: Epochs before the first comparison.
        reduction: One in so many goes on.
        epochs: The most that a trial may have.
        at_once: Trials that run at a time, whose epochs take equally long.
    """
    scheduler = ASHAScheduler(
        time_attr="epoch", metric="best", mode="max", max_t=epochs,
        grace_period=min(grace, epochs), reduction_factor=reduction,
    )  # fmt: skip
    controller: Any = None
    waiting, running = deque(enumerate(curves)), deque[tuple[Any, Sequence[float], int]]()
    spent, found = 0, float("-inf")
    while waiting or running:
        if waiting and len(running) < at_once:
            number, curve = waiting.popleft()
            trial: Any = SimpleNamespace(trial_id=str(number))
            scheduler.on_trial_add(controller, trial)
            running.append((trial, curve, 1))
            continue
        trial, curve, epoch = running.popleft()
        best = max(curve[:epoch])
        spent, found = spent + 1, max(found, best)
        told = scheduler.on_trial_result(controller, trial, {"epoch": epoch, "best": best})
        if told == ASHAScheduler.STOP or epoch == len(curve):
            scheduler.on_trial_remove(controller, trial)
        else:
            running.append((trial, curve, epoch + 1))
    return spent, found


def replays(seeds: Sequence[Sequence[Sequence[float]]], *, epochs: int) -> list[dict[str, Any]]:
    """Return, for each of some settings of ASHA, its share of the epochs and its loss by seed.

    Args:
        seeds: Of each seed the curves of its trials.
        epochs: The most that a trial may have.
    """
    made = []
    for grace in GRACES:
        for reduction in REDUCTIONS:
            how = {"grace": grace, "reduction": reduction, "epochs": epochs}
            told = [replayed(curves, **how) for curves in seeds]
            pairs = list(zip(told, seeds, strict=True))
            made.append({
                "grace_epochs": grace, "reduction": reduction,
                "share_of_epochs": [spent / sum(map(len, curves)) for (spent, _), curves in pairs],
                "loss_of_best": [1 - best / max(map(max, curves)) for (_, best), curves in pairs],
            })  # fmt: skip
    return made
