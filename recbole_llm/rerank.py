"""The best of a run's lists, put into another order by a purchase classifier, and evaluated so.

Letters: C cases, K items of a list that are re-ordered, L history length.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from torch.nn.utils.rnn import pad_sequence

from recbole_llm.data.seen import seen_items
from recbole_llm.errors import NonFiniteError, RequestError, all_problems
from recbole_llm.eval_checks import rerank_problems
from recbole_llm.files import write_json
from recbole_llm.parsing import split_command, whole_number
from recbole_llm.plugin import CLASSIFIERS
from recbole_llm.provenance import provenance
from recbole_llm.quick_start import load_run
from recbole_llm.ranking_metrics import Ranking, reordered
from recbole_llm.ranks import write_ranks
from recbole_llm.report import named_ranks, report_of
from recbole_llm.run_dir import RESULT, read_json, unfinished
from recbole_llm.train.evaluate import metrics_of, rank_cases, ranks_everything
from recbole_llm.train.scorers import scorer_of

PLACE = "recbole-llm rerank"
TOP = 20
CASES = 64  # whose pairs of texts are read together


def rerank(argv: Sequence[str]) -> dict[str, Any]:
    """Carry out ``recbole-llm rerank RUN --by=CLASSIFIER_RUN [--top=20]``.

    Returns:
        ``run``, ``by``, ``top``, ``dataset``, and of both parts of the data the metrics
        (``valid_result``, ``test_result``) and what they were before (``before``).

    Raises:
        RequestError: If the request is wrong, or the runs cannot be combined.
    """
    problems: list[str] = []
    names, given, _ = split_command(
        argv, place=PLACE, wants="one run directory", options=("by", "top"), problems=problems
    )
    top = whole_number(given.get("top", str(TOP)), least=2)
    if top is None:
        problems.append(f"--top: must be a number of items from 2 on, received {given['top']!r}.")
    if "by" not in given:
        problems.append("--by: is missing. Name the directory of a classifier's run.")
    if problems or top is None:
        raise RequestError(all_problems(PLACE, problems))
    pair = RerankedRun.load(names[0], by=given["by"], top=top)
    valid, test = (pair.metrics(pair.ranking(part), part) for part in (pair.valid, pair.test))
    before = {key: pair.result[key] for key in ("best_valid_result", "test_result")}
    found = {"run": names[0], "by": given["by"], "top": top}
    found |= {"dataset": pair.result["dataset"], "before": before}
    return found | {"valid_result": valid, "test_result": test}


def write_reranked(run_dir: str | Path, *, by: str | Path, top: int, out: Path) -> None:
    """Write the result and the ranks of re-ranked lists into a directory, as a run writes its own.

    Args:
        run_dir: Directory of the run that made the lists.
        by: Directory of the classifier's run.
        top: K.
        out: The directory.

    Raises:
        RequestError: If the runs cannot be combined.
    """
    begin = time.perf_counter()
    pair = RerankedRun.load(run_dir, by=by, top=top)
    valid = pair.metrics(pair.ranking(pair.valid), pair.valid)
    ranking = pair.ranking(pair.test)
    parts = {"train": pair.train.dataset, "test": pair.test.dataset}
    ranks = named_ranks(ranking, **parts)
    write_ranks(out, ranks)
    about = {"config": pair.config, "model": pair.model, **parts}
    report = report_of(ranking, ranks, among_cold=None, **about)
    facts = provenance(pair.by_config, pair.classifier)
    own, base = pair.by_result, pair.result
    seconds = {"prepare": 0.0, "encode": 0.0, "evaluate": time.perf_counter() - begin}
    seconds |= {"train": base["seconds"]["train"] + own["seconds"]["train"]}
    trainable = sum(one["parameters"]["trainable"] for one in (base, own))
    named = {key: own[key] for key in ("model", "dataset", "seed", "epochs", "best_epoch")}
    result = {
        "schema": 1,
        **named,
        "best_valid_result": valid,
        "test_result": pair.metrics(ranking, pair.test),
        "seconds": seconds | {"per_epoch": own["seconds"]["per_epoch"]},
        "run_dir": str(out),
        "curve": [],
        "classification": own["classification"],
        **report,
        **facts,
        **{key: base[key] for key in ("protocol", "text", "modalities")},
        "parameters": {"trainable": trainable},
        "reranked": {"model": base["model"], "settings": base["settings"], "top": top},
    }
    write_json(out / RESULT, result)


@dataclass(frozen=True)
class RerankedRun:
    """A run of a sequence model whose best items a classifier puts in order.

    Attributes:
        run: The run, for messages.
        result: Its ``result.json``.
        config: Its settings.
        model: Its model.
        train: Its loaders, of training,
        valid: validation,
        test: and test.
        by_result: The classifier's ``result.json``.
        by_config: Its settings.
        classifier: The classifier.
        items: The classifier's number of each item, ``(N,)``.
        top: K.
    """

    run: str
    result: Mapping[str, Any]
    config: Any
    model: Any
    train: Any
    valid: Any
    test: Any
    by_result: Mapping[str, Any]
    by_config: Any
    classifier: Any
    items: torch.Tensor
    top: int

    @classmethod
    def load(cls, run_dir: str | Path, *, by: str | Path, top: int) -> RerankedRun:
        """Load both runs.

        Raises:
            RequestError: If they cannot be combined, all that stands against it at once, or the
                classifier has learnt from the run's cases.
        """
        result, by_result = _results(run_dir, by)
        config, model, dataset, *loaders = load_run(run_dir)
        by_config, classifier, catalogue, *known = load_run(by)
        if not all(loader and ranks_everything(loader) for loader in loaders[1:]):
            raise RequestError(
                f"{PLACE}: {run_dir} is no sequence model's run with validation and test data and "
                "eval_args.mode full."
            )
        if top >= dataset.item_num:
            most = dataset.item_num - 1
            raise RequestError(f"{PLACE}: --top: must be at most {most} items, received {top}.")
        _require_unseen(str(run_dir), loaders, by=str(by), known=known)
        field = dataset.iid_field
        number = {token: at for at, token in enumerate(catalogue.field2id_token[field])}
        unknown = [token for token in dataset.field2id_token[field] if token not in number]
        if unknown:
            raise RequestError(
                f"{PLACE}: {by} lacks {len(unknown)} items of {run_dir}, as {str(unknown[0])!r}. "
                "Train both with the same load_col."
            )
        items = torch.tensor([number[token] for token in dataset.field2id_token[field]])
        parts = dict(zip(("train", "valid", "test"), loaders, strict=True))
        its = {"run": str(run_dir), "result": result, "config": config, "model": model, **parts}
        own = {"by_result": by_result, "by_config": by_config, "classifier": classifier}
        return cls(**its, **own, items=items, top=top)

    def ranking(self, loader: Any) -> Ranking:
        """Return where the targets of a part of the data stand once the lists are in order."""
        ranking = rank_cases(
            scorer_of(self.model, loader),
            loader,
            config=self.config,
            place=self.run,
            show_progress=False,
            with_lists=True,
            list_length=max(self.top, *self.config["topk"]),
        )
        logits = self._logits(loader.dataset, ranking.lists[:, : self.top])
        targets = loader.dataset.inter_feat[loader.dataset.iid_field].numpy()
        found = reordered(ranking, logits, targets=targets)
        shown = found.lists[:, : max(self.config["topk"])]
        return Ranking(found.above, found.ties, found.candidates, shown)

    def metrics(self, ranking: Ranking, loader: Any) -> dict[str, float]:
        """Return the metrics of a ranking, as the run's own are made."""
        collector = Collector(self.config)
        collector.data_collect(self.train)
        return dict(metrics_of(ranking, Evaluator(self.config), train_facts=collector.data_struct))

    @torch.no_grad()
    def _logits(self, cases: Any, lists: np.ndarray) -> np.ndarray:
        """Return the classifier's logit of each item of the lists ``(C, K)``, -inf for none."""
        seen, most = seen_items(cases), self.by_config["MAX_ITEM_LIST_LENGTH"]
        begin = torch.maximum(seen.start, seen.stop - most).tolist()
        histories = [
            self.items[seen.items[first:last]]
            for first, last in zip(begin, seen.stop.tolist(), strict=True)
        ]
        rows, places = np.nonzero(lists)
        candidates = self.items[torch.from_numpy(lists[rows, places])]
        logits = np.full(lists.shape, -np.inf)
        for at in range(0, len(rows), CASES * self.top):
            part = slice(at, at + CASES * self.top)
            read = [histories[row] for row in rows[part]]
            batch = _pairs(self.classifier, read, candidates[part])
            logits[rows[part], places[part]] = self.classifier(batch).double().cpu().numpy()
        if np.isnan(logits).any() or np.isposinf(logits).any():
            raise NonFiniteError(f"{PLACE}: the classifier gives logits that are NaN or infinite.")
        return logits


