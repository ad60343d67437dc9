"""The parts of a model, from settings.

Letters: N items, D size of a feature's given vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from recbole_llm.data.seen import training_repeats
from recbole_llm.model.adaptors import build_adaptor
from recbole_llm.model.items import ItemRepresentation, VectorFeature
from recbole_llm.model.losses import (
    BPR,
    BinaryCrossEntropy,
    FullSoftmax,
    InterestMSE,
    Negatives,
    SampledSoftmax,
)
from recbole_llm.model.propensity import TargetWeights
from recbole_llm.model.repeats import RepeatBias
from recbole_llm.model.similarity import TextSimilarity
from recbole_llm.settings import Settings


def build_repeats(settings: Settings, dataset: Any) -> RepeatBias | None:
    """Return what is added to the scores of what was read, None where nothing is."""
    if not settings.repeat_bias:
        return None
    repeats, events = training_repeats(dataset)
    is_learned = settings.loss_type != "MSE"  # which compares no items
    return RepeatBias(repeats=repeats, events=events, is_learned=is_learned)


def build_items(
    settings: Settings,
    *,
    num_items: int,
    tables: Mapping[str, Tensor],
    text_feature: Callable[..., VectorFeature] = VectorFeature,
) -> ItemRepresentation:
    """Return the item representation that the settings ask for.

    Args:
        settings: Our settings.
        num_items: N, padding included.
        tables: The vectors of each feature that comes with some, ``(N, D)`` each.
        text_feature: What makes the feature of text; all others are a ``VectorFeature``.
    """
    size = settings.embedding_size
    features = [
        (text_feature if name == "text" else VectorFeature)(
            vectors=table,
            adaptor=build_adaptor(
                settings.adaptor_of(name),
                in_size=table.shape[1],
                size=size,
                hidden_size=settings.adaptor_hidden_size or 2 * size,
                num_experts=settings.adaptor_experts,
            ),
            dropout=settings.dropout_prob,
        )
        for name, table in tables.items()
    ]
    place = list(tables).index("text") if settings.similarity_bias else None
    similarity = None if place is None else TextSimilarity(tables["text"], place=place)
    return ItemRepresentation(
        num_items=num_items,
        size=size,
        features=features,
        use_id="id" in settings.features,
        fusion=settings.fusion,
        similarity=similarity,
    )


def build_target_weights(settings: Settings, *, counts: Tensor) -> TargetWeights | None:
    """Return what targets count for, None where all are alike.

    Args:
        settings: Our settings.
        counts: How often each item is a target in training, ``(N,)``.
    """
    if settings.propensity_weighting == "none":
        return None
    return TargetWeights(
        counts,
        power=settings.propensity_power,
        clip=settings.propensity_clip,
        is_self_normalised=settings.propensity_weighting == "snips",
    )


def build_loss(settings: Settings, *, counts: Tensor) -> torch.nn.Module:
    """Return the loss that ``loss_type`` names.

    Args:
        settings: Our settings.
        counts: How often each item is a target in training, ``(N,)``.
    """
    temperature = settings.temperature
    if settings.loss_type == "CE":
        return FullSoftmax(temperature=temperature, label_smoothing=settings.label_smoothing)
    if settings.loss_type == "MSE":
        return InterestMSE()
    negatives = Negatives(
        how=settings.negative_sampling, number=settings.num_negatives, counts=counts
    )
    if settings.loss_type == "SCE":
        return SampledSoftmax(temperature=temperature, negatives=negatives)
    if settings.loss_type == "BPR":
        return BPR(temperature=temperature, negatives=negatives)
    calibration = settings.gbce_calibration if settings.loss_type == "GBCE" else 0.0
    return BinaryCrossEntropy(temperature=temperature, negatives=negatives, calibration=calibration)
