"""The command ``recbole-llm explain``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from recbole_llm.errors import RequestError, all_problems, unknown_name
from recbole_llm.parsing import run_named, split_command, whole_number
from recbole_llm.recommend.command import as_table
from recbole_llm.recommend.explain.counterfactual import Case, Influence, Standing
from recbole_llm.recommend.explain.words import Attribution, attribute
from recbole_llm.recommend.lists import Recommendation
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.requests import Request

PLACE = "recbole-llm explain"
OPTIONS = ("run", "user", "history", "item", "event", "instead", "k", "device")


def explain(argv: Sequence[str], say: Callable[[str], None]) -> None:
    """Run the command; ``say`` gets the lines of its answer.

    Raises:
        RequestError: If the request is wrong; all that is wrong with its words at once.
    """
    run, given, chosen = _request(argv)
    recommender = Recommender.load(
        run,
        device=given.get("device", "cpu"),
        trust_remote_code="trust_remote_code" in chosen,
    )
    history = tuple(given["history"].split()) if "history" in given else None
    case = Case(recommender, Request(user=given.get("user"), history=history), given.get("item"))
    found = answer(case, given, with_words="words" in chosen)
    if "json" in chosen:
        say(json.dumps(_plain(found), ensure_ascii=False, allow_nan=False))
    else:
        for line in _lines(case, found):
            say(line)


def answer(case: Case, given: Mapping[str, str], *, with_words: bool) -> dict[str, Any]:
    """Return what was asked for of a case, by name."""
    known = case.recommender
    found: dict[str, Any] = {
        "item": known.items[case.item],
        "title": known.titles[case.item],
        "standing": case.standing(),
        "influences": case.influences(),
    }
    other = given.get("instead")
    if other is not None and other not in known.requests.rows:
        words = unknown_name("item", other, known.items[1:], list_known=False)
        raise RequestError(f"--instead: {words}")
    events = range(len(case.rows))
    if "event" in given:
        at = int(given["event"]) - 1
        if at not in events:
            raise RequestError(
                f"--event: must be 1 to {len(events)}, the events of the history; received "
                f"{given['event']}."
            )
        changed = case.without([at])
        if other is not None:
            changed = case.with_instead(at, known.requests.rows[other])
        (found["standing_then"],) = case.standings([changed])
        found["list"] = case.relist(case.rows, k=int(given.get("k", "10")))
        found["list_then"] = case.relist(changed, k=int(given.get("k", "10")))
    elif other is not None:
        row = known.requests.rows[other]
        found["instead"] = case.standings([case.with_instead(at, row) for at in events])
    if with_words:
        found["words"] = attribute(case, show_progress=sys.stderr.isatty())
    return found


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        is_ours = isinstance(value, Standing | Influence | Attribution | Recommendation)
        return asdict(value) if is_ours else value

    return {name: plain(value) for name, value in found.items()}


def _lines(case: Case, found: Mapping[str, Any]) -> list[str]:
    """Return the answer for a reader."""
    name = found["title"] or found["item"]
    now: Standing = found["standing"]
    lines = [f"{name} ({found['item']}): rank {now.rank}, score {now.score:.3f}", ""]
    lines += [_influence_table(found)]
    if "list" in found:
        then: Standing = found["standing_then"]
        lines += [
            "",
            f"Then: rank {then.rank}, score {then.score:.3f}; the list as it is, and then",
        ]
        lines += ["", as_table(found["list"]), "", as_table(found["list_then"])]
    if "words" in found:
        words: Attribution = found["words"]
        lines += ["", f"Words, of {words.total:.3f} in all (gap {words.gap:.1%}):"]
        lines += [
            f"{one.event:>5}  "
            + " ".join(f"{word}({part:+.3f})" for word, part in one.words if _is_said(word))
            for one in words.events
        ]
    return lines


def _is_said(word: str) -> bool:
    """Tell words from punctuation; those of some scripts hold marks that are no letters."""
    return any(map(str.isalnum, word))


def _influence_table(found: Mapping[str, Any]) -> str:
    """Return the events, the most influential first."""
    instead: list[Standing | None] = found.get("instead") or [None] * len(found["influences"])
    rows = [
        (
            f"{one.influence:+.3f}",
            one.event,
            one.item,
            one.title or "",
            one.removed.rank,
            one.replaced.rank,
            *([] if then is None else [then.rank]),
        )
        for one, then in zip(found["influences"], instead, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda at: -found["influences"][at].influence)
    heads = ["influence", "event", "item", "title", "rank without", "rank with an average item"]
    heads += ["rank with the other item"] if "instead" in found else []
    return str(tabulate([rows[at] for at in order], headers=heads, disable_numparse=True))


def _request(argv: Sequence[str]) -> tuple[str, dict[str, str], set[str]]:
    """Return the run, the options and the flags, if they make a request."""
    problems: list[str] = []
    words, given, chosen = split_command(
        [f"-{word}" if word.partition("=")[0] == "-k" else word for word in argv],
        place=PLACE,
        wants="one run directory",
        options=OPTIONS,
        flags=("words", "json", "trust_remote_code"),
        num_words=None,
        problems=problems,
    )
    run = run_named(words, given, problems)
    if ("user" in given) == ("history" in given):
        problems.append("give one of --user, --history.")
    for name, what in {"event": "the number of an event", "k": "a number of items"}.items():
        if whole_number(given.get(name, "1")) is None:
            dashes = "-" if name == "k" else "--"
            problems.append(f"{dashes}{name}: must be {what}, received {given[name]!r}.")
    if "k" in given and "event" not in given:
        problems.append("-k: is the length of the lists of --event.")
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    return run, given, chosen
