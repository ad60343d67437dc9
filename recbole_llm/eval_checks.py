"""Rules of evaluation: splits, orders and candidates of eval_args, filter_seen, re-ranking."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from recbole_llm.errors import unknown_name
from recbole_llm.settings import OWN_SPLITS, ColdStart, describe

NESTED = {
    "eval_args": {"split", "order", "group_by", "mode"},
    "train_neg_sample_args": {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"},
}
LEAVE_ONE_OUT = ("valid_and_test", "valid_only", "test_only")
FILTERS = (  # settings on which the cases and the candidates depend
    "benchmark_filename", "rm_dup_inter", "val_interval", "filter_inter_by_user_or_item",
    "user_inter_num_interval", "item_inter_num_interval",
)  # fmt: skip


class EvalArgs(BaseModel):
    """RecBole's ``eval_args``, with two more kinds of split (docs/protocol.md)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    split: dict[str, Any] | None = None
    order: Literal["RO", "TO"] = "RO"
    group_by: Literal["user", "none"] | None = None
    mode: str | dict[Literal["valid", "test"], str] = "full"

    @field_validator("split")
    @classmethod
    def _known_split(cls, split: dict[str, Any] | None) -> dict[str, Any] | None:
        ((kind, how),) = split.items() if split and len(split) == 1 else [("", None)]
        if kind == "cold_start" and isinstance(how, dict):
            try:
                ColdStart(**how)
            except ValidationError as error:
                problems = " ".join(f"cold_start.{line}" for line in describe(error))
                raise ValueError(
                    f"{problems} Write {{cold_start: {{shares: [0.8, 0.1, 0.1], items: random}}}}"
                ) from None
            return split
        is_known = kind == "LS" and how in LEAVE_ONE_OUT
        is_known |= kind in ("RS", "TS", "time_cut") and _are_shares(how)
        is_known |= kind == "time_cut" and _are_times(how)
        if split is None or is_known:
            return split
        raise ValueError(
            "must be one of {LS: valid_and_test}, {LS: valid_only}, {LS: test_only}; RS, TS or "
            "time_cut with positive shares of training, validation and test, as "
            "{RS: [0.8, 0.1, 0.1]}; time_cut with the times at which validation and test begin; "
            "{cold_start: {shares: [0.8, 0.1, 0.1]}}"
        )

    @field_validator("mode")
    @classmethod
    def _known_mode(cls, mode: Any) -> Any:
        modes = mode.values() if isinstance(mode, dict) else [mode]
        if all(re.fullmatch(r"full|labeled|(uni|pop)[1-9][0-9]*", one) for one in modes):
            return mode
        raise ValueError("must be full, labeled, uniN or popN (N negatives), as uni100")


def _are_shares(how: Any) -> bool:
    return _are_numbers(how, length=3) and all(0 < share < math.inf for share in how)


def _are_times(how: Any) -> bool:
    return _are_numbers(how, length=2) and -math.inf < how[0] < how[1] < math.inf


def _are_numbers(how: Any, *, length: int) -> bool:
    is_list = isinstance(how, list) and len(how) == length
    return is_list and all(isinstance(one, int | float) for one in how)


def eval_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with eval_args and train_neg_sample_args."""
    problems = []
    for parent, children in NESTED.items():
        given = settings.get(parent)
        if given is None and parent != "eval_args":
            continue
        if not isinstance(given, Mapping):
            problems.append(f"{parent}: must be a mapping, received {given!r}.")
            continue
        unknown = [str(child) for child in given if child not in children]
        problems += [unknown_name(f"key of {parent}", child, children) for child in unknown]
        if parent == "eval_args" and not unknown:
            try:
                EvalArgs(**given)
            except ValidationError as error:
                problems += [f"eval_args.{line}" for line in describe(error)]
    return problems


def protocol_problems(settings: Mapping[str, Any], *, model: str, is_sequential: bool) -> list[str]:
    """Return what is wrong with eval_args for this model and these files, and with filter_seen."""
    args = settings["eval_args"] if isinstance(settings["eval_args"], Mapping) else {}
    split, order, mode = args.get("split"), args.get("order"), args.get("mode", "full")
    kind = next(iter(split), "") if isinstance(split, Mapping) else ""
    problems = []
    if is_sequential and order != "TO":
        problems.append(f"eval_args.order: a sequence model needs TO, received {order!r}.")
    elif kind in ("TS", *OWN_SPLITS) and order != "TO":  # RecBole would cut a random order
        problems.append(f"eval_args.order: split {kind} needs TO, received {order!r}.")
    if kind in OWN_SPLITS:
        problems += _own_split_problems(
            settings, model=model, kind=kind, is_sequential=is_sequential
        )
    if settings.get("filter_seen") and not is_sequential:
        problems.append(
            f"filter_seen: is for sequence models; of {model}'s full ranking RecBole leaves out "
            "what is in the training data by itself. Leave it out."
        )
    elif settings.get("filter_seen") and _modes(mode) != {"full"}:
        problems.append(
            f"filter_seen: needs eval_args.mode full, received {mode!r}, whose candidates are "
            "drawn or given. Set the mode, or leave it out."
        )
    return problems


def _own_split_problems(
    settings: Mapping[str, Any], *, model: str, kind: str, is_sequential: bool
) -> list[str]:
    if not is_sequential:
        return [f"eval_args.split: {kind} is for sequence models, which {model} is not. Use TS."]
    problems = []
    if settings.get("time_precision") == "recbole":
        problems.append(f"time_precision: split {kind} needs exact. Leave it out.")
    if settings.get("benchmark_filename"):
        problems.append(
            f"eval_args.split: benchmark_filename comes split, so that {kind} would change "
            "nothing. Leave one of them out."
        )
    mode = settings["eval_args"].get("mode", "full")
    if _modes(mode) != {"full"}:
        problems.append(f"eval_args.mode: split {kind} needs full, received {mode!r}.")
    return problems


def _modes(mode: Any) -> set[Any]:
    return set(mode.values()) if isinstance(mode, Mapping) else {mode}


def rerank_problems(ranking: Mapping[str, Any], classifier: Mapping[str, Any]) -> list[str]:
    """Return why a classifier may not re-order a run's lists, by the settings of both.

    Args:
        ranking: Those of the run that made the lists.
        classifier: Those of the classifier's run.
    """
    problems = [
        f"{key}: is {classifier.get(key)!r}, and {ranking.get(key)!r} in the run to re-rank, so "
        "that they have other events. Give both the same."
        for key in (*FILTERS, "time_precision")
        if classifier.get(key) != ranking.get(key)
    ]
    own, its = classifier["eval_args"], ranking["eval_args"]
    leave_one_out = {"LS": "valid_and_test"}
    if its["split"] != leave_one_out:
        problems.append(
            f"eval_args.split: only lists of {leave_one_out} are re-ranked, whose test no "
            f"classifier can have learnt that has the same split; the run has {its['split']!r}."
        )
    if (own["split"], own["group_by"], own["order"]) != (leave_one_out, "user", "TO"):
        problems.append(
            "eval_args: a classifier that re-ranks must not have learnt from the test. Train it "
            f"with split {leave_one_out}, group_by user and order TO; received {own!r}."
        )
    if classifier.get("classifier_history") == "bought":
        problems.append(
            "classifier_history: lists are made after all that a user had. Use all, not bought."
        )
    return problems
