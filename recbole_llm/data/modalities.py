"""Item vectors from files (images, sounds), aligned with a catalogue by raw item id.

A file is ``.npy`` or ``.safetensors``, with one row an item; beside it lies its id list, of the
same name with the suffix ``.ids``: UTF-8, one raw item id a line, as many lines as rows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from recbole_llm.data.features import whitened_table
from recbole_llm.errors import DataError, unknown_name
from recbole_llm.files import sha256
from recbole_llm.settings import FEATURES, Settings

logger = logging.getLogger(__name__)
NAME = "vectors"  # of the tensor that counts where a file holds several


@dataclass(frozen=True)
class ModalityVectors:
    """Vectors of a catalogue from one file.

    Attributes:
        table: One row an item, ``(N, D)`` float32; row 0, padding, and missing items are 0.
        content: Digest of the catalogue's ids and vectors, as the file has them.
        sha256: Digest of the file.
        items: Items of the catalogue.
        missing: Items without a row.
        unused: Rows of items that are not in the catalogue.
    """

    table: Tensor
    content: str
    sha256: str
    items: int
    missing: int
    unused: int

    def facts(self) -> dict[str, Any]:
        """Return what a result says of the vectors: digests and coverage."""
        return {name: value for name, value in vars(self).items() if name != "table"}


def modality_vectors(
    config: Mapping[str, Any], *, catalogue: Sequence[str]
) -> dict[str, ModalityVectors]:
    """Read the vectors of each item feature that is neither text nor id.

    Args:
        config: RecBole's configuration; settings it lacks have their defaults.
        catalogue: Raw item ids; the first is padding.

    Raises:
        DataError: If a file is missing or does not hold what it must.
    """
    settings = Settings.from_config(config)
    found = {}
    for name in settings.features:
        if name in FEATURES:
            continue
        if name not in settings.modalities:
            known = {*FEATURES, *settings.modalities}
            raise DataError(f"item_features: {unknown_name('feature', name, known)}")
        path = Path(settings.modalities[name])
        found[name] = _aligned(path, catalogue=list(map(str, catalogue)), settings=settings)
        _report(name, found[name])
    return found


def _report(name: str, vectors: ModalityVectors) -> None:
    logger.log(
        logging.WARNING if vectors.missing else logging.INFO,
        "Item %s: %d of %d items have a vector of size %d (%d missing), %d rows are of no item "
        "here",
        name,
        vectors.items - vectors.missing,
        vectors.items,
        vectors.table.shape[1],
        vectors.missing,
        vectors.unused,
    )


def _aligned(path: Path, *, catalogue: Sequence[str], settings: Settings) -> ModalityVectors:
    """Return the vectors of a catalogue's items, found by their ids."""
    rows, ids = _read(path)
    row_of = {item: row for row, item in enumerate(ids)}
    items = [item for item, token in enumerate(catalogue) if item and token in row_of]
    tokens = [catalogue[item] for item in items]
    if not items:
        raise DataError(
            f"{path}: not one of {len(catalogue) - 1} items of the interactions has a row. Ids are "
            f"compared letter by letter: '1' is not '001', ' 1' or '1.0'. First item: "
            f"{catalogue[1]!r}; first id: {next(iter(ids), None)!r}."
        )
    vectors = _taken(rows, [row_of[token] for token in tokens])
    bad = (~torch.isfinite(vectors).all(1)).nonzero().flatten().tolist()
    if bad:
        raise DataError(
            f"{path}: all values must be finite float32 numbers, received others for {len(bad)} "
            f"items, first {tokens[bad[0]]!r}. Make these rows again, or leave them out."
        )
    table, _ = whitened_table(
        vectors, rows=items, num_items=len(catalogue), settings=settings, place=str(path)
    )
    return ModalityVectors(
        table=table,
        content=_digest(vectors, tokens),
        sha256=sha256(path),
        items=len(catalogue) - 1,
        missing=len(catalogue) - 1 - len(items),
        unused=len(ids) - len(items),
    )


def _read(path: Path) -> tuple[np.ndarray | Tensor, list[str]]:
    """Return a file's rows, ``(n, D)``, and their ids."""
    ids = _read_ids(path.with_suffix(".ids"))
    try:
        rows = _npy_rows(path) if path.suffix == ".npy" else _safetensors_rows(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}). Name the file of the vectors in "
            "modalities."
        ) from None
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise DataError(
            f"{path}: must hold one vector a row, received shape {tuple(rows.shape)}. Save one "
            "table, rows × size of a vector."
        )
    if len(ids) != len(rows):
        raise DataError(
            f"{path}: {path.stem}.ids must have a line for each of {len(rows)} rows, received "
            f"{len(ids)} lines. Write one id a row, in the order of the rows."
        )
    return rows, ids


def _read_ids(path: Path) -> list[str]:
    """Return the lines of an id list; only line feeds end one."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Write the raw item id of each row to it, "
            "one a line."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 ({error}). Save it as plain UTF-8.") from None
    ids = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n") if text]
    line_of: dict[str, int] = {}
    for line, item in enumerate(ids, start=1):
        if (first := line_of.setdefault(item, line)) != line:
            raise DataError(
                f"{path}:{line}: an id has one row, received {item!r} on line {first} too. Leave "
                "one of the rows out."
            )
    return ids


def _npy_rows(path: Path) -> np.ndarray:
    """Map a ``.npy`` file of floats; NumPy refuses objects, which it would have to unpickle."""
    try:
        rows: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise DataError(f"{path}: must be a .npy file of floats ({error}).") from None
    if rows.dtype.kind != "f":
        raise DataError(f"{path}: must hold floats, received {rows.dtype}. Save it as float32.")
    return rows


def _safetensors_rows(path: Path) -> Tensor:
    """Read the one floating tensor of a ``.safetensors`` file, or the one named ``vectors``."""
    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys())
            if NAME not in names and len(names) != 1:
                raise DataError(
                    f"{path}: must hold one tensor, or one named {NAME!r}, received "
                    f"{', '.join(names) or 'none'}."
                )
            rows: Tensor = file.get_tensor(NAME if NAME in names else names[0])
    except SafetensorError as error:
        raise DataError(f"{path}: not a safetensors file, or cut off ({error}).") from None
    if not rows.is_floating_point():
        raise DataError(f"{path}: must hold floats, received {rows.dtype}. Save it as float32.")
    return rows


def _taken(rows: np.ndarray | Tensor, chosen: list[int]) -> Tensor:
    """Return the chosen rows, ``(n, D)`` float32; no other row of a mapped file is read."""
    if isinstance(rows, Tensor):
        return rows[torch.tensor(chosen)].float()
    with np.errstate(over="ignore"):  # a float64 that is too large is reported as not finite
        return torch.from_numpy(np.asarray(rows[chosen], dtype=np.float32))


def _digest(vectors: Tensor, ids: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass"))
    digest.update(vectors.contiguous().numpy().data)
    return digest.hexdigest()
