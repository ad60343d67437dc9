"""Folders of a cache: each is written whole or not at all, by one process at a time."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from recbole_llm.errors import StoreError

logger = logging.getLogger(__name__)

FULL_DISK = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
DAMAGED = (OSError, ValueError, KeyError, TypeError, SafetensorError)

Content = TypeVar("Content")


def cache_folder(chosen: str | Path | None) -> Path:
    """Return the folder of the vector cache; the user's cache folder by default."""
    return Path(chosen or Path(platformdirs.user_cache_dir("recbole-llm")) / "vectors")


class Entries:
    """The entries of a cache, each a folder named by its key.

    Args:
        root: Folder of the cache.
        what: What its entries hold, for messages.
    """

    def __init__(self, root: Path, *, what: str) -> None:
        self.root, self.what = root, what

    @contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[None]:
        """Hold an entry's lock; the system frees it if its owner dies.

        Raises:
            Timeout: If another process holds it, and this one is not to wait.
        """
        lock = FileLock(self.root / f"{key}.lock")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=wait)
        except Timeout:
            raise
        except (OSError, NotImplementedError) as error:
            logger.warning(
                "%s: no lock (%s); two runs may both make %s.", self.root, error, self.what
            )
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def read(
        self, key: str, read: Callable[[Path], Content], *, mend: bool = False
    ) -> Content | None:
        """Return what ``read`` finds in an entry, or None where there is none or it is damaged.

        With ``mend``, for the lock's owner, a damaged entry is moved aside.
        """
        folder = self.root / key
        if not folder.is_dir():
            return None
        try:
            return read(folder)
        except DAMAGED as error:
            if mend:
                self._quarantine(folder, error)
            return None

    def write(self, key: str, fill: Callable[[Path], None], *, size: int) -> bool:
        """Fill a folder beside the entry's place and move it there whole.

        Args:
            key: Name of the entry.
            fill: Writes the entry's files into the folder given.
            size: Bytes it needs, for a message.

        Returns:
            Whether it was written: a folder that cannot be written is a warning.

        Raises:
            StoreError: If the disk is full.
        """
        for left in self.root.glob(f".{key}.*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        partial = self.root / f".{key}.{os.getpid()}"
        try:
            partial.mkdir(parents=True)
            fill(partial)
            partial.rename(self.root / key)
        except (OSError, SafetensorError) as error:
            self._explain(error, size=size)
            return False
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return True

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

    def _explain(self, error: Exception, *, size: int) -> None:
        """Say why an entry was not written; a full disk is an error, a read-only one is not."""
        words = str(error).lower()
        is_full = getattr(error, "errno", None) in FULL_DISK or "no space" in words
        if is_full or "too large" in words:
            raise StoreError(
                f"{self.root}: no room for {size} bytes of {self.what}. Free some, or set "
                "text_cache_dir to a folder with room."
            ) from None
        logger.warning("%s cannot be written (%s): %s are not kept.", self.root, error, self.what)
