"""States of training that population-based training keeps, and when they may go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ray import tune

KEPT = 4  # states of a trial; one that waits may begin from the state of another that went on


class States(tune.Callback):
    """Removes states from which no trial can begin any more.

    Ray's own ``num_to_keep`` counts a state again when a trial saves it for others and when one
    takes it up, and so removes states that are needed, and lets their names be used twice.
    """

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Remove all states of a trial but the last ones and those that trials stand at."""
        needed = {Path(one.checkpoint.path) for one in trials if one.checkpoint is not None}
        for folder in sorted(Path(trial.path).glob("checkpoint_*"))[:-KEPT]:
            if folder not in needed:
                shutil.rmtree(folder, ignore_errors=True)
