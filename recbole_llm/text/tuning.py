"""A text encoder that is trained in part inside a recommender.

Letters: n texts, D size of the encoder's vectors, W size after whitening.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_llm.errors import EncoderError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.whiten import KeptWhitening, Whitening

logger = logging.getLogger(__name__)

REMEDY = (
    "Set text_checkpointing: true, a smaller text_tuning_items, text_max_length or text_encoder, "
    "or use_gpu: false."
)
PREFIX_SPREAD = 0.02  # of what a prefix begins with, as the weights of BERT do


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Which of an encoder's weights are trained, and in how much memory."""

    how: str
    """``last_layers``, ``lora``, ``prefix`` or ``full``."""
    num_layers: int = 2
    """Layers that ``last_layers`` trains."""
    rank: int = 8
    """Rank of the matrices that ``lora`` adds to every linear map."""
    alpha: int = 16
    """What they add is scaled by alpha / rank."""
    prefix_length: int = 8
    """Vectors that ``prefix`` puts before the keys and values of every layer."""
    is_checkpointed: bool = False
    """Whether a batch's activations are made again for its gradient instead of being kept."""


class TunedEncoder(nn.Module):
    """A text encoder, the part of it that is trained, and the texts that it reads.

    Its parameters, and so what a checkpoint holds, are the trained ones alone. Dropout inside the
    encoder stays off: a vector made anew and one kept from before differ by what was learned, not
    by noise, by which a softmax over both could tell them apart.

    Args:
        reader: The encoder; its model is changed in place.
        texts: The texts, none twice.
        tuning: What is trained.
        whitening: What treats the vectors; it stays as it is while the encoder learns.
    """

    def __init__(
        self,
        reader: TextEncoder,
        texts: Sequence[str],
        *,
        tuning: Tuning,
        whitening: Whitening | KeptWhitening | None,
    ) -> None:
        super().__init__()
        self.reader, self.is_checkpointed = reader, tuning.is_checkpointed
        chosen = _prepare(reader, tuning)
        self.tokens: dict[str, list[list[int]]] = reader.tokens(texts) if texts else {}
        self.trained = nn.ParameterDict({name.replace(".", "/"): p for name, p in chosen.items()})
        self.mean: Tensor | None
        self.matrix: Tensor | None
        statistics = (None, None) if whitening is None else (whitening.mean, whitening.matrix())
        for name, value in zip(("mean", "matrix"), statistics, strict=True):
            self.register_buffer(name, value, persistent=False)
        logger.info(
            "Text tuning: %s trains %d of %d weights of %s.",
            tuning.how,
            sum(p.numel() for p in chosen.values()),
            sum(p.numel() for p in reader.model.parameters()),
            reader.spec.name,
        )

    def __repr__(self) -> str:
        """Return a line: a model's log would have one for each weight."""
        return f"TunedEncoder({self.reader.spec.name}, {len(self.trained)} trained tensors)"

    def forward(self, places: Tensor) -> Tensor:
        """Return the whitened vectors of the texts at ``places`` ``(n,)``, ``(n, W)``."""
        vectors = self.raw(places)
        if self.mean is None or self.matrix is None:
            return vectors
        return ((vectors.double() - self.mean) @ self.matrix).float()

    def raw(self, places: Tensor) -> Tensor:
        """Return the vectors of the texts at ``places`` ``(n,)`` as the encoder gives them."""
        lengths = [len(self.tokens["input_ids"][place]) for place in places.tolist()]
        return self.reader.budget.apply(
            lambda rows: self._part(places[torch.tensor(rows)]), lengths, remedy=REMEDY
        )

    def _part(self, places: Tensor) -> Tensor:
        """Return the vectors of so many texts as fit the budget of tokens."""
        rows = places.tolist()
        batch = {key: [values[row] for row in rows] for key, values in self.tokens.items()}
        padded = self.reader.model.tokenizer.pad(batch, return_tensors="pt")
        on_device = dict(padded.to(self.reader.device))
        if self.is_checkpointed and torch.is_grad_enabled():
            return checkpoint(self._embed, on_device, use_reentrant=False, preserve_rng_state=False)
        return self._embed(on_device)

    def _embed(self, padded: dict[str, Tensor]) -> Tensor:
        kind, has_gradient = self.reader.device.split(":")[0], torch.is_grad_enabled()
        is_bf16 = self.reader.spec.precision(self.reader.device) == "bf16"
        # A copy of a weight that is cached without a gradient must not serve where one is wanted.
        with torch.autocast(kind, torch.bfloat16, enabled=is_bf16, cache_enabled=has_gradient):
            return self.reader.embed(padded)


