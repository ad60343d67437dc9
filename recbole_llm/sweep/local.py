"""Trials one after another in this process, where Ray is not installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_llm.errors import RecBoleLLMError
from recbole_llm.sweep.ledger import Ledger
from recbole_llm.sweep.lines import end_line
from recbole_llm.sweep.proposers import Proposer, Wanted
from recbole_llm.sweep.selection import SelectionData
from recbole_llm.sweep.specs import Sweep
from recbole_llm.sweep.trial import Epoch, Task, attempt, give_memory_back
from recbole_llm.sweep.variants import variant_of


class _HoursAreOver(BaseException):
    pass


def run_here(
    sweep: Sweep,
    proposer: Proposer,
    *,
    ledger: Ledger,
    task: Task,
    data: Mapping[str, SelectionData],
    say: Callable[[str], None],
) -> None:
    """Run what a proposer proposes until it has no more or the hours are over.

    Args:
        sweep: The sweep.
        proposer: Says what is tried.
        ledger: Hears what becomes of it.
        task: What the trials share.
        data: Prepared data by variant.
        say: Hears a line of each event.

    Raises:
        RecBoleLLMError: If a trial left the GPU unusable for others in this process.
    """
    hours = sweep.budget.hours
    while (hours is None or ledger.search_hours < hours) and (one := proposer.next()) is not None:
        ledger.begin(one.id, point=one.point, seed=one.seed, role=one.role)
        error, is_stopped = None, False
        try:
            error = _run(one, ledger=ledger, task=task, data=data, hours=hours)
        except _HoursAreOver:
            is_stopped = True
        ended = ledger.end(
            one.id, "failed" if error else "stopped" if is_stopped else "done", error
        )
        proposer.tell(one.id, None if error else ended.best)
        say(end_line(ended, ledger, metric=sweep.metric))
        if not give_memory_back():
            raise RecBoleLLMError(
                f"trial {one.id}: left a GPU that answers no more in this process. "
                "--resume goes on in another."
            )


def _run(
    one: Wanted, *, ledger: Ledger, task: Task, data: Mapping[str, SelectionData],
    hours: float | None,
) -> dict[str, str] | None:  # fmt: skip
    def report(epoch: Epoch, trainer: Any) -> None:
        ledger.add(
            one.id, epoch=epoch.epoch, score=epoch.score, seconds=epoch.seconds, point=one.point
        )
        if hours is not None and ledger.search_hours >= hours:
            raise _HoursAreOver

    shared = data[variant_of(one.point)]
    return attempt(task, one.point, seed=one.seed, data=shared, report=report)