def _pairs(classifier: Any, histories: Sequence[torch.Tensor], items: torch.Tensor) -> Interaction:
    """Return histories and candidates as the classifier reads them."""
    return Interaction(
        {
            classifier.history_field: pad_sequence(list(histories), batch_first=True),  # (B, L)
            classifier.length_field: torch.tensor([len(history) for history in histories]),
            classifier.item_field: items,
        }
    )


def _results(run_dir: str | Path, by: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of two finished runs that may be combined by what they say."""
    problems = [problem for name in (run_dir, by) for problem in unfinished(name)]
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    result, by_result = (read_json(Path(name) / RESULT) for name in (run_dir, by))
    if by_result["model"] not in CLASSIFIERS:
        problems.append(
            f"--by: {by} is a run of {by_result['model']}, which is no classifier. Name a run of "
            f"{', '.join(CLASSIFIERS)}."
        )
    its, own = result["protocol"]["data_sha256"], by_result["protocol"]["data_sha256"]
    if (result["dataset"], its) != (by_result["dataset"], own):
        problems.append(f"{by}: is of other data ({by_result['dataset']}) than {run_dir}.")
    if not problems:
        problems = rerank_problems(result["settings"], by_result["settings"])
    if problems:
        raise RequestError(all_problems(PLACE, problems))
    return result, by_result


def _require_unseen(run: str, loaders: Sequence[Any], *, by: str, known: Sequence[Any]) -> None:
    """Refuse a classifier that has learnt from a run's cases, or was chosen by those of its test.

    Whatever the settings say, the events themselves are compared, equal ones by their number.
    """
    _, valid, test = map(_events, loaders)
    learnt, chosen, unseen = map(_events, known)
    for name, cases, told, untold in (
        ("validation", valid, learnt, chosen + unseen),
        ("test", test, learnt + chosen, unseen),
    ):
        found = (cases - untold) & told
        if found:
            user, item, _ = min(found)
            raise RequestError(
                f"{PLACE}: {by} has learnt from {found.total()} of {cases.total()} {name} cases of "
                f"{run}, as that of user {user!r} and item {item!r}. Train it on the same split."
            )


def _events(loader: Any) -> Counter[tuple[str, str, float]]:
    """Return the events of a part of the data: raw user, raw item, time."""
    if not loader:
        return Counter()
    data = loader.dataset
    fields = (data.uid_field, data.iid_field, data.time_field)
    users, items, times = (data.inter_feat[field].tolist() for field in fields)
    names, titles = (data.field2id_token[field] for field in fields[:2])
    pairs = zip(users, items, times, strict=True)
    return Counter((str(names[user]), str(titles[item]), when) for user, item, when in pairs)
