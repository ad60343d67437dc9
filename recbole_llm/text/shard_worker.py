"""What encodes shards in processes of its own, such as actors of Ray's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from recbole_llm.errors import RecBoleLLMError
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import Shelf

logger = logging.getLogger(__name__)


class ShardWorker:
    """Encodes shards by one copy of the model.

    Args:
        shelf: Where they go; a folder that all machines share.
        spec: What to encode with.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, shelf: Shelf, spec: EncoderSpec, device: str) -> None:
        self.shelf = shelf
        self.encoder = TextEncoder(spec, device=device, cache=shelf.cache)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Encode the shard of a batch and return how many texts it was, or what is wrong.

        Errors go as words, for Ray wraps exceptions beyond recognition.
        """
        try:
            count = sum(self.shelf.encode(int(k), self.encoder) for k in batch["shard"])
        except RecBoleLLMError as error:
            return _told(str(error), error.exit_code)
        except Exception as error:
            logger.exception("Shard %s", batch["shard"])  # in Ray's logs
            return _told(f"not foreseen, {type(error).__name__}: {error}", 1)
        return {"texts": [count], "problem": [""], "exit_code": [0]}


def _told(problem: str, exit_code: int) -> dict[str, list[Any]]:
    return {"texts": [0], "problem": [problem], "exit_code": [exit_code]}
