"""Food.com: ``RAW_interactions.csv`` and ``RAW_recipes.csv``. Majumder et al., 2019, EMNLP."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from recbole_llm.data.sources.archive import Release, labels, number, text
from recbole_llm.data.sources.steam import day_seconds
from recbole_llm.data.sources.writer import Counts, Table, Tables

RATINGS = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
RECIPES = ("item_id:token", "title:token_seq", "tags:token_seq", "description:token_seq")
CORE = 5


def food(release: Release) -> Tables:
    """Read the raw reviews and recipes; the dataset is their 5-core."""
    ratings = release.find("RAW_interactions.csv").records(
        _rating, columns=("user_id", "recipe_id", "date", "rating")
    )
    recipes = release.find("RAW_recipes.csv").records(
        _recipe, columns=("id", "name", "tags", "description")
    )
    return Tables(
        interactions=Table(RATINGS, ratings),
        items=Table(RECIPES, recipes),
        core=CORE,
        published=Counts(226_570, 231_637, 1_132_367),
    )


def _rating(row: Mapping[str, str]) -> list[str]:
    return [row["user_id"], row["recipe_id"], number(row["rating"]), day_seconds(row["date"])]


def _recipe(row: Mapping[str, str]) -> list[str]:
    tags = labels(ast.literal_eval(row["tags"]))
    return [row["id"], text(row["name"]), tags, text(row["description"])]
