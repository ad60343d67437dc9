"""What can go wrong, in words a user can act on.

Every message states the place, the rule, what was received and what to do. ``RequestError`` means
the request itself was wrong (exit code 2); any other ``RecBoleLLMError`` means the work failed
(exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class RecBoleLLMError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class RequestError(RecBoleLLMError):
    """The request cannot be carried out as asked: a key, a value, a file."""

    exit_code = 2


class DataError(RequestError):
    """A data file does not say what it must; the message names file and line."""


class EncoderError(RequestError):
    """A text encoder cannot be found, loaded or trusted."""


class StoreError(RecBoleLLMError):
    """Text vectors could not be written to the cache; the message says the bytes needed."""


class DownloadError(RecBoleLLMError):
    """A publisher's host did not give a file, or not the file it promises."""


class OutOfMemoryError(RecBoleLLMError):
    """Memory does not hold a step of training; the message names the batch."""


class NonFiniteError(RecBoleLLMError):
    """A vector, a loss or a score is NaN or infinite; the message names which."""


class RunDirError(RequestError):
    """A run directory or checkpoint is missing, damaged, or not one of ours."""


@contextmanager
def in_one_line() -> Iterator[None]:
    """End the process at an error of ours with its message alone, as the command line does."""
    try:
        yield
    except RecBoleLLMError as error:
        raise SystemExit(f"error: {error}") from None


def how_to_install(extra: str) -> str:
    """Return how an extra gets here, the end of a message; we are on no package index."""
    return (
        f"In the folder of recbole-llm run: uv sync --extra {extra} (or pip install '.[{extra}]')"
    )


def first_line(error: Exception) -> str:
    """Return the first line of what another library says is wrong, as a sentence."""
    lines = str(error).strip().splitlines()
    return f"{lines[0][:200].rstrip('.')}." if lines else f"{type(error).__name__}."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with up to three names like a given one, behind a space; "" without any."""
    lowered = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    names = " or ".join(repr(lowered[match]) for match in close)
    return f" Did you mean {names}?" if names else ""


def unknown_name(what: str, name: str, known: Iterable[str], *, list_known: bool = True) -> str:
    """Return the message for a name that is not in a table, with up to three suggestions."""
    names = sorted(known)
    message = f"unknown {what} {name!r}.{did_you_mean(name, names)}"
    if list_known:
        shown = map(repr, names) if any("," in one for one in names) else names
        message += f" Known: {', '.join(shown)}." if names else " There are none."
    return message


def all_problems(place: str, problems: Sequence[str]) -> str:
    """Return one message for every problem found at a place, so that all can be mended at once."""
    if len(problems) == 1:
        return f"{place}: {problems[0]}"
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return f"{place}: {len(problems)} problems\n{lines}"


def problems_in(error: RecBoleLLMError) -> list[str]:
    """Return the problems of a message that :func:`all_problems` made, without their place."""
    first, *lines = str(error).splitlines()
    return [line.removeprefix("  - ") for line in lines] or [first.partition(": ")[2]]
