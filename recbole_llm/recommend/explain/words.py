"""Which words of which titles an interest comes from, by integrated gradients.

Letters: L events, S steps of the path, C of them at once, n texts, W tokens of the longest, E size
of a token's vector, D size of a text vector, H item-vector size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from recbole_llm.errors import RequestError
from recbole_llm.recommend.explain.counterfactual import Case
from recbole_llm.recommend.texts import NewTexts
from recbole_llm.text.encoders import MOST_TOKENS, TextEncoder

STEPS, TOKENS = 64, 4096  # of the path; encoded at once


@dataclass(frozen=True)
class Words:
    """What each word of an event's text does for an item.

    Attributes:
        event: Number of the event, from 1.
        words: Words as they stand in the text, and their parts of the score, in their order.
    """

    event: int
    words: list[tuple[str, float]]


@dataclass(frozen=True)
class Attribution:
    """What the words of a history do for an item.

    Attributes:
        events: Those that the model reads and that have a text, in their order.
        total: The item's score above the mean item's, minus what it is without any word.
        gap: By how much the parts of all words miss ``total``, as a share of it; more steps, less.
    """

    events: list[Words]
    total: float
    gap: float


def attribute(case: Case, *, steps: int = STEPS, show_progress: bool = False) -> Attribution:
    """Return what each word of the texts of a history does for an item.

    Integrated gradients (Sundararajan et al., 2017, arXiv 1703.01365) of the item's score above the
    mean item's, through model and text encoder, along the line from texts whose words are all
    padding to the texts: the parts of all words sum to the difference. The texts move together, and
    each event has a text of its own; the explained item's vector stays.

    Args:
        case: The item and the history.
        steps: S, at which the gradient is taken.
        show_progress: Whether to show a bar.

    Raises:
        RequestError: If the run does not keep what its item vectors are made of.
    """
    path = _Path(case)
    begin, end = path.scores(torch.tensor([0.0, 1.0])).tolist()
    middles = (torch.arange(steps) + 0.5) / steps
    at_once = max(1, TOKENS // path.offset.shape[0] // path.offset.shape[1])
    bar = tqdm(torch.split(middles, at_once), desc="Words", disable=not show_progress)
    slope = torch.stack([path.slopes(part) for part in bar]).sum(0)
    parts = (slope / steps * path.offset).sum(-1)  # (n, W)
    total = end - begin
    return Attribution(
        events=[Words(event + 1, path.words(row, parts[row])) for row, event in path.events()],
        total=total,
        gap=abs(float(parts.sum()) - total) / max(abs(total), 1e-12),
    )


class _Path:
    """The line from no words to all words of a history's texts."""

    def __init__(self, case: Case) -> None:
        self.case, self.known = case, case.recommender
        self.texts = _texts_of(case)
        self.encoder = encoder = cast(TextEncoder, self.texts.encoder)
        self.first = max(len(case.rows) - self.known.model.max_seq_length, 0)
        self.window = case.rows[self.first :].to(self.known.device)
        stored = [self.known.item_texts[row] for row in self.window.tolist()]
        self.places = [at for at, text in enumerate(stored) if text]  # in the window
        if not self.places:
            raise RequestError("words: no event that the model reads has a text.")
        self.read = [encoder.spec.prompt + (stored[at] or "") for at in self.places]
        tokenizer: Any = encoder.model.tokenizer
        self.tokens = tokenizer(
            self.read, padding=True, truncation=True, return_offsets_mapping=True,
            max_length=min(encoder.model.max_seq_length or MOST_TOKENS, MOST_TOKENS),
            return_tensors="pt",
        )  # fmt: skip
        self.spans = self.tokens.pop("offset_mapping").tolist()
        self.layer = encoder.model[0].model.get_input_embeddings()
        ids = self.tokens["input_ids"].to(encoder.device)
        blank = torch.where(self._is_word().to(ids.device), tokenizer.pad_token_id, ids)
        with torch.no_grad():
            self.base: Tensor = self.layer(blank)  # (n, W, E)
            self.offset = self.layer(ids) - self.base
        vectors = self.known.candidates.vectors
        self.direction = vectors[case.item] - vectors[1:].mean(0)  # (H,)

    def events(self) -> Iterator[tuple[int, int]]:
        """Yield the row of each text and its event, counted from 0."""
        return ((row, self.first + at) for row, at in enumerate(self.places))

    def words(self, row: int, parts: Tensor) -> list[tuple[str, float]]:
        """Return the words of a text with the sums of their tokens' parts ``(W,)``."""
        found: dict[int, tuple[int, int, float]] = {}
        free = self._is_word()[row]
        for at, word in enumerate(self.tokens.word_ids(row)):
            if word is not None and free[at]:
                begin, end = self.spans[row][at]
                first, _, sum_ = found.get(word, (begin, end, 0.0))
                found[word] = first, end, sum_ + float(parts[at])
        return [(self.read[row][begin:end], part) for begin, end, part in found.values()]

    def _is_word(self) -> Tensor:
        """Return which tokens are of words, neither special nor of the prompt, ``(n, W)``."""
        prompt = len(self.encoder.spec.prompt)
        return torch.tensor(
            [
                [
                    word is not None and span[0] >= prompt
                    for word, span in zip(self.tokens.word_ids(row), spans, strict=True)
                ]
                for row, spans in enumerate(self.spans)
            ]
        )

    def scores(self, shares: Tensor) -> Tensor:
        """Return the item's score above the mean item's at shares ``(C,)`` of the way, ``(C,)``."""
        with torch.no_grad():
            return self._score(self._points(shares))

    def slopes(self, shares: Tensor) -> Tensor:
        """Return the sum of the score's gradients at shares ``(C,)`` of the way, ``(n, W, E)``."""
        points = self._points(shares).requires_grad_()
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # cuDNN's has none
            (slope,) = torch.autograd.grad(self._score(points).sum(), points)
        return slope.view(len(shares), *self.base.shape).sum(0)

    def _points(self, shares: Tensor) -> Tensor:
        """Return the token vectors at shares ``(C,)`` of the way, ``(C n, W, E)``."""
        ways = shares.to(self.base.device)[:, None, None, None]
        points: Tensor = self.base + ways * self.offset
        return points.flatten(0, 1)

    def _score(self, points: Tensor) -> Tensor:
        """Return the scores of texts whose token vectors are ``(C n, W, E)``, ``(C,)``."""
        copies = len(points) // len(self.places)
        tokens = {
            name: values.repeat(copies, 1).to(points.device) for name, values in self.tokens.items()
        }
        with _in_place_of(self.layer, points):
            raw = self.encoder.embed(tokens)  # (C n, D)
        treated = self.texts.treatment.whiten(raw.to(self.known.device))
        places = torch.tensor(self.places, device=self.known.device)
        model, rows = self.known.model, self.window[places]
        own = torch.where(rows < model.n_items, rows, 0).repeat(
            copies
        )  # a new item learned nothing
        told = model.items.retold([treated], own).view(copies, len(self.places), -1)
        items = self.known.table[self.window].expand(copies, -1, -1).clone()  # (C, L, H)
        items[:, places] = told
        interests = model.interest_of(items)[:, -1]  # (C, H)
        return interests @ self.direction / self.known.candidates.temperature


@contextmanager
def _in_place_of(layer: torch.nn.Module, output: Tensor) -> Iterator[None]:
    """Let a layer give a tensor, whatever it is asked for."""
    handle = layer.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()


def _texts_of(case: Case) -> NewTexts:
    """Return what encodes the run's texts, if words can be traced through it."""
    known = case.recommender
    if known.texts is None or not known.item_texts:
        raise RequestError(
            f"{known.place}: words: the run keeps no texts (item_features, text_control), or is "
            "older than runs that do; docs/recommend.md says how such a run gets its file."
        )
    if list(known.texts.sizes) != ["text"]:
        others = ", ".join(name for name in known.texts.sizes if name != "text")
        raise RequestError(f"{known.place}: words: a run does not keep its vectors of {others}.")
    known.texts.require_the_runs_encoder()
    encoder = known.texts.encoder
    model = encoder.model if isinstance(encoder, TextEncoder) else None
    if not getattr(getattr(model, "tokenizer", None), "is_fast", False):
        raise RequestError(
            f"{known.place}: words: {encoder.name} does not say where in a text "
            "its tokens are. Use an encoder with a fast tokenizer."
        )
    return known.texts
