"""The command ``recbole-llm update``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.parsing import parse_value, split_command
from recbole_llm.recommend.update.partial import EPOCHS, fit_partial

PLACE = "recbole-llm update"
USAGE = f"""\
usage: recbole-llm update --run=DIR --inter=FILE.inter [--items=FILE.item] [--out=DIR]
                          [--epochs={EPOCHS}] [--replay=1] [--learning_rate=R] [--seed=N]
                          [--train_batch_size=N] [--trust_remote_code]

Trains a finished run on the events of FILE.inter (columns of users, items and times as the run's
own), which follow what its users did, and writes a new run directory: --out, or one beside DIR.
The old run stays as it is, and its data is not needed (docs/updating.md).

  --items             texts of items that the run does not know, an .item file as the run's own
  --epochs            passes over the new events; nothing is validated, the last one is kept
  --replay            old targets trained for each new one, drawn anew each epoch; 0 for none
  --learning_rate, --train_batch_size, --seed
                      as the run's own by default"""
NUMBERS = ("epochs", "replay", "learning_rate", "train_batch_size", "seed")


def update(argv: Sequence[str]) -> dict[str, Any]:
    """Run the command and return what ``fit_partial`` returns.

    Raises:
        RequestError: If the request is wrong; all that is wrong with its words at once.
    """
    problems: list[str] = []
    _, given, chosen = split_command(
        argv,
        place=PLACE,
        wants="options only",
        options=("run", "inter", "items", "out", *NUMBERS),
        flags=("trust_remote_code",),
        num_words=0,
        problems=problems,
    )
    for name, words in {"run": "the directory of a run", "inter": "a file of new events"}.items():
        if name not in given:
            problems.append(f"--{name}: name {words}.")
    numbers = {name: parse_value(name, given.pop(name)) for name in NUMBERS if name in given}
    problems += [
        f"--{name}: must be a number, received {value!r}."
        for name, value in numbers.items()
        if isinstance(value, bool) or not isinstance(value, int | float)
    ]
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    rest: dict[str, Any] = {**given, **numbers, "trust_remote_code": "trust_remote_code" in chosen}
    return fit_partial(rest.pop("run"), rest.pop("inter"), **rest)
