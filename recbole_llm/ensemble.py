"""Ensembles: the mean of several runs' standardised scores, evaluated as one model is.

Weights are equal, so that nothing is tuned. Histories may be of different lengths
(``MAX_ITEM_LIST_LENGTH``), since each run reads its own; the cases must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.evaluator import Collector, Evaluator

from recbole_llm.errors import RequestError, all_problems
from recbole_llm.eval_checks import FILTERS
from recbole_llm.quick_start import load_run
from recbole_llm.run_dir import RESULT, read_json, unfinished
from recbole_llm.train.evaluate import metrics_of, rank_cases, ranks_everything
from recbole_llm.train.scorers import MeanScorer, scorer_of

SEEN = "seen_items_filtered"
PROTOCOL = ("eval_args", "time_precision", SEEN, "data_sha256")


def evaluate_ensemble(
    run_dirs: Sequence[str | Path], *, filter_seen: bool | None = None
) -> dict[str, Any]:
    """Evaluate the mean of runs' standardised scores on validation and test data.

    Args:
        run_dirs: Directories of finished runs of sequence models, ours or RecBole's, on the same
            data and protocol. Metrics, topk and memory are as the first one's settings say.
        filter_seen: Whether seen items are left out; as in the runs by default.

    Returns:
        ``runs``, ``dataset``, ``filter_seen``, ``valid_result`` and ``test_result``.

    Raises:
        RequestError: If the runs cannot be combined; all that stands against it at once.
        NonFiniteError: If a run gives a score that is NaN or infinite.
    """
    names = [str(Path(run_dir)) for run_dir in run_dirs]
    _check(names, protocol=[key for key in PROTOCOL if filter_seen is None or key != SEEN])
    runs = [load_run(name) for name in names]
    config = runs[0][0]
    if filter_seen is not None:
        config["filter_seen"] = filter_seen
    return {
        "runs": names,
        "dataset": config["dataset"],
        "filter_seen": bool(config["filter_seen"]),
        "valid_result": _result(names, runs, [run[4] for run in runs]),
        "test_result": _result(names, runs, [run[5] for run in runs]),
    }


def _result(names: Sequence[str], runs: Sequence[Any], loaders: Sequence[Any]) -> dict[str, float]:
    """Return the metrics of the ensemble on one part of the data."""
    if not loaders[0]:
        return {}
    _check_cases(names, loaders)
    config, train_data = runs[0][0], runs[0][3]
    scorers = [scorer_of(run[1], loader) for run, loader in zip(runs, loaders, strict=True)]
    ranking = rank_cases(
        MeanScorer(scorers),
        loaders[0],
        config=config,
        place=f"ensemble of {len(runs)} runs",
        show_progress=False,
    )
    collector = Collector(config)
    collector.data_collect(train_data)
    return dict(metrics_of(ranking, Evaluator(config), train_facts=collector.data_struct))


def _check(names: Sequence[str], *, protocol: Sequence[str]) -> None:
    """Refuse runs that are not finished, or not of one dataset and protocol."""
    if not names:
        raise RequestError("recbole-llm ensemble: name at least one run directory.")
    problems = [f"{name} is named twice." for name in dict.fromkeys(names) if names.count(name) > 1]
    problems += [problem for name in dict.fromkeys(names) for problem in unfinished(name)]
    if problems:
        raise RequestError(all_problems("recbole-llm ensemble", problems))
    facts = {name: _facts(read_json(Path(name) / RESULT), protocol=protocol) for name in names}
    first = facts[names[0]]
    for name, own in facts.items():
        problems += [
            f"{name}: {key} is {own[key]!r}, and {first[key]!r} in {names[0]}."
            for key in first
            if own[key] != first[key]
        ]
    if problems:
        raise RequestError(all_problems("recbole-llm ensemble", problems))


def _facts(result: Mapping[str, Any], *, protocol: Sequence[str]) -> dict[str, Any]:
    facts = {"dataset": result["dataset"]}
    facts |= {key: result["protocol"][key] for key in protocol}
    return facts | {key: result["settings"].get(key) for key in FILTERS}


def _check_cases(names: Sequence[str], loaders: Sequence[Any]) -> None:
    """Refuse cases that are not ranked by us, or not the same in every run."""
    problems = []
    first = loaders[0].dataset
    for name, loader in zip(names, loaders, strict=True):
        if not ranks_everything(loader):
            problems.append(f"{name}: is no sequence model's run with eval_args.mode full.")
        elif not _same_cases(first, loader.dataset):
            problems.append(f"{name}: has other users, items or targets than {names[0]}.")
    if problems:
        raise RequestError(all_problems("recbole-llm ensemble", problems))


def _same_cases(one: Any, other: Any) -> bool:
    for field in (one.uid_field, one.iid_field):
        if list(one.field2id_token[field]) != list(other.field2id_token[field]):
            return False
        if not torch.equal(one.inter_feat[field], other.inter_feat[field]):
            return False
    return True
