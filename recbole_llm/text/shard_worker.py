"""What encodes shards in processes of its own, such as actors of Ray's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from recbole_llm.errors import RecBoleLLMError, StoreError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import TEXTS, Shelf

logger = logging.getLogger(__name__)

TRIES = ".tries"


class ShardWorker:
    """Encodes shards by one copy of the model.

    A worker that dies leaves nothing but the tries that it has counted, and Ray would give a shard
    that kills each of its workers, as for want of memory, to one worker after another.

    Args:
        shelf: Where they go; a folder that all machines share.
        spec: What to encode with.
        device: ``cpu`` or ``cuda``.
    """

    most_tries = 4

    def __init__(self, shelf: Shelf, spec: EncoderSpec, device: str) -> None:
        self.shelf = shelf
        self.encoder = TextEncoder(spec, device=device, cache=shelf.cache)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Encode the shard of a batch and return how many texts it was, or what is wrong.

        Errors go as words, for Ray wraps exceptions beyond recognition.
        """
        try:
            (shard,) = map(int, batch["shard"])
            self._count_try(shard)
            count = self.shelf.encode(shard, self.encoder)
        except RecBoleLLMError as error:
            return _told(str(error), error.exit_code)
        except Exception as error:
            logger.exception("Shard %s", batch["shard"])  # in Ray's logs
            return _told(f"not foreseen, {type(error).__name__}: {error}", 1)
        return {"texts": [count], "problem": [""], "exit_code": [0]}

    def _count_try(self, shard: int) -> None:
        """Count a try of a shard.

        Raises:
            StoreError: If there were too many.
        """
        place = self.shelf.folder / TEXTS
        if not place.is_dir():
            return  # which encoding says better
        with (place / f"{shard}{TRIES}").open("ab") as file:
            file.write(b".")
            tries = file.tell()
        if tries > self.most_tries:
            raise StoreError(
                f"shard {shard} has ended {self.most_tries} workers, perhaps for want of memory, "
                "which more --shards need less of. The shards that are done are kept."
            )


def forget_tries(shelf: Shelf) -> None:
    """Let a command begin with no tries; those of one that failed do not count."""
    for file in (shelf.folder / TEXTS).glob(f"*{TRIES}"):
        file.unlink(missing_ok=True)


def _told(problem: str, exit_code: int) -> dict[str, list[Any]]:
    return {"texts": [0], "problem": [problem], "exit_code": [exit_code]}
