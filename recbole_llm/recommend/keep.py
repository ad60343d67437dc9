"""From a trained run to the catalogue that it keeps.

Letters: N items (row 0 is padding), U users, E events of all users.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_llm.atomic import read_atomic, read_header
from recbole_llm.data.features import catalogue_texts
from recbole_llm.errors import DataError
from recbole_llm.files import sha256
from recbole_llm.model.base import InterestModel
from recbole_llm.recommend.catalogue import Catalogue, TextTreatment, write_catalogue
from recbole_llm.run_dir import WEIGHTS
from recbole_llm.settings import Settings
from recbole_llm.text.items import read_item_texts, text_columns
from recbole_llm.train.checkpoints import vector_digests
from recbole_llm.train.scorers import identical_items

logger = logging.getLogger(__name__)

GENRES = ("genre", "class", "categor", "tag", "kind")  # parts of a column's name, the best first


@torch.no_grad()
def keep_catalogue(run_dir: Path, *, model: Any, dataset: Any) -> None:
    """Write what recommending takes into a run's directory, if the run is one that can recommend.

    Args:
        run_dir: Directory of the run; it holds the model's weights.
        model: The run's model with those weights, in evaluation mode.
        dataset: The whole dataset, which has been split.
    """
    if not isinstance(model, InterestModel) or not (run_dir / WEIGHTS).is_file():
        return
    table = model.items.table()  # first: vectors of a tuned encoder are made with it
    twins, firsts = identical_items(model)
    users, ends, events, lasts = _histories(dataset)
    text = {} if model.item_vectors is None else {"text": model.item_vectors}
    given = text | model.modality_vectors  # in the order of the model's features
    catalogue = Catalogue(
        items=_names(dataset, dataset.iid_field),
        titles=_titles(dataset),
        genres=_genres(dataset),
        users=users,
        ends=ends,
        events=events,
        lasts=lasts,
        table=table,
        twins=twins,
        firsts=firsts,
        sizes={name: vectors.table.shape[1] for name, vectors in given.items()},
        digests=vector_digests(model),
        weights_sha256=sha256(run_dir / WEIGHTS),
        text=_treatment(model, dataset),
    )
    write_catalogue(run_dir, catalogue)


def _names(dataset: Any, field: str) -> list[str]:
    return [str(token) for token in dataset.field2id_token[field]]


def _histories(dataset: Any) -> tuple[list[str], Tensor, Tensor, Tensor]:
    """Return raw user ids, where each one's events end, their items, and each one's last time.

    A user of the ``.user`` file alone has no events, and every time is later than their last.
    Benchmark files hold cases, not events: there are no users then.
    """
    if dataset.config["benchmark_filename"]:
        none = torch.zeros(0)
        return [], none.long(), none.int(), none
    known = getattr(dataset, "events", dataset.inter_feat)  # either is in time order for each user
    users, items = known[dataset.uid_field], known[dataset.iid_field]
    counts = torch.bincount(users, minlength=dataset.user_num)[1:]
    ends, order, lasts = counts.cumsum(0), users.argsort(stable=True), torch.zeros(0)
    if _has_times(dataset):
        lasts = known[dataset.time_field][order][ends - 1]
        lasts[counts == 0] = -torch.inf
    return _names(dataset, dataset.uid_field)[1:], ends, items[order].int(), lasts


def _has_times(dataset: Any) -> bool:
    """Tell whether times were read, and are what they were in the file."""
    config, field = dataset.config, dataset.time_field
    is_scaled = config["normalize_all"] or field in (config["normalize_field"] or ())
    return field in dataset.inter_feat.interaction and not is_scaled


def _item_file(dataset: Any) -> Path:
    return Path(dataset.dataset_path) / f"{dataset.dataset_name}.item"


def _columns(dataset: Any) -> list[str]:
    """Return the columns of the ``.item`` file that make a text."""
    config, path = dataset.config, _item_file(dataset)
    types = read_header(path, separator=config["field_separator"], encoding=config["encoding"])
    settings = Settings.from_config(config)
    return text_columns(
        types, path=path, chosen=settings.text_fields, template=settings.text_template
    )


def _title_column(columns: list[str]) -> str:
    """Return the text column that is named so, or else the first."""
    named = [name for name in columns if "title" in name.lower() or "name" in name.lower()]
    return (named or columns)[0]


def _titles(dataset: Any) -> list[str | None]:
    """Return each item's title, None where it has none."""
    config, items = dataset.config, _names(dataset, dataset.iid_field)
    try:
        found = read_item_texts(
            _item_file(dataset),
            catalogue=items[1:],
            id_field=dataset.iid_field,
            text_fields=[_title_column(_columns(dataset))],
            separator=config["field_separator"],
            encoding=config["encoding"],
        )
    except DataError as error:  # a run of ids alone needs no such file
        logger.info("No titles are kept: %s", error)
        return [None] * len(items)
    return [None, *found.texts]


def _genres(dataset: Any) -> list[list[str]]:
    """Return each item's genres by the column that is named so, none where no column is."""
    items = _names(dataset, dataset.iid_field)
    try:
        known = genre_cells(_item_file(dataset), config=dataset.config)
    except DataError:  # as of titles, which says so
        known = {}
    return [known.get(item, []) for item in items]


def genre_cells(path: Path, *, config: Any) -> dict[str, list[str]]:
    """Return the genres of an ``.item`` file by raw item id; the first row of an id counts.

    Raises:
        DataError: If it cannot be read.
    """
    reading = {"separator": config["field_separator"], "encoding": config["encoding"]}
    id_field = config["ITEM_ID_FIELD"]
    types = read_header(path, **reading)
    named = [name for part in GENRES for name in types if part in name.lower()]
    column = next((name for name in named if types[name].startswith("token")), None)
    if column is None:
        return {}
    table = read_atomic(path, columns={id_field, column}, **reading)
    is_one = types[column] == "token"
    found: dict[str, list[str]] = {}
    for item, cell in zip(table.columns[id_field], table.columns[column], strict=True):
        parts = [cell] if is_one else cell.split(config["seq_separator"])
        found.setdefault(item, list(dict.fromkeys(part for part in parts if part.strip())))
    return found


def _treatment(model: InterestModel, dataset: Any) -> TextTreatment | None:
    """Return what treats a new text; vectors of a control are not those of their texts."""
    settings, vectors = Settings.from_config(dataset.config), model.item_vectors
    if vectors is None or settings.text_control != "none":
        return None
    found = catalogue_texts(
        dataset.config,
        folder=Path(dataset.dataset_path),
        dataset=dataset.dataset_name,
        catalogue=_names(dataset, dataset.iid_field),
    ).texts
    texts = [None, *found]
    columns, whitening, tuned = _columns(dataset), vectors.whitening, model.tuned_encoder
    probe_vector = vectors.raw[0] if tuned is None else tuned.raw(torch.tensor([0]))[0]
    return TextTreatment(
        texts=texts,
        columns=columns,
        title_column=_title_column(columns),
        probe=texts[vectors.rows[0]] or "",
        probe_vector=probe_vector,
        mean=None if whitening is None else whitening.mean,
        matrix=None if whitening is None else whitening.matrix().float(),
    )
