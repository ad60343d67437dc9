"""A content-addressed cache of text vectors.

An entry is a folder named by what its vectors depend on: the encoder's fingerprint and the texts,
whatever their order. It is written whole or not at all, checked when it is read, and moved aside
and made again when it is damaged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recbole_llm.errors import StoreError
from recbole_llm.files import sha256, sync, write_json
from recbole_llm.text.encoders import Encoding, TextEncoder

logger = logging.getLogger(__name__)

SCHEMA = 1
VECTORS, MANIFEST = "vectors.safetensors", "manifest.json"
FULL_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@dataclass(frozen=True)
class StoredVectors:
    """Vectors aligned with the texts they were asked for.

    Attributes:
        vectors: ``(n, D)`` float32.
        key: Name of the cache entry.
        content: Digest of the texts and the encoder whatever its precision, which is a machine's.
        truncated: Number of distinct texts longer than the encoder reads.
        from_cache: Whether nothing had to be encoded.
        seconds: Time spent.
    """

    vectors: Tensor
    key: str
    content: str
    truncated: int
    from_cache: bool
    seconds: float


class VectorStore:
    """Gives the vectors of texts, from the cache or from the encoder.

    Args:
        root: Folder of the cache; the user's cache folder by default.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(platformdirs.user_cache_dir("recbole-llm")) / "vectors"

    def get(self, texts: Sequence[str], encoder: TextEncoder) -> StoredVectors:
        """Return the vectors of texts; a hit does not load the encoder.

        Two processes that ask at once encode once: the second waits. Where the folder cannot be
        written, the vectors are made anew and kept in memory only.

        Args:
            texts: At least one text, none of them empty.
            encoder: What encodes them if need be.

        Raises:
            StoreError: If the disk is full.
            EncoderError: If the encoder cannot be loaded.
        """
        begin = time.perf_counter()
        distinct = sorted(set(texts))
        fingerprint = encoder.fingerprint()
        key = _key(fingerprint, distinct)
        found = self._read(key, count=len(distinct))
        is_hit = found is not None
        if found is None:
            with self._lock(key):
                found = self._read(key, count=len(distinct), mend=True)  # another may have made it
                is_hit = found is not None
                if found is None:
                    found = encoder.encode(distinct)
                    self._write(key, found, fingerprint)
        place = {text: row for row, text in enumerate(distinct)}
        rows = torch.tensor([place[text] for text in texts], dtype=torch.long)
        seconds = time.perf_counter() - begin
        content = _key({**fingerprint, "dtype": None}, distinct)
        return StoredVectors(found.vectors[rows], key, content, found.truncated, is_hit, seconds)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the entry's lock; the system frees it if its owner dies."""
        lock = FileLock(self.root / f"{key}.lock")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, NotImplementedError) as error:
            logger.warning("%s: no lock (%s); two runs may both encode.", self.root, error)
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def _read(self, key: str, *, count: int, mend: bool = False) -> Encoding | None:
        """Return an entry, or None where there is none or it is damaged.

        With ``mend``, for the lock's owner, a damaged entry is moved aside.
        """
        folder = self.root / key
        if not folder.is_dir():
            return None
        try:
            return _read_entry(folder, count=count)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            if mend:
                self._quarantine(folder, error)
            return None

    def _quarantine(self, folder: Path, error: Exception) -> None:
        for number in range(1, 1000):
            aside = folder.with_name(f"{folder.name}.corrupt-{number}")
            if not aside.exists():
                break
        logger.warning("%s is damaged (%s): moved to %s, made again.", folder, error, aside.name)
        try:
            folder.rename(aside)
        except OSError as reason:
            logger.warning("%s cannot be moved aside (%s).", folder, reason)

    def _write(self, key: str, encoding: Encoding, fingerprint: dict[str, Any]) -> None:
        """Write an entry beside its place and move it there whole."""
        for left in self.root.glob(f".{key}.*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        partial = self.root / f".{key}.{os.getpid()}"
        try:
            partial.mkdir(parents=True)
            save_file({"vectors": encoding.vectors.contiguous()}, partial / VECTORS)
            sync(partial / VECTORS)
            write_json(partial / MANIFEST, _manifest(partial / VECTORS, encoding, fingerprint))
            partial.rename(self.root / key)
        except (OSError, SafetensorError) as error:
            self._explain(encoding, error)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _explain(self, encoding: Encoding, error: Exception) -> None:
        """Say why an entry was not written; a full disk is an error, a read-only one is not."""
        words = str(error).lower()
        is_full = getattr(error, "errno", None) in FULL_DISK or "no space" in words
        if is_full or "too large" in words:
            needed = encoding.vectors.numel() * 4
            raise StoreError(
                f"{self.root}: no room for {needed} bytes of text vectors. Free some, or set "
                "text_cache_dir to a folder with room."
            ) from None
        logger.warning("%s cannot be written (%s): vectors are not kept.", self.root, error)


def _key(fingerprint: dict[str, Any], distinct: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps([SCHEMA, fingerprint], sort_keys=True).encode())
    for text in distinct:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()[:40]


def _manifest(file: Path, encoding: Encoding, fingerprint: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "encoder": fingerprint,
        "shape": list(encoding.vectors.shape),
        "bytes": file.stat().st_size,
        "sha256": sha256(file),
        "truncated": encoding.truncated,
        "tokens": encoding.tokens,
    }


def _read_entry(folder: Path, *, count: int) -> Encoding:
    """Read and verify an entry.

    Raises:
        ValueError: If anything is not as the manifest says, or not finite.
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    file = folder / VECTORS
    if file.stat().st_size != manifest["bytes"] or sha256(file) != manifest["sha256"]:
        raise ValueError("its vectors are not the ones written")
    vectors = load_file(file)["vectors"]
    if list(vectors.shape) != manifest["shape"] or len(vectors) != count:
        raise ValueError(f"its shape is {tuple(vectors.shape)}, {count} texts were asked for")
    if not torch.isfinite(vectors).all():
        raise ValueError("its vectors are not all finite")
    return Encoding(vectors, manifest["truncated"], manifest["tokens"])
