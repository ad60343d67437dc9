"""The command ``recbole-llm update``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.parsing import parse_value, run_named, split_command
from recbole_llm.recommend.update.partial import fit_partial

PLACE = "recbole-llm update"
NUMBERS = ("epochs", "replay", "learning_rate", "train_batch_size", "seed")


def update(argv: Sequence[str]) -> dict[str, Any]:
    """Run the command and return what ``fit_partial`` returns.

    Raises:
        RequestError: If the request is wrong; all that is wrong with its words at once.
    """
    problems: list[str] = []
    words, given, chosen = split_command(
        argv,
        place=PLACE,
        wants="one run directory",
        options=("run", "inter", "items", "out", *NUMBERS),
        flags=("trust_remote_code",),
        num_words=None,
        problems=problems,
    )
    run = run_named(words, given, problems)
    if "inter" not in given:
        problems.append("--inter: name a file of new events.")
    numbers = {name: parse_value(name, given.pop(name)) for name in NUMBERS if name in given}
    problems += [
        f"--{name}: must be a number, received {value!r}."
        for name, value in numbers.items()
        if isinstance(value, bool) or not isinstance(value, int | float)
    ]
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    rest: dict[str, Any] = {**given, **numbers, "trust_remote_code": "trust_remote_code" in chosen}
    rest.pop("run", None)
    return fit_partial(run, rest.pop("inter"), **rest)
