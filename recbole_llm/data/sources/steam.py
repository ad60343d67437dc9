"""Steam: reviews of games and the games, one Python literal a line (Kang and McAuley, 2018)."""

from __future__ import annotations

import html
from datetime import date

from recbole_llm.data.sources.archive import Release, identifier, labels, record_of, text
from recbole_llm.data.sources.writer import Counts, Table, Tables

REVIEWS = ("user_id:token", "item_id:token", "timestamp:float")
GAMES = ("item_id:token", "title:token_seq", "categories:token_seq", "tags:token_seq")
EPOCH = date(1970, 1, 1)
CORE = 5


def steam(release: Release) -> Tables:
    """Read ``steam_reviews.json`` and ``steam_games.json``; a user is a name, as in SASRec."""
    return Tables(
        interactions=Table(REVIEWS, release.find("steam_reviews.json").rows(_review)),
        items=Table(GAMES, release.find("steam_games.json").rows(_game)),
        core=CORE,
        published=Counts(2_567_538, 15_474, 7_793_069),
    )


def day_seconds(day: str) -> str:
    """Return the first second of a day such as ``2017-12-24``, in UTC."""
    return str((date.fromisoformat(day) - EPOCH).days * 86_400)


def _review(line: str) -> list[str]:
    review = record_of(line)
    ids = [identifier(review["username"]), identifier(review["product_id"])]
    return [*ids, day_seconds(review["date"])]


def _game(line: str) -> list[str]:
    game = record_of(line)
    title = html.unescape(str(game.get("app_name") or game.get("title") or ""))
    kinds = [map(html.unescape, map(str, game.get(key) or ())) for key in ("genres", "tags")]
    return [identifier(game.get("id")), text(title), *map(labels, kinds)]
