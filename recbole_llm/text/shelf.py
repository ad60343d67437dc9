"""Vectors of very many texts, made in bounded memory by any number of processes.

A shelf is a folder of shards. A text belongs to the shard that its digest says, so that each
distinct text is encoded once however often it occurs, and is found again by its digest. A shard is
written whole or not at all. Letters: n texts, D text-vector size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from platform import node
from typing import Any

import numpy as np
import torch
from filelock import Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor

from recbole_llm.errors import StoreError
from recbole_llm.files import sha256, sync, write_json
from recbole_llm.text.encoders import Encoding, TextEncoder
from recbole_llm.text.entries import DAMAGED, Entries

logger = logging.getLogger(__name__)

SCHEMA = 1
SHELVES, TEXTS = "shelves", "texts"
PLAN, MANIFEST, VECTORS = "shelf.json", "manifest.json", "vectors.safetensors"
MOST_SHARDS = 512  # files that are open at once while texts are scattered
BLOCK = 2**14  # texts that are tokens at once


@dataclass(frozen=True)
class Shelf:
    """A shelf in the making.

    Attributes:
        cache: Folder of the vector cache.
        encoder: Fingerprint of the encoder.
        source: What identifies the texts.
        num_shards: K.
    """

    cache: Path
    encoder: Mapping[str, Any]
    source: Mapping[str, Any]
    num_shards: int

    @property
    def folder(self) -> Path:
        """Where the shelf lies."""
        about = [SCHEMA, dict(self.encoder), dict(self.source), self.num_shards]
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        return self.cache / SHELVES / digest.hexdigest()[:40]

    @property
    def entries(self) -> Entries:
        """Its shards, and its texts while it is in the making."""
        return Entries(self.folder, what="text vectors")

    def missing(self) -> list[int]:
        """Return the shards that are not there or damaged; damaged ones are moved aside."""
        return [k for k in range(self.num_shards) if self._manifest(k, mend=True) is None]

    def scatter(self, blocks: Iterable[Sequence[str]], *, size: int) -> None:
        """Write texts to a file a shard, unless it has been done.

        Args:
            blocks: The texts, some at a time.
            size: About how many bytes they are, for a message.

        Raises:
            StoreError: If they cannot be written.
        """
        with self.entries.lock(TEXTS):
            if (self.folder / TEXTS).is_dir():
                return
            if not self.entries.write(TEXTS, partial(self._scatter, blocks), size=size):
                raise StoreError(
                    f"{self.folder}: cannot be written. Set text_cache_dir to a folder with room."
                )

    def _scatter(self, blocks: Iterable[Sequence[str]], folder: Path) -> None:
        with ExitStack() as stack:
            files = [
                stack.enter_context((folder / f"{k}.jsonl").open("w", encoding="ascii"))
                for k in range(self.num_shards)
            ]
            for block in blocks:
                for text in dict.fromkeys(block):
                    shard = _digest(text)[0] * self.num_shards >> 64
                    files[shard].write(json.dumps(text) + "\n")

    def encode_free(self, shard: int, encoder: TextEncoder) -> int | None:
        """Encode a shard as :meth:`encode`, or return None if another process is at it."""
        try:
            return self.encode(shard, encoder, wait=False)
        except Timeout:
            return None

    def encode(self, shard: int, encoder: TextEncoder, *, wait: bool = True) -> int:
        """Encode a shard if no process has, and return how many texts were encoded.

        Raises:
            StoreError: If its vectors cannot be written.
            Timeout: If another process is at it, and this one is not to wait.
        """
        with self.entries.lock(str(shard), wait=wait):
            if self._manifest(shard, mend=True) is not None:
                return 0
            texts = self._texts(shard)
            blocks = [
                encoder.encode(texts[begin : begin + BLOCK])
                for begin in range(0, len(texts), BLOCK)
            ]
            vectors = torch.cat([block.vectors for block in blocks] or [torch.zeros(0, 0)])
            cut = torch.zeros(len(texts), dtype=torch.bool)
            cut[[k * BLOCK + row for k, block in enumerate(blocks) for row in block.cut]] = True
            keys = torch.from_numpy(_digests(texts).view(np.int64))
            tensors = {"keys": keys, "vectors": vectors, "cut": cut}
            fill = partial(_write_shard, tensors=tensors)
            if not self.entries.write(str(shard), fill, size=vectors.numel() * 4):
                raise StoreError(
                    f"{self.folder}: cannot be written. Choose another text_cache_dir."
                )
            return len(texts)

    def _texts(self, shard: int) -> list[str]:
        """Return the distinct texts of a shard.

        Raises:
            StoreError: If they are not there.
        """
        try:
            with (self.folder / TEXTS / f"{shard}.jsonl").open(encoding="ascii") as file:
                return sorted({json.loads(line) for line in file}, key=_digest)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: the texts of shard {shard} cannot be read on {node()} "
                f"({error.strerror}). text_cache_dir must be a folder that every machine sees "
                "under one path."
            ) from None

    def finish(self) -> dict[str, Any]:
        """Let the shelf be found, once all shards are there, and return its facts.

        Raises:
            StoreError: If a shard is missing.
        """
        manifests = [self._manifest(k) for k in range(self.num_shards)]
        there = [manifest for manifest in manifests if manifest is not None]
        if len(there) < self.num_shards:
            raise StoreError(
                f"{self.folder}: {self.num_shards - len(there)} shards are missing. Run again."
            )
        facts = {
            "texts": sum(manifest["shape"][0] for manifest in there),
            "dim": max(manifest["shape"][1] for manifest in there),
            "truncated": sum(manifest["truncated"] for manifest in there),
        }
        plan = {"schema": SCHEMA, "encoder": dict(self.encoder), "source": dict(self.source)}
        write_json(self.folder / PLAN, {**plan, "shards": self.num_shards, **facts})
        shutil.rmtree(self.folder / TEXTS, ignore_errors=True)
        return facts

    def _manifest(self, shard: int, *, mend: bool = False) -> dict[str, Any] | None:
        plan = self.folder / PLAN
        try:
            dim = json.loads(plan.read_text(encoding="utf-8"))["dim"] if plan.is_file() else None
        except DAMAGED:
            dim = None  # the plan is written anew in the end
        found = self.entries.read(str(shard), partial(_read_shard, dim=dim), mend=mend)
        return None if found is None else found[0]


def find(cache: Path, encoder: Mapping[str, Any], texts: Sequence[str]) -> Encoding | None:
    """Return the vectors of distinct texts, ``(n, D)``, if a shelf of the encoder has them all.

    Args:
        cache: Folder of the vector cache.
        encoder: The encoder's fingerprint.
        texts: At least one.
    """
    for file in sorted((cache / SHELVES).glob(f"*/{PLAN}")):
        try:
            plan = json.loads(file.read_text(encoding="utf-8"))
            is_ours = plan["schema"] == SCHEMA and plan["encoder"] == encoder
            if is_ours and plan["texts"] >= len(texts):
                found = _gather(file.parent, plan, texts)
                if found is not None:
                    return found
        except DAMAGED as error:
            logger.warning(
                "%s is damaged (%s): encode --shards again mends it.", file.parent, error
            )
    return None


def _gather(folder: Path, plan: Mapping[str, Any], texts: Sequence[str]) -> Encoding | None:
    """Return the vectors of texts from the shards, one shard in memory at a time."""
    wanted = _digests(texts)
    shards = np.array([int(key) * plan["shards"] >> 64 for key in wanted[:, 0]])
    vectors, cut = torch.zeros(len(texts), plan["dim"]), []
    for shard in np.unique(shards):
        _, tensors = _read_shard(folder / str(shard), dim=plan["dim"])
        keys = tensors["keys"].numpy().view(np.uint64)
        places = np.flatnonzero(shards == shard)
        rows = np.searchsorted(keys[:, 0], wanted[places, 0])
        if not len(keys) or not (keys[rows.clip(max=len(keys) - 1)] == wanted[places]).all():
            return None
        vectors[places] = tensors["vectors"][rows]
        cut += places[tensors["cut"][rows].numpy()].tolist()
    return Encoding(vectors, len(cut), 0, cut)


def _digest(text: str) -> tuple[int, int]:
    """Return 128 bits of a text's digest; the first 64 order and place it."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")


