"""What a sweep says on the screen."""

from __future__ import annotations

from recbole_llm.sweep.ledger import Ledger, Trial

WORDS = {"done": "done", "pruned": "cut", "stopped": "stopped", "failed": "FAILED"}


def end_line(trial: Trial, ledger: Ledger, *, metric: str) -> str:
    """Return a line about a trial that has ended."""
    role = "" if trial.role == "trial" else f"{trial.role} "
    head = f"[{trial.number}] {role}{trial.id} {WORDS[trial.state]} after {len(trial.curve)} epochs"
    if trial.error is not None:
        return f"{head}: {trial.error['type']}: {trial.error['message']}"
    best = ledger.ranked(trial.role)
    top = f"; the best is {best[0].id}, {best[0].best:.4f}" if best else ""
    score = "no score" if trial.best is None else f"{metric} {trial.best:.4f}"
    return f"{head}: {score}{top}"
