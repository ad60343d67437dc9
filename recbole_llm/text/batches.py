"""Texts in batches of like length that memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recbole_llm.errors import EncoderError, first_line
from recbole_llm.hardware import is_out_of_memory

logger = logging.getLogger(__name__)


class TokenBudget:
    """How many tokens a batch of texts has, halved where memory does not hold as many.

    Args:
        tokens: Tokens a batch, padding included; a single text may have more.
        reader: Name of what reads the texts, for messages.
    """

    def __init__(self, tokens: int, *, reader: str) -> None:
        self.tokens, self.reader = tokens, reader
        self._said = ""  # by what read last, when memory did not hold its batch

    def apply(
        self,
        read: Callable[[list[int]], Tensor],
        lengths: Sequence[int],
        *,
        remedy: str,
        progress: Any = None,
    ) -> Tensor:
        """Return what ``read`` makes of all texts, ``(n, D)``, in their order.

        Args:
            read: Maps k rows to ``(k, D)``.
            lengths: Tokens of each text, ``(n,)``, at least one.
            remedy: What to do where memory does not hold a single text.
            progress: A bar to move on by each batch.

        Raises:
            EncoderError: If memory does not hold a single text.
        """
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        found: list[Tensor] = []
        begin = 0
        while begin < len(order):
            longest = lengths[order[begin]]
            rows = order[begin : begin + max(1, self.tokens // longest)]
            part = self._tried(read, rows)
            if part is None:  # its error, and the memory that it held, are gone
                self._halve(longest, remedy)
                continue
            found.append(part)
            begin += len(rows)
            if progress is not None:
                progress.update(len(rows))
        return torch.cat(found)[torch.tensor(order).argsort().to(found[0].device)]

    def _tried(self, read: Callable[[list[int]], Tensor], rows: list[int]) -> Tensor | None:
        try:
            return read(rows)
        except Exception as error:  # the runtimes' errors have no base of their own
            if not is_out_of_memory(error):
                raise
            self._said = first_line(error)
            return None

    def _halve(self, longest: int, remedy: str) -> None:
        """Go on with half the tokens, or give up where a batch was one text already."""
        if self.tokens <= longest:
            beside = " beside what a step keeps for gradients" if torch.is_grad_enabled() else ""
            raise EncoderError(
                f"{self.reader}: memory does not hold one text of {longest} tokens{beside}: "
                f"{self._said} {remedy}"
            )
        self.tokens //= 2
        torch.cuda.empty_cache()
        logger.warning("Out of memory: trying batches of %d tokens.", self.tokens)
