"""The schema of those settings of RecBole's that it does not check itself."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

AnyCase = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
PAIR = re.compile(r"[\[(]([^,]+),([^,]+)[\])]")


def _intervals(value: Any) -> str:
    """Return intervals as text; one that RecBole cannot read it leaves out with a warning."""
    text = str(value)  # a closed one may have become a list, which RecBole reads as well
    try:
        pairs = [PAIR.fullmatch(part.strip()) for part in text.split(";")]
        is_sound = all(pair and float(pair[1]) <= float(pair[2]) for pair in pairs)
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ValueError("must be intervals, as [5,inf) or [1,3];(7,9]")
    return text


class RecBoleBounds(BaseModel):
    """Bounds of RecBole's settings, which it does not check itself."""

    model_config = ConfigDict(extra="ignore", strict=True)

    learning_rate: float = Field(default=1e-3, gt=0, le=10, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    train_batch_size: int = Field(default=1, ge=1)
    eval_batch_size: int = Field(default=1, ge=1)
    epochs: int = Field(default=1, ge=0)
    eval_step: int = Field(default=1, ge=0)
    stopping_step: int = Field(default=1, ge=0)
    MAX_ITEM_LIST_LENGTH: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    hidden_dropout_prob: float = Field(default=0.0, ge=0, lt=1)
    attn_dropout_prob: float = Field(default=0.0, ge=0, lt=1)
    n_layers: int = Field(default=1, ge=1)
    inner_size: int = Field(default=1, ge=1)
    topk: int | list[int] = 10
    metrics: str | Annotated[list[str], Field(min_length=1)] = "NDCG"
    valid_metric: str = "NDCG@10"
    eval_args: dict[str, Any] = {}
    train_neg_sample_args: dict[str, Any] | None = None
    load_col: dict[str, list[str] | None] | None = None
    unload_col: dict[str, list[str]] | None = None
    val_interval: dict[str, Any] | None = None
    user_inter_num_interval: str | None = None
    item_inter_num_interval: str | None = None
    rm_dup_inter: Literal["first", "last"] | None = None
    clip_grad_norm: dict[str, Any] | None = None
    field_separator: str = Field(default="\t", min_length=1)
    seq_separator: str = Field(default=" ", min_length=1)
    learner: Annotated[Literal["adam", "adamw", "sgd", "adagrad", "rmsprop"], AnyCase] = "adam"
    state: Annotated[Literal["debug", "info", "warning", "error", "critical"], AnyCase] = "info"
    data_path: str = ""
    checkpoint_dir: str = ""
    worker: int = Field(default=0, ge=0)
    loss_decimal_place: int = Field(default=4, ge=0)
    metric_decimal_place: int = Field(default=4, ge=0)
    use_gpu: bool = True
    reproducibility: bool = True
    show_progress: bool = True
    shuffle: bool = True
    enable_amp: bool | None = None
    enable_scaler: bool = False
    require_pow: bool = False
    repeatable: bool = False
    valid_metric_bigger: bool = True
    log_wandb: bool = False

    @field_validator("topk", mode="before")
    @classmethod
    def _positive(cls, topk: Any) -> Any:
        cutoffs = topk if isinstance(topk, list) else [topk]
        if not cutoffs or any(type(k) is not int or k < 1 for k in cutoffs):
            raise ValueError("must be a positive integer or a list of them")
        return topk

    @field_validator("user_inter_num_interval", "item_inter_num_interval", mode="before")
    @classmethod
    def _readable(cls, intervals: Any) -> Any:
        return None if intervals is None else _intervals(intervals)

    @field_validator("clip_grad_norm", mode="before")
    @classmethod
    def _clips(cls, given: Any) -> Any:
        """Refuse what PyTorch takes: a norm below 0 turns gradients round."""
        if given is None:
            return None
        named = given if isinstance(given, dict) else {}
        is_number = all(type(value) in (int, float) and value > 0 for value in named.values())
        is_known = {"max_norm"} <= named.keys() <= {"max_norm", "norm_type"}
        if not (is_number and is_known and math.isfinite(named["max_norm"])):
            raise ValueError(
                "must be a max_norm above 0, and a norm_type if need be, as {max_norm: 5.0}"
            )
        return given

    @field_validator("val_interval")
    @classmethod
    def _all_readable(cls, values: dict[str, Any] | None) -> dict[str, Any] | None:
        for wanted in (values or {}).values():
            if not isinstance(wanted, list):  # of the tokens of a column
                _intervals(wanted)
        return values