def _prepare(reader: TextEncoder, tuning: Tuning) -> dict[str, nn.Parameter]:
    """Return the weights to train, by name; all others are frozen."""
    model = reader.model
    if not callable(getattr(model, "tokenizer", None)):
        raise EncoderError(
            f"text_tuning: {reader.spec.name} is no transformer, received {tuning.how}. Use frozen."
        )
    if tuning.how in ("lora", "prefix"):
        _add_adapters(model, tuning) if tuning.how == "lora" else _add_prefix(reader, tuning)
        names = {name for name, value in model.named_parameters() if value.requires_grad}
    else:
        model.float()  # a step smaller than 16 bits resolve would be lost
        within = model if tuning.how == "full" else _last_layers(model[0].model, reader, tuning)
        chosen = set(within.parameters())
        names = {name for name, value in model.named_parameters() if value in chosen}
    for name, value in model.named_parameters():
        value.requires_grad_(name in names)
    return _used(reader, {n: p for n, p in model.named_parameters() if n in names})


def _add_adapters(model: Any, tuning: Tuning) -> None:
    """Put matrices of low rank beside all linear maps (LoRA: Hu et al., 2021, arXiv 2106.09685).

    They change nothing at first, and draw from chance what the rest of the model does not miss.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=tuning.rank, lora_alpha=tuning.alpha, target_modules="all-linear")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of GPT-2's transposed maps, which it sets right itself
        inject_adapter_in_model(config, model[0].model)
    model.eval()  # what was added is in training mode


def _add_prefix(reader: TextEncoder, tuning: Tuning) -> None:
    """Put learned keys and values before those of every layer (Li and Liang, 2021, 2101.00190).

    They begin small, and change a text's vector from the first on: attention is shared with them,
    and peft moves a text's absolute positions behind them. It takes no types of tokens, which texts
    alone need not.
    """
    from peft import PrefixTuningConfig, TaskType, get_peft_model

    model = reader.model
    config = PrefixTuningConfig(
        task_type=TaskType.FEATURE_EXTRACTION, num_virtual_tokens=tuning.prefix_length
    )
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a name that transformers will give up
            model[0].model = get_peft_model(model[0].model, config)
            for value in model[0].model.prompt_encoder.parameters():
                torch.nn.init.normal_(value, std=PREFIX_SPREAD)
        names = model.tokenizer.model_input_names
        model.tokenizer.model_input_names = [name for name in names if name != "token_type_ids"]
        most = getattr(model[0].model.config, "max_position_embeddings", None)
        if most and model.max_seq_length and model.max_seq_length + tuning.prefix_length > most:
            model.max_seq_length -= tuning.prefix_length
        model.eval()
        problem = None if _probe(reader).requires_grad else "its layers ignore it"
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        problem = str(error)
    if problem is not None:
        raise EncoderError(
            f"text_tuning: {reader.spec.name} takes no prefix ({problem}). Use lora."
        )


def _last_layers(transformer: Any, reader: TextEncoder, tuning: Tuning) -> nn.ModuleList:
    """Return the last layers of a transformer."""
    depth = getattr(transformer.config, "num_hidden_layers", None)
    stacks = (part for part in transformer.modules() if isinstance(part, nn.ModuleList))
    layers = next((stack for stack in stacks if len(stack) == depth), None)
    if layers is None:
        raise EncoderError(
            f"text_tuning: the layers of {reader.spec.name} share their weights or are no list, "
            "received last_layers. Use lora or full."
        )
    if tuning.num_layers > len(layers):
        raise EncoderError(
            f"text_tuning_layers: {reader.spec.name} has {len(layers)} layers, received "
            f"{tuning.num_layers}. Use at most {len(layers)}."
        )
    return nn.ModuleList(layers[len(layers) - tuning.num_layers :])


def _used(reader: TextEncoder, parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return the parameters that a text's vector depends on; a pooler, say, is left out."""
    slopes = torch.autograd.grad(_probe(reader).sum(), list(parameters.values()), allow_unused=True)
    pairs = zip(parameters.items(), slopes, strict=True)
    used = {name: value for (name, value), slope in pairs if slope is not None}
    for name in parameters.keys() - used.keys():
        parameters[name].requires_grad_(False)
    return used


def _probe(reader: TextEncoder) -> Tensor:
    """Return the vector of a text, with gradients."""
    tokens = reader.model.tokenizer.pad(reader.tokens(["a text"]), return_tensors="pt")
    return reader.embed(tokens.to(reader.device))
