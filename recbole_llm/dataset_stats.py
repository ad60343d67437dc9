"""What a dataset is like once its settings' filters are applied, in numbers and in a picture.

Letters: E events, U users, N items, n texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_llm.build import create_dataset
from recbole_llm.config import LLMConfig
from recbole_llm.data.encoders import encoder_spec
from recbole_llm.data.features import catalogue_texts
from recbole_llm.errors import RequestError, how_to_install
from recbole_llm.files import atomic_path
from recbole_llm.settings import WORD_COUNTS, Settings
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.items import CoverageReport

QUANTILES = (0, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
PICTURES = (".png", ".svg", ".pdf")
Array = NDArray[Any]


@dataclass(frozen=True)
class Measured:
    """A dataset after its filters.

    Attributes:
        histories: Number of events of each user, ``(U,)``.
        popularity: Number of events of each item, ``(N,)``.
        times: Times of all events, ``(E,)``, user after user; None where there are none.
        is_tie: Whether an event has the time of the user's event before it, ``(E,)``, or None.
        texts: How the items and their texts met, or None where there is no ``.item`` file.
        tokens: Tokens of each text, ``(n,)``.
        limit: Tokens that the encoder reads of a text, or None where it has no limit.
    """

    histories: Array
    popularity: Array
    times: Array | None
    is_tie: Array | None
    texts: CoverageReport | None
    tokens: Array
    limit: int | None

    def facts(self) -> dict[str, Any]:
        """Return the numbers, fit for JSON."""
        users, items, events = len(self.histories), len(self.popularity), self.histories.sum()
        return {
            "users": users,
            "items": items,
            "interactions": int(events),
            "density": float(events / (users * items)),
            "history_length": _quantiles(self.histories),
            "item_popularity": _quantiles(self.popularity),
            "ties": self._ties(),
            "text": None if self.texts is None else self._coverage(self.texts),
            "tokens": self._tokens(),
        }

    def _ties(self) -> dict[str, float] | None:
        """Return the share of events that tie with the one before, and of users' last two."""
        if self.is_tie is None:
            return None
        with_previous = self.histories.sum() - len(self.histories)
        last = self.is_tie[np.cumsum(self.histories) - 1][self.histories > 1]
        return {
            "events": float(self.is_tie.sum() / max(with_previous, 1)),
            "users_last_two": float(last.mean()) if len(last) else 0.0,
        }

    def _coverage(self, texts: CoverageReport) -> dict[str, Any]:
        return {"coverage": (texts.matched - texts.empty) / texts.items, **vars(texts)}

    def _tokens(self) -> dict[str, Any] | None:
        if not len(self.tokens):
            return None
        cut = 0 if self.limit is None else int((self.tokens > self.limit).sum())
        return {**_quantiles(self.tokens), "limit": self.limit, "truncated": cut}


def dataset_stats(
    name: str, arguments: Mapping[str, str], *, picture: Path | None = None
) -> dict[str, Any]:
    """Measure a dataset as a run with these settings would read it.

    Args:
        name: The dataset.
        arguments: Settings as raw strings, such as ``data_path``.
        picture: A file to draw the numbers into, or None.

    Raises:
        RequestError: If a setting, the data or the picture's name is wrong.
    """
    if picture is not None and picture.suffix not in PICTURES:
        raise RequestError(
            f"--out: a picture is one of {', '.join(PICTURES)}, received {str(picture)!r}."
        )
    measured = measure(
        LLMConfig(dataset=name, arguments={"model": "LLMInterestLinear", **arguments})
    )
    if picture is not None:
        draw(measured, picture, title=name)
    drawn = {} if picture is None else {"picture": str(picture)}
    return {"dataset": name, **measured.facts(), **drawn}


def measure(config: LLMConfig) -> Measured:
    """Read the dataset of a configuration, filter it and measure it."""
    dataset = create_dataset(config)
    events = dataset.inter_feat  # not split yet: times are still float64
    users = events[dataset.uid_field].to_numpy()
    times = is_tie = None
    if dataset.time_field in events:
        times = events[dataset.time_field].to_numpy()
        order = np.lexsort((times, users))
        times, ordered = times[order], users[order]
        is_tie = np.zeros(len(times), dtype=bool)
        is_tie[1:] = (ordered[1:] == ordered[:-1]) & (times[1:] == times[:-1])
    texts, tokens, limit = _texts(config, dataset)
    return Measured(
        histories=np.unique(users, return_counts=True)[1],
        popularity=np.unique(events[dataset.iid_field].to_numpy(), return_counts=True)[1],
        times=times,
        is_tie=is_tie,
        texts=texts,
        tokens=tokens,
        limit=limit,
    )


