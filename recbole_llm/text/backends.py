"""What runs an encoder's transformer: PyTorch, or a copy exported to another runtime.

All else of the model (tokenizer, pooling, normalisation) stays that of sentence-transformers. Its
own backends would need Optimum, whose releases forbid the transformers that it needs itself.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_llm.errors import EncoderError, how_to_install
from recbole_llm.hardware import has_compiler

Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Runs an exported transformer: named ``(B, L)`` arrays to hidden states ``(B, L, D)``."""
Save = Callable[[Path], None]
"""Writes an exported transformer into a folder."""


@dataclass(frozen=True)
class Backend:
    """A way to run a transformer.

    Attributes:
        precisions: What it computes in; bf16 only where the processor has it.
        packages: What must be installed beyond our own dependencies, as modules.
        extra: The extra of ours that brings them.
    """

    precisions: tuple[str, ...]
    packages: tuple[str, ...] = ()
    extra: str | None = None

    @property
    def is_torch(self) -> bool:
        """Whether PyTorch runs it, on any device; the others run on the processor."""
        return self.extra is None


BACKENDS: Mapping[str, Backend] = {
    "torch": Backend(("float32", "bf16")),
    "torch_compiled": Backend(("float32", "bf16")),
    "onnx": Backend(("float32", "int8"), ("onnx", "onnxruntime", "onnxscript"), "onnx"),
    "openvino": Backend(("float32", "bf16", "int8"), ("openvino", "nncf"), "openvino"),
}
MOST_CHECKED = 600  # tokens: a larger check takes longer than it is worth


class Exported(nn.Module):
    """Stands where a sentence-transformers module has its transformer.

    Args:
        run: The exported transformer.
        inputs: Names of what it reads.
        config: The transformer's configuration.
    """

    def __init__(self, run: Run, *, inputs: Sequence[str], config: Any) -> None:
        super().__init__()
        self.run, self.inputs, self.config = run, inputs, config

    def forward(self, **features: Any) -> dict[str, Tensor]:
        """Return the hidden states of padded token ids."""
        arrays = {name: features[name].cpu().numpy() for name in self.inputs}
        return {"last_hidden_state": torch.from_numpy(self.run(arrays))}


def require_backend(name: str) -> None:
    """Refuse a backend that this installation cannot run.

    Raises:
        EncoderError: If a package or a compiler is missing.
    """
    backend = BACKENDS[name]
    missing = [package for package in backend.packages if not importlib.util.find_spec(package)]
    if missing:
        remedy = how_to_install(backend.extra or name)
        raise EncoderError(f"text_backend: {name} needs {', '.join(missing)}. {remedy}")
    if name == "torch_compiled" and not has_compiler():
        raise EncoderError(
            "text_backend: torch_compiled needs a C++ compiler (g++, or what CXX names). Install "
            "one, or use torch."
        )


def replace_transformer(
    model: Any, *, backend: str, precision: str, fingerprint: Mapping[str, Any], cache: Path
) -> None:
    """Let a backend run a model's transformer; ``torch`` leaves it as it is.

    Args:
        model: A sentence-transformers model.
        backend: A name in ``BACKENDS``.
        precision: One of its precisions.
        fingerprint: What identifies the transformer.
        cache: Folder of exported transformers.

    Raises:
        EncoderError: If there is no transformer, or it cannot be exported.
        StoreError: If the disk is full.
    """
    if backend == "torch":
        return
    first = model[0]
    transformer = getattr(first, "model", None)
    if not isinstance(transformer, nn.Module) or not callable(getattr(model, "tokenizer", None)):
        raise EncoderError(
            f"text_backend: {backend} runs transformers, and {type(first).__name__} is none. Use "
            "torch."
        )
    if backend == "torch_compiled":
        first.model = torch.compile(transformer, dynamic=True)
        return
    from recbole_llm.text.exports import exported

    read = inspect.signature(transformer.forward).parameters
    inputs = [name for name in model.tokenizer(["a"]) if name in read]
    run = exported(
        transformer,
        examples=[example(model, inputs, length) for length in (4, _long(model))],
        backend=backend,
        precision=precision,
        fingerprint=fingerprint,
        cache=cache,
    )
    first.model = Exported(run, inputs=inputs, config=transformer.config)


def _long(model: Any) -> int:
    """Return the length of a batch whose short text is out of sight of its padding's end.

    A runtime may divide nothing by nothing there, where attention sees a window of tokens only.
    """
    config = model[0].model.config
    window = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None)
    if not window:
        return 7
    return int(min(2 * window + 2, model.max_seq_length or MOST_CHECKED, MOST_CHECKED))


def example(model: Any, inputs: Sequence[str], length: int) -> dict[str, Tensor]:
    """Return inputs of three texts, ``(3, length)``, of which one is shorter."""
    ids = model.tokenizer(["a b c d e f g h"])["input_ids"][0]
    row = (ids * length)[:length]
    values = {"input_ids": row, "attention_mask": [1] * length}
    rows = {name: torch.tensor([values.get(name, [0] * length)] * 3) for name in inputs}
    if "attention_mask" in rows:
        rows["attention_mask"][0, 2:] = 0
    return rows
