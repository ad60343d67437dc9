"""The command ``recbole-llm recommend``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.parsing import parse_value, run_named, split_command, whole_number
from recbole_llm.recommend.lists import Recommendation
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request

PLACE = "recbole-llm recommend"
WHOM = ("user", "history", "text")
FILES = {"users": "user", "histories": "history", "texts": "text"}
OPTIONS = ("run", "k", "items", "filter_seen", "device", *WHOM, *FILES)


def recommend(argv: Sequence[str], say: Callable[[str], None]) -> None:
    """Run the command; ``say`` gets the lines of its answer.

    Raises:
        RequestError: If the request is wrong; all that is wrong with its words at once.
    """
    run, given, chosen = _options(argv)
    requests, is_batch = _requests(given)
    recommender = Recommender.load(
        run,
        new_items=given.get("items"),
        device=given.get("device", "cpu"),
        trust_remote_code="trust_remote_code" in chosen,
        approximate="approximate" in chosen,
    )
    lists = recommender.for_all(
        requests,
        k=int(given.get("k", "10")),
        filter_seen=given.get("filter_seen") is None
        or parse_value("filter_seen", given["filter_seen"]) is True,
        show_progress=is_batch and sys.stderr.isatty(),
    )
    for request, found in zip(requests, lists, strict=True):
        is_json = is_batch or "json" in chosen
        say(_as_json(request, found) if is_json else as_table(found))


def _options(argv: Sequence[str]) -> tuple[str, dict[str, str], set[str]]:
    """Return the run, the options and flags, if they make a request."""
    problems: list[str] = []
    words, given, chosen = split_command(
        [f"-{word}" if word.partition("=")[0] == "-k" else word for word in argv],
        place=PLACE,
        wants="one run directory",
        options=OPTIONS,
        flags=("json", "trust_remote_code", "approximate"),
        num_words=None,
        problems=problems,
    )
    whom = [name for name in (*WHOM, *FILES) if name in given]
    run = run_named(words, given, problems)
    if len(whom) != 1:
        known = ", ".join(f"--{name}" for name in (*WHOM, *FILES))
        received = ", ".join(f"--{name}" for name in whom) or "none"
        problems.append(f"give one of {known}; received {received}.")
    if whole_number(given.get("k", "10")) is None:
        problems.append(f"-k: must be a number of items, received {given['k']!r}.")
    filter_seen = given.get("filter_seen", "True")
    if not isinstance(parse_value("filter_seen", filter_seen), bool):
        problems.append(f"--filter_seen: must be true or false, received {filter_seen!r}.")
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    return run, given, chosen


def _requests(given: Mapping[str, str]) -> tuple[list[Request], bool]:
    """Return whom to recommend to, and whether they come from a file."""
    for option, kind in FILES.items():
        if option in given:
            return [_request(kind, line) for line in lines_of(option, Path(given[option]))], True
    (kind,) = (name for name in WHOM if name in given)
    return [_request(kind, given[kind])], False


def _request(kind: str, words: str) -> Request:
    if kind == "user":
        return Request(user=words)
    if kind == "history":
        return Request(history=tuple(words.split()))
    return Request(texts=tuple(words.split("|")) if words.strip() else ())


def lines_of(option: str, path: Path) -> list[str]:
    """Return the lines of a file that an option names; an empty last line is none.

    Raises:
        RequestError: If it cannot be read, or has none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RequestError(
            f"--{option}: {path}: no such file. Name a file of {option}, one a line."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"--{option}: {path} is no UTF-8 file that can be read ({error})."
        ) from None
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n") if text]
    if not lines:
        raise RequestError(f"--{option}: {path} is empty. Write {option}, one a line.")
    return lines


def _as_json(request: Request, found: Sequence[Recommendation]) -> str:
    asked: dict[str, Any] = {
        key: value for key, value in asdict(request).items() if value is not None
    }
    answer = asked | {"items": [asdict(one) for one in found]}
    return json.dumps(answer, ensure_ascii=False, allow_nan=False)


def as_table(found: Sequence[Recommendation]) -> str:
    """Return a list as a table for a reader."""
    rows = [
        (str(place), f"{one.score:.4f}", one.item, one.title or "")
        for place, one in enumerate(found, start=1)
    ]
    return str(
        tabulate(
            rows,
            headers=("rank", "score", "item", "title"),
            disable_numparse=True,
            colalign=("right", "right", "left", "left"),
        )
    )
