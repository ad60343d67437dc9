"""Texts to vectors by a language model, over sentence-transformers.

Letters: n texts, D text-vector size.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from recbole_llm.errors import EncoderError, NonFiniteError
from recbole_llm.text.batches import TokenBudget
from recbole_llm.text.entries import cache_folder
from recbole_llm.text.models import EncoderSpec, load_model, poolings, tokenizer_options

logger = logging.getLogger(__name__)

CPU_TOKENS, GPU_TOKENS = 2048, 65536  # tokens a batch: more only spills out of the CPU's cache
REMEDY = "Set text_max_length, a smaller text_encoder, or use_gpu: false."
OUR_OPTIONS = {"padding", "truncation", "max_length", "return_tensors", "logits_to_keep"}
MOST_TOKENS = 2**31 - 1  # a tokenizer without a limit of its own says 10**30


@dataclass(frozen=True)
class Encoding:
    """Vectors of texts.

    Attributes:
        vectors: ``(n, D)`` float32, in the order of the texts.
        truncated: Number of distinct texts longer than the model reads.
        tokens: Number of tokens encoded.
        cut: Rows of the longer texts.
        seconds: How long it took, a model's loading apart; None where that is not known.
    """

    vectors: Tensor
    truncated: int
    tokens: int
    cut: Sequence[int] = ()
    seconds: float | None = None


class Encoder(Protocol):
    """What gives vectors to texts: a language model, or counts of words."""

    @property
    def name(self) -> str:
        """How messages call it."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the vectors."""

    def encode(self, texts: Sequence[str]) -> Encoding:
        """Encode texts, none of them empty."""


