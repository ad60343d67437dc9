"""A language model that is trained: tokens of pairs to vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_llm.errors import EncoderError
from recbole_llm.text.batches import TokenBudget
from recbole_llm.text.models import EncoderSpec, load_model, poolings
from recbole_llm.text.pairs import Pair

REMEDY = (
    "Set a smaller train_batch_size, text_max_length, classifier_layers or text_encoder, or "
    "use_gpu: false."
)


class PairEncoder(nn.Module):
    """A language model and its pooling, without the normalisation of vectors that may follow.

    Its state holds what is trained; frozen weights are those of the pretrained model.

    Args:
        spec: The model.
        device: ``cpu`` or ``cuda``.
        layers: Layers to train, counted from the output; 0 freezes the model, None trains it whole.
        token_budget: Tokens a batch, padding included; a single pair may have more.

    Attributes:
        size: Size of a vector.
        max_length: Tokens that the model reads.
        tokenizer: The model's tokenizer.

    Raises:
        EncoderError: If the model cannot be loaded, or is no transformer, or has fewer layers.
    """

    def __init__(
        self, spec: EncoderSpec, *, device: str, layers: int | None, token_budget: int
    ) -> None:
        from sentence_transformers.sentence_transformer.modules import Normalize

        super().__init__()
        model = load_model(spec, device=device)
        if not poolings(model) or not callable(getattr(model, "tokenizer", None)):
            raise EncoderError(
                f"text_encoder: {spec.name} is no transformer that pools tokens, which reading a "
                "pair of texts needs. Choose another."
            )
        self.tokenizer: Any = model.tokenizer
        self.max_length = int(min(model.max_seq_length or 512, 8192))
        self.size = int(model.get_embedding_dimension())
        self.precision = spec.precision(device)
        self.budget = TokenBudget(token_budget, reader=spec.name)
        parts = [part for part in model.children() if not isinstance(part, Normalize)]
        self.parts = nn.Sequential(*parts).float()  # of a half precision, steps would be lost
        self._freeze(layers, name=spec.name)
        module: Any = self
        module.register_state_dict_post_hook(_drop_frozen)
        module.register_load_state_dict_pre_hook(_add_frozen)

    def vectors(self, pairs: Sequence[Pair]) -> Tensor:
        """Return the vectors ``(n, D)`` of pairs, at least one, those of like length read together.

        Raises:
            EncoderError: If memory does not hold a single pair.
        """

        def read(rows: list[int]) -> Tensor:
            columns = {key: [pairs[row][key] for row in rows] for key in pairs[0]}
            found: Tensor = self(self.tokenizer.pad(columns, return_tensors="pt"))
            return found

        lengths = [len(pair["input_ids"]) for pair in pairs]
        return self.budget.apply(read, lengths, remedy=REMEDY)

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors ``(B, D)`` of padded tokens ``(B, T)``."""
        device = next(self.parameters()).device
        placed = {name: value.to(device) for name, value in tokens.items()}
        is_bf16 = self.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            vectors: Tensor = self.parts(placed)["sentence_embedding"]
        return vectors.float()

    def _freeze(self, layers: int | None, *, name: str) -> None:
        """Freeze what comes before the last layers, and poolers, which nothing reads."""
        named = list(self.parts.named_parameters())
        first = 0
        if layers is not None:
            lists = [part for part in self.parts.modules() if isinstance(part, nn.ModuleList)]
            stack: Any = max(lists, key=len, default=nn.ModuleList())
            if layers > len(stack):
                raise EncoderError(
                    f"classifier_layers: {name} has {len(stack)} layers, received {layers}. Use at "
                    f"most {len(stack)}."
                )
            tuned = {id(p) for layer in stack[len(stack) - layers :] for p in layer.parameters()}
            places = [at for at, (_, p) in enumerate(named) if id(p) in tuned]
            first = min(places, default=len(named))
        for at, (place, parameter) in enumerate(named):
            parameter.requires_grad_(at >= first and ".pooler." not in place)


def _drop_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            state.pop(prefix + name, None)


def _add_frozen(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            state.setdefault(prefix + name, parameter.detach())
