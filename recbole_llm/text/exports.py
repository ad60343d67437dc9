"""Transformers exported to other runtimes, once, and kept beside the vectors.

An export is compared with the transformer it was made of before it is kept.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from recbole_llm.errors import EncoderError, StoreError, first_line
from recbole_llm.files import sha256, sync, write_json
from recbole_llm.hardware import is_out_of_memory
from recbole_llm.text.backends import Run
from recbole_llm.text.entries import Entries

logger = logging.getLogger(__name__)

SCHEMA = 1
MANIFEST = "manifest.json"
GRAPH = 2**20  # bytes that a model without its weights may have
LEAST_COSINE = {"float32": 0.9999, "int8": 0.98}  # of an export's hidden states


class HiddenStates(nn.Module):
    """A transformer whose inputs have an order and whose output is one tensor.

    Args:
        transformer: A transformer of transformers.
        inputs: Names of its inputs.
    """

    def __init__(self, transformer: nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.transformer, self.inputs = transformer, inputs

    def forward(self, *values: Tensor) -> Tensor:
        """Return hidden states ``(B, L, D)`` of ``(B, L)`` inputs."""
        features = dict(zip(self.inputs, values, strict=True))
        states: Tensor = self.transformer(**features, return_dict=True).last_hidden_state
        return states


def exported(
    transformer: nn.Module,
    *,
    examples: Sequence[Mapping[str, Tensor]],
    backend: str,
    precision: str,
    fingerprint: Mapping[str, Any],
    cache: Path,
) -> Run:
    """Return a transformer in another runtime, exported if the cache does not have it.

    Args:
        transformer: In float32.
        examples: Two sets of inputs of different lengths: one to export by, one to check by.
        backend: ``onnx`` or ``openvino``.
        precision: What to compute in.
        fingerprint: What identifies the transformer.
        cache: Folder of exported transformers.

    Raises:
        EncoderError: If it cannot be exported, or gives other hidden states.
        StoreError: If the disk is full.
    """
    runtime = importlib.import_module(f"recbole_llm.text.runtimes.{backend}")
    weights = "int8" if precision == "int8" else "float32"
    about = {
        "schema": SCHEMA,
        "transformer": dict(fingerprint),
        "backend": backend,
        "weights": weights,
        "versions": {name: version(name) for name in ("torch", "transformers", *runtime.PACKAGES)},
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:40]
    module = HiddenStates(transformer, list(examples[0])).eval()
    size = GRAPH + 4 * sum(parameter.numel() for parameter in transformer.parameters())
    fill = partial(_fill, module=module, examples=examples, about=about, runtime=runtime, size=size)
    read = partial(_read, runtime=runtime, precision=precision)
    entries = Entries(cache, what="exported models")
    found = entries.read(key, read)
    if found is None:
        with entries.lock(key):
            found = entries.read(key, read, mend=True)  # another may have made it
            if found is None and entries.write(key, fill, size=size):
                found = read(cache / key)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # read once, whole
        if not Entries(Path(folder), what="exported models").write(key, fill, size=size):
            raise StoreError(
                f"neither {cache} nor {folder} takes an exported model. Set text_cache_dir to a "
                "folder that can be written."
            )
        return read(Path(folder) / key)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what converters say of themselves; standard output is for results alone.

    ONNX Runtime's quantiser sets up the root logger when it is imported, and NNCF the class of all
    loggers to come; both are undone.
    """
    root = logging.getLogger()
    level, handlers, kind = root.level, root.handlers[:], logging.getLoggerClass()
    for name in ("onnxruntime", "torch.onnx", "torch.utils.cpp_extension"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            root.setLevel(level)
            root.handlers[:] = handlers
            logging.setLoggerClass(kind)


def _fill(
    folder: Path,
    *,
    module: HiddenStates,
    examples: Sequence[Mapping[str, Tensor]],
    about: Mapping[str, Any],
    runtime: Any,
    size: int,
) -> None:
    """Export into a folder, check it, and write down what was written."""
    logger.info("Exporting the encoder to %s, once.", about["backend"])
    values = tuple(examples[0].values())
    try:
        with torch.no_grad(), _quiet():
            save = runtime.converted(module, values, is_int8=about["weights"] == "int8")
    except Exception as error:  # converters' errors have no base of their own
        raise _refusal(error, about) from None
    try:
        save(folder)
        _require_same(module, runtime.load(folder, precision=about["weights"]), examples[1], about)
    except Exception as error:
        _require_room(folder, size=size)
        if isinstance(error, OSError | EncoderError):
            raise
        raise _refusal(error, about) from None
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        sync(path)
    sums = {path.name: [path.stat().st_size, sha256(path)] for path in files}
    write_json(folder / MANIFEST, {**about, "files": sums})


def _refusal(error: Exception, about: Mapping[str, Any]) -> EncoderError:
    return EncoderError(
        f"text_backend: {about['backend']} cannot take this encoder: {first_line(error)} Use torch."
    )


def _require_room(folder: Path, *, size: int) -> None:
    """Fail as a file does on a full disk; of it converters say nothing, or lose a file's end.

    Raises:
        OSError: If there is no room for so many bytes.
    """
    room, block = folder / "room", bytes(2**20)
    with room.open("wb") as file:
        for begin in range(0, size, len(block)):
            file.write(block[: size - begin])
    sync(room)
    room.unlink()


def _require_same(
    module: HiddenStates, run: Run, example: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Refuse an export that took a length or a mask of its example for a constant."""
    with torch.no_grad():
        expected = module(*example.values())
    received = torch.from_numpy(run({name: value.numpy() for name, value in example.items()}))
    least = -1.0
    if received.shape == expected.shape:
        kept = example.get("attention_mask", torch.ones(expected.shape[:2])).bool()
        least = cosine_similarity(received[kept], expected[kept], dim=-1).min().item()
    if not least > LEAST_COSINE[about["weights"]]:
        raise EncoderError(
            f"text_backend: {about['backend']} gives other vectors of this encoder (cosine "
            f"{least:.4f} to PyTorch's). Use torch."
        )


def _read(folder: Path, *, runtime: Any, precision: str) -> Run:
    """Return what runs an entry.

    Raises:
        ValueError: If its files are not the ones written, or the runtime takes them for no model.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, (size, digest) in manifest["files"].items():
        path = folder / name
        if path.stat().st_size != size or sha256(path) != digest:
            raise ValueError(f"{name} is not the one written")
    try:
        run: Run = runtime.load(folder, precision=precision)
    except Exception as error:  # the runtimes' errors have no base of their own
        if is_out_of_memory(error):
            raise EncoderError(
                "text_encoder: memory does not hold the exported model. Give a smaller one."
            ) from None
        raise ValueError(f"it cannot be loaded: {first_line(error)}") from None
    return run