class TextEncoder:
    """Encodes texts; the model is loaded when the first text is encoded.

    Each distinct text is tokenised once and encoded once, in batches of similar length that hold a
    number of tokens rather than of texts, in bf16 where the hardware has it.

    Args:
        spec: What to encode with.
        device: ``cpu`` or ``cuda``; what PyTorch does not run, runs on the processor.
        cache: Folder of the vector cache, which keeps exported models too.
        token_budget: Tokens a batch, padding included; chosen by device by default.
        show_progress: Whether to show a progress bar.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        *,
        device: str = "cpu",
        cache: str | Path | None = None,
        token_budget: int | None = None,
        show_progress: bool = False,
    ) -> None:
        self.spec = spec
        self.device = device if spec.is_torch else "cpu"
        self.cache = cache_folder(cache)
        most = token_budget or (CPU_TOKENS if self.device == "cpu" else GPU_TOKENS)
        self.budget = TokenBudget(most, reader=spec.name)
        self.show_progress = show_progress

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @functools.cached_property
    def model(self) -> Any:
        """The sentence-transformers model.

        Raises:
            EncoderError: If it cannot be found, loaded or trusted.
        """
        return load_model(self.spec, device=self.device, cache=self.cache)

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the vectors; a Hugging Face id is fetched to know its commit.

        Raises:
            EncoderError: If it cannot be fetched.
        """
        if not (self.spec.is_bundled or self.spec.folder() or self.spec.commit()):
            _ = self.model
        return self.spec.fingerprint(self.device)

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
        model, begin = self.model, time.perf_counter()
        if callable(getattr(model, "tokenizer", None)):
            tokens, cut = self._tokenize(distinct)
            vectors = self._vectors(tokens)
        else:  # static vectors of words, say: nothing to batch by length, and nothing is cut
            tokens, cut = {"input_ids": []}, []
            vectors = self._plain_vectors(distinct)
        finite = torch.isfinite(vectors).all(1)
        if not finite.all():
            first = distinct[int((~finite).nonzero()[0])]
            raise NonFiniteError(
                f"{self.spec.name}: {int((~finite).sum())} vectors are not finite, the first of "
                f"{first[:80]!r}.{self._exacter()}"
            )
        rows = torch.tensor([place[text] for text in texts], dtype=torch.long)
        count = sum(map(len, tokens["input_ids"]))
        long = {distinct[row] for row in cut}
        rows_cut = [row for row, text in enumerate(texts) if text in long] if long else []
        seconds = time.perf_counter() - begin
        return Encoding(vectors[rows], len(cut), count, rows_cut, seconds)

    def _exacter(self) -> str:
        """Return what may give finite vectors where these are not."""
        if self.spec.precision(self.device) != "float32":
            return " Try text_dtype: float32."
        return "" if self.spec.is_torch else " Try text_backend: torch."

    def token_lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, marks included, before any is cut off."""
        prompted = [self.spec.prompt + text for text in texts]
        tokens = self._tokenizer(prompted, truncation=False, verbose=False)
        return [len(ids) for ids in tokens["input_ids"]]

    def tokens(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Return the token lists of texts, cut to what the model reads, by input of the model."""
        return self._tokenize(list(texts))[0]

    def _tokenize(self, texts: list[str]) -> tuple[dict[str, list[list[int]]], list[int]]:
        """Return the token lists of texts, and the rows of the texts that were cut."""
        tokenizer, limit = self._tokenizer, self.model.max_seq_length
        if limit is not None and limit > MOST_TOKENS:
            limit = None
        prompted = [self.spec.prompt + text for text in texts]
        tokens = dict(tokenizer(prompted, truncation=limit is not None, max_length=limit))
        full = [row for row, ids in enumerate(tokens["input_ids"]) if len(ids) == limit]
        if not full:
            return tokens, []
        whole = tokenizer([prompted[row] for row in full], truncation=False, verbose=False)
        pairs = zip(full, whole["input_ids"], strict=True)
        return tokens, [row for row, ids in pairs if len(ids) > limit]

    def _vectors(self, tokens: dict[str, list[list[int]]]) -> Tensor:
        """Return the vectors of tokenised texts, ``(n, D)``."""
        lengths = [len(ids) for ids in tokens["input_ids"]]
        bar = tqdm(total=len(lengths), desc="Encode", disable=not self.show_progress)
        with torch.no_grad(), bar as progress:
            read = functools.partial(self._forward, tokens)
            return self.budget.apply(read, lengths, remedy=REMEDY, progress=progress)

    def _forward(self, tokens: dict[str, list[list[int]]], rows: list[int]) -> Tensor:
        batch = {key: [values[row] for row in rows] for key, values in tokens.items()}
        padded = self.model.tokenizer.pad(batch, return_tensors="pt").to(self.device)
        kind = self.device.split(":")[0]
        is_bf16 = self.spec.precision(self.device) == "bf16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=is_bf16):
            vectors = self.embed(padded)
        return vectors.cpu().clone()

    def embed(self, tokens: Mapping[str, Any]) -> Tensor:
        """Return the vectors of a padded batch of tokenised texts, ``(n, D)``, with gradients."""
        vectors = self.model(dict(tokens) | self._excluded)["sentence_embedding"]
        return self._shortened(vectors.float())

    def _plain_vectors(self, texts: list[str]) -> Tensor:
        """Return the vectors of texts by a model that has no tokenizer of transformers."""
        vectors = self.model.encode(
            [self.spec.prompt + text for text in texts],
            prompt="",  # not the model's own
            convert_to_tensor=True,
            show_progress_bar=self.show_progress,
        )
        return self._shortened(vectors.float()).cpu()

    @functools.cached_property
    def _tokenizer(self) -> Callable[..., Any]:
        """The model's tokenizer, called as the model's own files say."""
        options = tokenizer_options(self.model)
        kept = {key: value for key, value in options.items() if key not in OUR_OPTIONS}
        return functools.partial(self.model.tokenizer, **kept)

    @functools.cached_property
    def _excluded(self) -> dict[str, int]:
        """The prompt's length, for models that do not pool over it (INSTRUCTOR)."""
        if not self.spec.prompt or all(
            part.include_prompt for part in poolings(self.model).values()
        ):
            return {}
        tokenizer = self.model.tokenizer
        ids = tokenizer(self.spec.prompt)["input_ids"]
        return {"prompt_length": len(ids) - (ids[-1] in tokenizer.all_special_ids)}

    def _shortened(self, vectors: Tensor) -> Tensor:
        """Return the first entries of vectors, of length 1 where the model's are.

        The truncation of Matryoshka representations (Kusupati et al., 2022, arXiv 2205.13147).
        """
        from sentence_transformers.sentence_transformer.modules import Normalize

        dim, size = self.spec.dim, vectors.shape[1]
        if dim is None:
            return vectors
        if dim > size:
            raise EncoderError(
                f"text_dim: the vectors of {self.spec.name} have {size} entries, received {dim}. "
                f"Use at most {size}."
            )
        is_normal = any(isinstance(part, Normalize) for part in self.model.children())
        return normalize(vectors[:, :dim], dim=1) if is_normal else vectors[:, :dim]
