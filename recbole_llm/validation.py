"""What pydantic finds wrong with a file of ours, in words a user can act on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from recbole_llm.errors import unknown_name

MOST = 80  # characters of a received value that a message shows


def problem_lines(error: ValidationError, *, known: Mapping[str, Iterable[str]]) -> list[str]:
    """Return one line a problem: the place, the rule, and what was received.

    Args:
        error: What pydantic raised.
        known: The keys of each place that has a fixed list of them; ``*`` stands for any name.
    """
    lines = []
    for problem in error.errors():
        place = [str(part) for part in problem["loc"] if part != "[key]"]
        if problem["type"] == "extra_forbidden":
            above = ".".join(place[:-1])
            pattern = ".".join("*" if index % 2 else part for index, part in enumerate(place[:-1]))
            prefix = f"{above}: " if above else ""
            lines.append(prefix + unknown_name("key", place[-1], known[pattern]))
        elif problem["type"] == "missing":
            lines.append(f"{'.'.join(place)}: is missing. Write it.")
        else:
            rule = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
            lines.append(f"{'.'.join(place)}: {rule}, received {shown(problem['input'])}.")
    return list(dict.fromkeys(lines))


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and not too much of it."""
    text = repr(value)
    return text if len(text) <= MOST else text[:MOST] + " ..."


def as_json(value: Any) -> Any:
    """Return a value as it comes back from a JSON file.

    Raises:
        ValueError: If JSON cannot hold it: a date, a set, a number that is not finite.
    """
    try:
        return json.loads(json.dumps(value, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be what JSON can hold ({error})") from None