def _digests(texts: Sequence[str]) -> np.ndarray:
    """Return the digests of texts, ``(n, 2)`` uint64."""
    return np.array([_digest(text) for text in texts], dtype=np.uint64).reshape(-1, 2)


def _write_shard(folder: Path, *, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), folder / VECTORS)
    sync(folder / VECTORS)
    manifest = {
        "shape": list(tensors["vectors"].shape),
        "truncated": int(tensors["cut"].sum()),
        "bytes": (folder / VECTORS).stat().st_size,
        "sha256": sha256(folder / VECTORS),
    }
    write_json(folder / MANIFEST, manifest)


def _read_shard(folder: Path, *, dim: int | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a shard's manifest and tensors.

    Args:
        folder: The shard.
        dim: D of the shelf, where that is known.

    Raises:
        ValueError: If its vectors are not the ones written, or none that a shelf can hold.
    """
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    file = folder / VECTORS
    if file.stat().st_size != manifest["bytes"] or sha256(file) != manifest["sha256"]:
        raise ValueError(f"the vectors of shard {folder.name} are not the ones written")
    tensors = load_file(file)
    num, width = manifest["shape"]
    shapes = {"keys": (num, 2), "vectors": (num, width), "cut": (num,)}
    if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != shapes:
        raise ValueError(f"the tensors of shard {folder.name} are of other shapes than it says")
    if num and width != (dim or width):
        raise ValueError(f"the vectors of shard {folder.name} have {width} entries, not {dim}")
    if not torch.isfinite(tensors["vectors"]).all():
        raise ValueError(f"the vectors of shard {folder.name} are not all finite")
    return manifest, tensors
