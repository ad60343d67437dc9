"""What a result says of a run's test cases beyond the mean metrics; the adapter to ``slices``."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_llm import slices
from recbole_llm.data.features import text_vectors
from recbole_llm.data.seen import seen_items, training_counts
from recbole_llm.data.users import user_columns
from recbole_llm.errors import DataError, RecBoleLLMError
from recbole_llm.ranking_metrics import RANK_METRICS, Ranking, expected_metric
from recbole_llm.ranks import Ranks

COLD_ONLY = "cold items only"
NO_REPORT: dict[str, Any] = {"slices": None, "gaps": None, "lists": None}


def named_ranks(ranking: Ranking, *, train: Any, test: Any) -> Ranks:
    """Return the ranks of a test part, its cases and its users under their raw ids.

    Args:
        ranking: The ranks.
        train: The training part of the dataset.
        test: The test part, whose cases were ranked.
    """
    users = np.asarray(test.field2id_token[test.uid_field])
    items = np.asarray(test.field2id_token[test.iid_field])
    has_case = np.zeros(len(users), dtype=bool)
    of_case = test.inter_feat[test.uid_field].numpy()
    target = test.inter_feat[test.iid_field].numpy()
    has_case[[0, *of_case]] = True  # 0 is padding
    seen = seen_items(test)
    return Ranks(
        users=users[of_case].tolist(),
        items=items[target].tolist(),
        above=ranking.above,
        ties=ranking.ties,
        candidates=ranking.candidates,
        users_without_case=users[~has_case].tolist(),
        popularity=training_counts(train)[target],
        history=(seen.stop - seen.start).numpy(),
    )


def cold_items(config: Mapping[str, Any], train: Any) -> torch.Tensor | None:
    """Tell which items training does not know, ``(N,)``, if the split holds items out of it."""
    if "cold_start" not in (config["eval_args"]["split"] or {}):
        return None
    return torch.from_numpy(training_counts(train) == 0)


def report_of(
    ranking: Ranking,
    ranks: Ranks,
    *,
    among_cold: Ranking | None,
    config: Mapping[str, Any],
    train: Any,
    test: Any,
    model: Any,
) -> dict[str, Any]:
    """Return the slices, gaps and facts of lists of a run.

    Args:
        ranking: The ranks and lists of the test cases.
        among_cold: Their ranks among cold items only, if the split holds items out of training.
        ranks: The same under raw ids.
        config: The settings.
        train: The training part of the dataset.
        test: The test part.
        model: The model; its raw text vectors tell how diverse a list is.
    """
    counts = training_counts(train)
    target = test.inter_feat[test.iid_field].numpy()
    values = _values(ranking, config)
    bands = slices.bands(np.asarray(ranks.history), slices.HISTORY)
    found = {
        "item_popularity": slices.metrics_by_group(
            slices.popularity_groups(counts)[target], values, order=slices.POPULARITY
        ),
        "history_length": slices.metrics_by_group(
            bands, values, order=tuple(slices.HISTORY.values())
        ),
        "weights": {slices.ALIKE: slices.metrics_over_items(target, values)},
    }
    for name, labels in _user_groups(ranks.users, dataset=test, config=config).items():
        found[f"user.{name}"] = slices.metrics_by_group(labels, values)
    if among_cold is not None:
        alike = np.full(len(target), COLD_ONLY)
        found["candidates"] = slices.metrics_by_group(alike, _values(among_cold, config))
        found["candidates"][COLD_ONLY]["items"] = int(among_cold.candidates.max())
    chosen = str(config["valid_metric"]).lower()
    metric = chosen if chosen in values else next(iter(values), None)
    facts = slices.list_facts(
        ranking.lists, counts, text=raw_texts(model, dataset=test, config=config)
    )
    return {
        "slices": found,
        "gaps": {} if metric is None else slices.gaps(found, metric=metric),
        "lists": {f"{name}@{max(config['topk'])}": value for name, value in facts.items()},
    }


def raw_texts(model: Any, *, dataset: Any, config: Mapping[str, Any]) -> np.ndarray | None:
    """Return the text vectors of all items as the encoder gave them, ``(N, D)``.

    They are the model's. Of one that reads no texts they are those that ``text_diversity`` asks
    for, None if it does not or the dataset has none.
    """
    vectors = getattr(model, "item_vectors", None)
    if vectors is None and config["text_diversity"]:
        tokens = dataset.field2id_token[dataset.iid_field]
        try:
            vectors = text_vectors(
                config,
                folder=Path(dataset.dataset_path),
                dataset=dataset.dataset_name,
                catalogue=[str(token) for token in tokens],
            )
        except RecBoleLLMError as error:  # a result is not lost for what no model reads
            getLogger().warning("text_diversity: lists are not compared: %s", error)
    return None if vectors is None else vectors.raw_table()


def _values(ranking: Ranking, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the metrics of each case, by name; GAUC where all cases have one."""
    names = [name for name in map(str.lower, config["metrics"]) if name in RANK_METRICS]
    values = {
        f"{name}@{k}": expected_metric(name, ranking, k=k)
        for name in names
        if name != "gauc"  # which has no cutoff
        for k in config["topk"]
    }
    if "gauc" in names and (ranking.candidates > 1).all():
        values["gauc"] = expected_metric("gauc", ranking)
    return values


def _user_groups(
    users: list[str], *, dataset: Any, config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the group of each case's user, empty where unknown, by column of the user file."""
    path = Path(dataset.dataset_path) / f"{dataset.dataset_name}.user"
    try:
        groups, ages = user_columns(
            path,
            id_field=config["USER_ID_FIELD"],
            separator=config["field_separator"],
            encoding=config["encoding"],
        )
    except DataError as error:  # a result is not lost for a file that no model reads
        getLogger().warning(f"No groups of users: {error}")
        return {}
    labels = {name: np.array([of.get(u, "") for u in users]) for name, of in groups.items()}
    for name, of in ages.items():
        named = slices.bands(np.array([of.get(u, 0.0) for u in users]), slices.AGES)
        labels[name] = np.where([u in of for u in users], named, "")
    return labels
