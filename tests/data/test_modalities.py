"""Item vectors from files, aligned by raw item id."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from recbole_llm.data.modalities import modality_vectors
from recbole_llm.errors import DataError, RequestError

CATALOGUE = ["[PAD]", "b", "a", "c"]
ROWS = np.array([[1.0, 10.0], [2.0, 20.0], [9.0, 90.0]], dtype=np.float32)  # of a, b, x


def read(path: Path, catalogue=CATALOGUE, **settings):
    config = {"item_features": ["image"], "modalities": {"image": str(path)}, "whitening": "none"}
    return modality_vectors(config | settings, catalogue=catalogue)["image"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a file of three vectors with its id list."""
    np.save(tmp_path / "image.npy", ROWS)
    (tmp_path / "image.ids").write_text("a\nb\nx\n")
    return tmp_path / "image.npy"


def test_rows_are_found_by_id_and_a_missing_item_is_zero(image: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        vectors = read(image)
    assert vectors.table.tolist() == [[0, 0], [2, 20], [1, 10], [0, 0]]
    assert (vectors.items, vectors.missing, vectors.unused) == (3, 1, 1)
    assert "Item image: 2 of 3 items have a vector of size 2 (1 missing), 1 rows" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("names", [["only"], ["other", "vectors"]])
def test_safetensors_files_are_read_too(image: Path, dtype, names) -> None:
    tensors = {name: torch.from_numpy(ROWS).to(dtype) for name in names}
    tensors[names[0]] = tensors[names[0]] * (1 if len(names) == 1 else 5)
    save_file(tensors, image.with_suffix(".safetensors"))
    assert torch.equal(read(image.with_suffix(".safetensors")).table, read(image).table)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_floats_of_any_kind_are_read(image: Path, dtype: str) -> None:
    expected = read(image)
    np.save(image, ROWS.astype(dtype))
    assert torch.equal(read(image).table, expected.table)


def test_ids_may_hold_what_is_no_line_feed(image: Path) -> None:
    image.with_suffix(".ids").write_bytes("\ufeffa\r\nb\u2028\x0b\r\nx".encode())
    assert read(image, ["[PAD]", "a", "b\u2028\x0b"]).table[1:].tolist() == [[1, 10], [2, 20]]


def test_vectors_are_whitened_over_the_items_that_have_one(image: Path) -> None:
    table = read(image, whitening="pca", whitening_dim=1).table  # a and b: one axis, ± 1
    assert table.shape == (4, 1)
    assert table.abs().flatten().tolist() == pytest.approx([0, 1, 1, 0], rel=1e-4)
    assert table[1] == -table[2]


def test_the_digest_is_of_the_vectors_of_the_items(image: Path) -> None:
    first = read(image)
    np.save(image, ROWS[[1, 0, 2]])  # other order, same vectors
    image.with_suffix(".ids").write_text("b\na\ny\n")
    assert read(image).content == first.content
    assert read(image).sha256 != first.sha256
    image.with_suffix(".ids").write_text("a\nb\ny\n")
    assert read(image).content != first.content
    assert read(image, ["[PAD]", "b", "a"]).content == read(image).content
    assert read(image, ["[PAD]", "a"]).content != read(image).content


def test_a_feature_without_a_file_is_named(image: Path) -> None:
    with pytest.raises(RequestError, match=r"unknown feature 'imgae'\. Did you mean 'image'"):
        read(image, item_features="imgae")
    assert modality_vectors({"item_features": ["text", "id"]}, catalogue=CATALOGUE) == {}


def spoilt(image: Path, how: str) -> Path:
    """Spoil the file or its id list, and return the file to read."""
    ids, tensors = image.with_suffix(".ids"), image.with_suffix(".safetensors")
    rows: dict[str, np.ndarray] = {
        "integers": ROWS.astype(int), "one axis": ROWS[0], "no size": ROWS[:, :0],
        "infinite": np.where(ROWS == 20, np.inf, ROWS), "too large": ROWS.astype(float) * 1e38,
    }  # fmt: skip
    texts = {"short ids": "a\nb", "twice": "a\nb\na\n", "nobody": "x\ny\nz"}
    if how in rows:
        np.save(image, rows[how])
    elif how in texts:
        ids.write_text(texts[how])
    elif how == "latin":
        ids.write_bytes(b"a\nb\n\xe9\n")
    elif how == "no file":
        image.unlink()
    elif how == "no ids":
        ids.unlink()
    elif how == "cut off":
        image.write_bytes(image.read_bytes()[:-4])
    elif how == "no tensors":
        tensors.write_bytes(b"half")
    elif how == "two tensors":
        save_file({"x": torch.ones(3, 2), "y": torch.ones(3, 2)}, tensors)
    elif how == "integer tensor":
        save_file({"x": torch.ones(3, 2, dtype=torch.long)}, tensors)
    return tensors if tensors.exists() else image


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("integers", r"image\.npy: must hold floats, received int64\. Save it as float32"),
        ("one axis", r"image\.npy: must hold one vector a row, received shape \(2,\)\. Save one"),
        ("no size", r"image\.npy: must hold one vector a row, received shape \(3, 0\)"),
        ("infinite", r"image\.npy: all values must be finite .* 1 items, first 'b'\. Make these"),
        ("too large", r"image\.npy: all values must be finite .* 2 items, first 'b'"),
        ("short ids", r"image\.ids must have a line for each of 3 rows, received 2 lines\. Write"),
        ("twice", r"image\.ids:3: an id has one row, received 'a' on line 1 too\. Leave"),
        ("nobody", r"not one of 3 items .* First item: 'b'; first id: 'x'"),
        ("latin", r"image\.ids: is not UTF-8"),
        ("no file", r"image\.npy: cannot be read \(No such file.*Name the file"),
        ("no ids", r"image\.ids: cannot be read \(No such file.*\)\. Write the raw item id"),
        ("cut off", r"image\.npy: must be a \.npy file of floats"),
        ("no tensors", r"image\.safetensors: not a safetensors file, or cut off"),
        ("two tensors", r"must hold one tensor, or one named 'vectors', received x, y"),
        ("integer tensor", r"image\.safetensors: must hold floats, received torch\.int64"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(image: Path, how: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(spoilt(image, how))


def test_a_pickle_is_not_opened(image: Path, canary) -> None:
    np.save(image, np.array([[canary], [canary], [canary]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"image\.npy: must be a \.npy file of floats"):
        read(image)
    assert not canary.path.exists()
