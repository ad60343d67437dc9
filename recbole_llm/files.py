"""Files written whole or not at all, and their digests."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Return when a file's content is on the disk."""
    with path.open("r+b") as written:  # Windows syncs only what is open for writing
        os.fsync(written.fileno())


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it, synced, if the block succeeds."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def write_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write files, each whole or not at all, and the folders they lie in.

    Raises:
        OSError: If one cannot be written.
    """
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256(path: Path) -> str:
    """Return the sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
