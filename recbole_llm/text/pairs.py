"""A history and a candidate as one input of a language model, from items tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_llm.errors import EncoderError

SEPARATOR = ";"  # between the items of a history
Pair = dict[str, list[int]]


class PairTokens:
    """Makes the tokens of pairs: the items of a history, the oldest first, and a candidate.

    Each item is tokenised once. A pair is put together as the tokenizer puts two texts together,
    with its marks and types of tokens. Where a pair would be too long, the oldest items of the
    history are left out, whole ones; a candidate has at most half of the room.

    Attributes:
        truncated: Items whose text alone is longer than a pair.

    Args:
        tokenizer: A fast tokenizer of transformers.
        texts: Text of each item, ``(N,)``; None where an item has none, as padding.
        max_length: Tokens of a pair, marks included.
        prompt: Words before the history.

    Raises:
        EncoderError: If ``max_length`` has no room for two texts.
    """

    def __init__(
        self, tokenizer: Any, texts: Sequence[str | None], *, max_length: int, prompt: str = ""
    ) -> None:
        self.tokenizer = tokenizer
        self.has_types = "token_type_ids" in tokenizer.model_input_names
        self._set_marks(self._plain([prompt])[0] if prompt else [])
        marks = sum(map(len, self._marks))
        self.room = max_length - marks
        if self.room < 2:
            raise EncoderError(
                f"text_max_length: {marks} tokens are marks and prompt, so that two texts need at "
                f"least {marks + 2}, received {max_length}."
            )
        (self._separator,) = self._plain([SEPARATOR])
        whole = self._plain([text or "" for text in texts])
        self.items = [ids[: self.room] for ids in whole]
        self.truncated = sum(len(ids) > self.room for ids in whole)

    def join(self, history: Sequence[int], candidate: int) -> Pair:
        """Return the tokens of a pair.

        Args:
            history: Items, the oldest first; there need be none.
            candidate: An item.
        """
        second = self.items[candidate]
        if len(second) > self.room // 2 and history:
            second = second[: self.room // 2]
        first = self._newest(history, room=self.room - len(second))
        before, between, after = self._marks
        ids = [*before, *first, *between, *second, *after]
        if not self.has_types:
            return {"input_ids": ids}
        lengths = (len(before) + len(first) + len(between), len(second) + len(after))
        types = [kind for kind, n in zip(self._types, lengths, strict=True) for _ in range(n)]
        return {"input_ids": ids, "token_type_ids": types}

    def _newest(self, history: Sequence[int], *, room: int) -> list[int]:
        """Return the tokens of the newest items that there is room for, the oldest first."""
        pieces: list[list[int]] = []
        for item in reversed(history):
            piece = self.items[item] + (self._separator if pieces else [])
            if len(piece) > room:
                if not pieces:
                    pieces.append(piece[:room])
                break
            pieces.append(piece)
            room -= len(piece)
        return [token for piece in reversed(pieces) for token in piece]

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        tokens = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return list(tokens["input_ids"])

    def _set_marks(self, prompt: list[int]) -> None:
        """Find what the tokenizer puts before, between and after two texts, and their types."""
        sample = self.tokenizer("a", "a")
        ids, places = sample["input_ids"], sample.sequence_ids(0)
        first = [at for at, place in enumerate(places) if place == 0]
        second = [at for at, place in enumerate(places) if place == 1]
        between = ids[first[-1] + 1 : second[0]] or self._plain(["\n"])[0]  # GPT has no mark
        self._marks = (ids[: first[0]] + prompt, between, ids[second[-1] + 1 :])
        types = sample["token_type_ids"] if self.has_types else [0] * len(ids)
        self._types = (types[first[0]], types[second[0]])
