"""Full-ranking evaluation of sequence models in bounded memory; the adapter to RecBole's loaders.

Cases are those of a loader's dataset, in its order. RecBole's own evaluation remains for drawn
candidates (``uniN``, ``popN``, ``labeled``) and for models that are not sequential.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.register import metric_information
from recbole.utils import set_color
from torch import Tensor
from tqdm import tqdm

from recbole_llm.data.seen import SeenItems, seen_items
from recbole_llm.errors import RequestError
from recbole_llm.ranking_metrics import RANK_METRICS, Ranking, expected_metric
from recbole_llm.settings import Settings
from recbole_llm.train.ranking import rank
from recbole_llm.train.scorers import Scorer


def ranks_everything(loader: Any) -> bool:
    """Tell whether a loader asks for every item's rank in cases of one target each."""
    return isinstance(loader, FullSortEvalDataLoader) and loader.is_sequential


@torch.no_grad()
def rank_cases(
    scorer: Scorer,
    loader: Any,
    *,
    config: Mapping[str, Any],
    place: str,
    show_progress: bool,
    with_lists: bool = False,
    list_length: int | None = None,
    only: Tensor | None = None,
) -> Ranking:
    """Rank the target of every case of a loader.

    At most ``eval_batch_cells`` scores exist at once, or those of the fewest cases and items that
    the scorer scores together.

    Args:
        scorer: What scores items; its model must be in evaluation mode.
        loader: A full-ranking loader of a sequence model.
        config: The settings.
        place: Words for an error's message.
        show_progress: Whether to show a bar.
        with_lists: Whether to make lists even if no metric needs them. Those of a case with fewer
            candidates than a list is long end in 0.
        list_length: How long they are; as the largest cutoff by default.
        only: Which items may be candidates, ``(N,)``, each case's target apart; all by default.
            There are no lists then.

    Raises:
        NonFiniteError: If a score is NaN or infinite.
    """
    settings, dataset = Settings.from_config(config), loader.dataset
    targets = dataset.inter_feat[dataset.iid_field]
    seen = seen_items(dataset) if settings.filter_seen else None
    needs = only is None and needs_lists(config["metrics"])
    length = (list_length or max(config["topk"])) if needs or with_lists else 0
    least = min(scorer.span, dataset.item_num) * scorer.least
    step = max(settings.eval_batch_cells // least, 1) * scorer.least
    size, device = config["eval_batch_size"], scorer.device
    parts = []
    begins = range(0, len(targets), size)
    bar = tqdm(begins, ncols=100, desc=set_color("Evaluate   ", "pink"), disable=not show_progress)
    for begin in bar:
        end = min(begin + size, len(targets))
        batch = scorer.read(begin, end)
        for at in range(begin, end, step):
            stop = min(at + step, end)
            part = rank(
                scorer.blocks(batch, slice(at - begin, stop - begin)),
                targets[at:stop].to(device),
                seen=_cells(seen, at, stop, device=device),
                list_length=length,
                place=place,
                only=None if only is None else only.to(device),
            )
            parts.append(part)
    ranking = Ranking.join(parts)
    if needs:
        _refuse_short_lists(ranking, list_length=length)
    return replace(ranking, lists=_candidates_only(ranking))


def _cells(seen: SeenItems | None, begin: int, end: int, *, device: torch.device) -> Any:
    if seen is None:
        return None
    rows, items = seen.cells(begin, end)
    return rows.to(device), items.to(device)


def _refuse_short_lists(ranking: Ranking, *, list_length: int) -> None:
    fewest = int(ranking.candidates.min())
    if fewest < list_length:
        raise RequestError(
            f"topk: lists of {list_length} need as many candidates, and filter_seen leaves a case "
            f"only {fewest}. Lower topk, or leave out the metrics of lists, as ItemCoverage."
        )


def _candidates_only(ranking: Ranking) -> np.ndarray:
    """Return the lists, 0 where a case has no more candidates; those that are none come last."""
    place = np.arange(ranking.lists.shape[1])
    return np.where(place < ranking.candidates[:, None], ranking.lists, 0)


def needs_lists(metrics: list[str]) -> bool:
    """Tell whether a metric looks at which items are recommended."""
    return any("rec.items" in metric_information[name.lower()] for name in metrics)


def metrics_of(
    ranking: Ranking, evaluator: Evaluator, *, train_facts: DataStruct
) -> OrderedDict[str, float]:
    """Return metrics with RecBole's names, in its order, rounded as ``metric_decimal_place`` says.

    Args:
        ranking: The ranks.
        evaluator: RecBole's, which has the configuration and the metrics of lists.
        train_facts: What RecBole's collector knows of the training data.
    """
    config, result = evaluator.config, OrderedDict[str, float]()
    facts = DataStruct()
    facts._data_dict = {**train_facts._data_dict, "rec.items": torch.from_numpy(ranking.lists)}
    for name in evaluator.metrics:
        if name not in RANK_METRICS:
            result |= evaluator.metric_class[name].calculate_metric(facts)
        elif name == "gauc":
            result[name] = float(np.nanmean(expected_metric(name, ranking)))
        else:
            for k in config["topk"]:
                result[f"{name}@{k}"] = float(expected_metric(name, ranking, k=k).mean())
    places = config["metric_decimal_place"]
    return OrderedDict((name, round(float(value), places)) for name, value in result.items())