def _texts(config: LLMConfig, dataset: Any) -> tuple[CoverageReport | None, Array, int | None]:
    """Return how the texts cover the items, their token lengths and the encoder's limit."""
    folder, settings = Path(dataset.dataset_path), Settings.from_config(config)
    has_items = (folder / f"{dataset.dataset_name}.item").is_file()
    reads_text = config["item_features"] is not None and "text" in settings.features
    if not has_items or not reads_text:
        return None, np.array([], dtype=int), None
    texts = catalogue_texts(
        config,
        folder=folder,
        dataset=dataset.dataset_name,
        catalogue=[str(token) for token in dataset.field2id_token[dataset.iid_field]],
    )
    present = [text for text in texts.texts if text]
    if settings.text_encoder in WORD_COUNTS:
        return texts.report, np.array([], dtype=int), None
    encoder = TextEncoder(encoder_spec(settings), cache=settings.text_cache_dir)
    if not callable(getattr(encoder.model, "tokenizer", None)):  # static vectors of words
        return texts.report, np.array([], dtype=int), None
    tokens = np.array(encoder.token_lengths(present) if present else [], dtype=int)
    return texts.report, tokens, encoder.model.max_seq_length


def _quantiles(values: Array) -> dict[str, float]:
    found = np.quantile(values, QUANTILES, method="inverted_cdf")  # values that do occur
    names = [f"{share:.0%}" for share in QUANTILES]
    return {"mean": float(values.mean())} | dict(zip(names, found.tolist(), strict=True))


def draw(measured: Measured, path: Path, *, title: str) -> None:
    """Draw history lengths, the popularity of items, events over time and token lengths.

    Raises:
        RequestError: If the packages that draw are not installed, or the file cannot be written.
    """
    try:
        import seaborn as sns
        from matplotlib.figure import Figure
    except ImportError:
        raise RequestError(f"--out: a picture needs seaborn. {how_to_install('figures')}") from None
    with sns.axes_style("whitegrid"), sns.color_palette("colorblind"):
        figure = Figure(figsize=(10, 7), layout="constrained")
        (histories, popularity), (times, tokens) = figure.subplots(2, 2)
    _draw_histories(histories, measured)
    _draw_popularity(popularity, measured)
    _draw_times(times, measured)
    _draw_tokens(tokens, measured)
    facts = measured.facts()
    figure.suptitle(
        f"{title}: {facts['users']:,} users, {facts['items']:,} items, "
        f"{facts['interactions']:,} interactions, density {facts['density']:.3%}"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            figure.savefig(partial, format=path.suffix[1:], dpi=150)
    except OSError as error:
        raise RequestError(f"--out: {path} cannot be written ({error.strerror}).") from None


def _draw_histories(axes: Any, measured: Measured) -> None:
    import seaborn as sns

    sns.ecdfplot(measured.histories, ax=axes, complementary=True, log_scale=(True, False))
    axes.set(title="Histories", xlabel="events", ylabel="share of users with more")
    ties = measured.facts()["ties"]
    if ties is not None:
        note = f"{ties['users_last_two']:.0%} of users have\na tie in their last two"
        axes.annotate(note, (0.97, 0.94), xycoords="axes fraction", ha="right", va="top")


def _draw_popularity(axes: Any, measured: Measured) -> None:
    import seaborn as sns

    falling = np.sort(measured.popularity)[::-1]
    sns.lineplot(x=np.arange(1, len(falling) + 1), y=falling, ax=axes, errorbar=None)
    axes.set(
        title="Popularity", xlabel="rank of an item", ylabel="events", xscale="log", yscale="log"
    )


def _draw_times(axes: Any, measured: Measured) -> None:
    import seaborn as sns

    axes.set(title="Time", xlabel="year", ylabel="events")
    if measured.times is None:
        axes.text(0.5, 0.5, "no times", ha="center", va="center", transform=axes.transAxes)
        return
    sns.histplot(1970 + measured.times / (365.2425 * 86_400), ax=axes, bins=60)
    axes.ticklabel_format(useOffset=False)


def _draw_tokens(axes: Any, measured: Measured) -> None:
    import seaborn as sns

    axes.set(title="Texts", xlabel="tokens of an item's text", ylabel="items")
    if not len(measured.tokens):
        axes.text(0.5, 0.5, "no texts", ha="center", va="center", transform=axes.transAxes)
        return
    low, high = int(measured.tokens.min()), int(measured.tokens.max())
    width = max(1, -(-(high - low) // 60))  # whole tokens, or bars would alternate
    sns.histplot(measured.tokens, ax=axes, binwidth=width, binrange=(low, high + 1))
    if measured.limit is not None and measured.tokens.max() > measured.limit:
        axes.axvline(measured.limit, color="0.3", linestyle="--")
