"""A run's catalogue and model, grown by new items, with the vectors that training reads.

Letters: N items, new ones among them, D size of the encoder's vectors, W size after whitening.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from recbole_llm.data.encoders import text_encoder
from recbole_llm.data.modalities import modality_vectors
from recbole_llm.errors import RequestError, RunDirError, all_problems
from recbole_llm.model.base import InterestModel
from recbole_llm.plugin import MODELS, OURS, load
from recbole_llm.recommend.catalogue import Catalogue, TextTreatment
from recbole_llm.recommend.keep import genre_cells
from recbole_llm.recommend.new_items import read_new_items
from recbole_llm.recommend.stored import GivenVectors, StoredItems, stored_model
from recbole_llm.recommend.texts import require_like
from recbole_llm.resume import StoredRun
from recbole_llm.settings import Settings
from recbole_llm.text.store import VectorStore

IDS = "items.embedding.weight"  # the one weight that has a row an item


class GrownItems(StoredItems):
    """What a model asks a dataset for when it is built to be trained on.

    Args:
        catalogue: The catalogue, all events in it.
        item_field: Name of the field of items.
        vectors: Those of each feature, ``(N, W)`` each.
    """

    def __init__(
        self, catalogue: Catalogue, *, item_field: str, vectors: Mapping[str, GivenVectors]
    ) -> None:
        super().__init__(catalogue, item_field=item_field)
        self.inter_feat = {item_field: catalogue.events.long()}
        self.vectors = vectors

    def _given(self, name: str, digest: str | None) -> GivenVectors | None:
        return self.vectors.get(name)


def require_continuable(stored: StoredRun) -> None:
    """Refuse a run whose training cannot go on from its directory.

    Raises:
        RequestError: If it is one; all that stands against it at once.
    """
    name, settings = stored.facts["model"], Settings.from_config(stored.facts["settings"])
    problems = []
    if name not in MODELS:
        problems.append(f"{name} does not learn from events in a row; {', '.join(MODELS)} do.")
    if settings.text_tuning != "frozen":
        problems.append(f"text_tuning is {settings.text_tuning!r}, so that its encoder would move.")
    if settings.text_control != "none":
        problems.append(f"text_control is {settings.text_control!r}, whose vectors are not kept.")
    if problems:
        raise RequestError(all_problems(f"{stored.run_dir} cannot be updated", problems))


def require_complete(catalogue: Catalogue, settings: Settings, *, place: str) -> None:
    """Refuse a catalogue that lacks users, or the texts of a run that reads text.

    Raises:
        RunDirError: If it does.
    """
    if not catalogue.users:
        raise RunDirError(
            f"{place}: keeps no users, for it read benchmark files, so that no history can go on."
        )
    if "text" in settings.features and not (catalogue.text and catalogue.text.texts):
        raise RunDirError(
            f"{place}: its catalogue is of an older version, without texts. docs/recommend.md says "
            "how it gets a new one."
        )


def with_items(catalogue: Catalogue, path: Path, *, config: Any, place: str) -> Catalogue:
    """Return a catalogue with the new items of a file behind its own; they have no vectors yet.

    Raises:
        RequestError: If the run reads no text, or the file will not do.
    """
    treatment = catalogue.text
    if treatment is None:
        raise RequestError(
            f"{place}: the run reads no text, without which a new item is nothing to it. Leave "
            "--items and the events of new items out, or train again."
        )
    known = set(catalogue.items[1:])
    if config["text_encoder"] == "tfidf":
        raise RequestError(
            f"{place}: its text_encoder, tfidf, is fitted to the run's own texts. Leave --items "
            "and the events of new items out, or train again."
        )
    settings = config.final_config_dict  # a mapping, in which what is unset is absent
    new = read_new_items(path, known=known, config=settings, treatment=treatment)
    cells = genre_cells(path, config=config)
    return replace(
        catalogue,
        items=catalogue.items + new.ids,
        titles=[*catalogue.titles, *new.titles],
        genres=catalogue.genres and catalogue.genres + [cells.get(one, []) for one in new.ids],
        text=replace(treatment, texts=[*treatment.texts, *new.texts]),
    )


def grown_model(
    stored: StoredRun, before: Catalogue, grown: Catalogue, *, config: Any
) -> InterestModel:
    """Return a run's model with its weights, for more items; learned ids of new ones are zero.

    Args:
        stored: The run.
        before: What it kept.
        grown: The same with new items and events.
        config: Its configuration here.

    Raises:
        EncoderError: If the encoder cannot be loaded.
        RunDirError: If files, weights or encoder are not the run's.
    """
    place = str(stored.run_dir)
    weights = stored_model(stored, before, device=config["device"]).state_dict()
    vectors = _vectors(before, grown, config=config, place=place)
    dataset = GrownItems(grown, item_field=config["ITEM_ID_FIELD"], vectors=vectors)
    model_class: Any = load(OURS[stored.facts["model"]].model)
    model: InterestModel = model_class(config, dataset).to(config["device"])
    if model.offset is not None:
        weights["offset"] = model.offset  # by popularity as it is now
    if IDS in weights:
        weights[IDS] = functional.pad(weights[IDS], (0, 0, 0, len(grown.items) - len(before.items)))
    model.load_state_dict(weights)
    return model


def _vectors(
    before: Catalogue, grown: Catalogue, *, config: Any, place: str
) -> dict[str, GivenVectors]:
    """Return the vectors of each feature; a new item has those of its text alone."""
    found = {}
    if grown.text is not None:
        size = grown.sizes["text"]
        found["text"] = _text_vectors(grown.text, size=size, config=config, place=place)
    for name, own in modality_vectors(config, catalogue=before.items).items():
        if own.content != before.digests["modalities"][name]:
            raise RunDirError(
                f"{place}: was trained on other vectors than the file of {name} holds now. Restore "
                "the file, or train again."
            )
        table = functional.pad(own.table, (0, 0, 0, len(grown.items) - len(before.items)))
        found[name] = GivenVectors(table, own.content)
    return found


def _text_vectors(treatment: TextTreatment, *, size: int, config: Any, place: str) -> GivenVectors:
    """Return the vectors of all texts, treated by the run's statistics."""
    settings = Settings.from_config(config)
    cache = settings.text_cache_dir
    texts = {row: text for row, text in enumerate(treatment.texts) if text is not None}
    own = list(texts.values())
    encoder = text_encoder(
        settings, own, device=str(config["device"]), show_progress=config["show_progress"]
    )
    stored = VectorStore(Path(cache) if cache else None).get(own, encoder)
    probe = stored.vectors[own.index(treatment.probe)]
    require_like(probe, treatment, encoder=encoder, place=place)
    table: Tensor = torch.zeros(len(treatment.texts), size)
    table[list(texts)] = treatment.whiten(stored.vectors)
    return GivenVectors(table, stored.content)
