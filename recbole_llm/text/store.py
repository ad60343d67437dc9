"""A content-addressed cache of text vectors.

An entry is a folder named by what its vectors depend on: the encoder's fingerprint and the texts,
whatever their order. It is written whole or not at all, checked when it is read, and moved aside
and made again when it is damaged. Vectors of very many texts lie in a shelf beside the entries.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from recbole_llm.files import sha256, sync, write_json
from recbole_llm.text.encoders import Encoder, Encoding
from recbole_llm.text.entries import Entries, cache_folder
from recbole_llm.text.shelf import find

SCHEMA = 1
VECTORS, MANIFEST = "vectors.safetensors", "manifest.json"


@dataclass(frozen=True)
class StoredVectors:
    """Vectors aligned with the texts they were asked for.

    Attributes:
        vectors: ``(n, D)`` float32.
        key: Name of the cache entry.
        content: Digest of the texts and the encoder, the same in float32 and bf16, which a machine
            chooses.
        truncated: Number of distinct texts longer than the encoder reads.
        from_cache: Whether nothing had to be encoded.
        seconds: Time spent.
        per_second: Distinct texts encoded a second when they were encoded, whenever that was; None
            where it is not known, as of vectors of a shelf.
    """

    vectors: Tensor
    key: str
    content: str
    truncated: int
    from_cache: bool
    seconds: float
    per_second: float | None = None


class VectorStore:
    """Gives the vectors of texts, from the cache or from the encoder.

    Args:
        root: Folder of the cache; the user's cache folder by default.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_folder(root)
        self.entries = Entries(self.root, what="text vectors")

    def get(self, texts: Sequence[str], encoder: Encoder) -> StoredVectors:
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
        read = partial(_read_entry, count=len(distinct))
        found = self.entries.read(key, read) or find(self.root, fingerprint, distinct)
        is_hit = found is not None
        if found is None:
            with self.entries.lock(key):
                found = self.entries.read(key, read, mend=True)  # another may have made it
                is_hit = found is not None
                if found is None:
                    found = encoder.encode(distinct)
                    fill = partial(_write_entry, encoding=found, fingerprint=fingerprint)
                    self.entries.write(key, fill, size=found.vectors.numel() * 4)
        place = {text: row for row, text in enumerate(distinct)}
        rows = torch.tensor([place[text] for text in texts], dtype=torch.long)
        seconds = time.perf_counter() - begin
        content = content_digest(fingerprint, distinct)
        rate = len(distinct) / found.seconds if found.seconds else None
        return StoredVectors(
            found.vectors[rows], key, content, found.truncated, is_hit, seconds, rate
        )


def content_digest(fingerprint: dict[str, Any], texts: Iterable[str]) -> str:
    """Return the digest of texts and an encoder that is the same on machines of other precision.

    Args:
        fingerprint: The encoder's.
        texts: The texts; order and repetition do not count.
    """
    is_coarse = fingerprint["dtype"] == "int8"  # which is chosen, not a machine's
    return _key({**fingerprint, "dtype": "int8" if is_coarse else None}, sorted(set(texts)))


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
        "seconds": encoding.seconds,
    }


def _write_entry(folder: Path, *, encoding: Encoding, fingerprint: dict[str, Any]) -> None:
    save_file({"vectors": encoding.vectors.contiguous()}, folder / VECTORS)
    sync(folder / VECTORS)
    write_json(folder / MANIFEST, _manifest(folder / VECTORS, encoding, fingerprint))


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
    seconds = manifest.get("seconds")  # entries of older versions do not say
    return Encoding(vectors, manifest["truncated"], manifest["tokens"], seconds=seconds)
