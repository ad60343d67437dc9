"""Run directories and checkpoints: one a run, whole or absent, and never a pickle."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.torch import save_file
from torch import nn

from recbole_llm.errors import RunDirError
from recbole_llm.files import atomic_path, write_json
from recbole_llm.run_dir import create_run_dir, read_json
from recbole_llm.train.checkpoints import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


class Toy(nn.Linear):
    """A model with RecBole's two methods for what is no parameter."""

    def __init__(self, size: int = 2) -> None:
        super().__init__(size, 1)
        self.other: dict = {}

    def other_parameter(self) -> dict:
        return self.other

    def load_other_parameter(self, other: dict) -> None:
        self.other = other


def test_runs_of_one_second_get_directories_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_run_dir(tmp_path, model="M", dataset="d"), range(40)))
    assert len(set(made)) == 40


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="checkpoint_dir"):
        create_run_dir(tmp_path / "file", model="M", dataset="d")


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"kept": 1})
    with pytest.raises(OSError, match="no space"), atomic_path(path) as partial:
        partial.write_text("half")
        raise OSError("no space")
    assert read_json(path) == {"kept": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["{", "[1]", ""], ids=["cut off", "list", "empty"])
def test_damaged_json_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunDirError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    model = Toy()
    matrix = scipy.sparse.csr_matrix(np.array([[0.0, 2.0], [0.0, 0.0]]))
    model.other = {
        "t": torch.ones(2),
        "n": None,
        "m": matrix,
        "a": np.arange(3),
        "d": {1: [torch.zeros(1), 2.5]},
        "w": model,
    }
    save_checkpoint(tmp_path / "m", model, epoch=4)
    copy = Toy()
    assert load_checkpoint(tmp_path / "m", copy, device=CPU) == 4
    assert torch.equal(copy.weight, model.weight)
    assert torch.equal(copy.other["t"], torch.ones(2))
    assert copy.other["n"] is None
    assert (copy.other["m"] != matrix).nnz == 0
    assert copy.other["a"].tolist() == [0, 1, 2]
    assert copy.other["d"] == {1: [torch.zeros(1), 2.5]}
    assert "w" not in copy.other  # the model itself: its weights came with the state


def test_an_other_parameter_without_a_safe_form_is_refused(tmp_path: Path, canary) -> None:
    model = Toy()
    model.other = {"f": canary}
    with pytest.raises(TypeError, match="f' is a Canary"):
        save_checkpoint(tmp_path / "m", model, epoch=0)


def make_pickle(path: Path, canary) -> None:
    path.write_bytes(pickle.dumps(canary))


def make_torch_pickle(path: Path, canary) -> None:
    torch.save({"state_dict": {}, "config": canary}, path)


def make_text(path: Path, canary) -> None:
    path.write_text("weights")


def make_truncated(path: Path, canary) -> None:
    save_checkpoint(path, Toy(), epoch=0)
    path.write_bytes(path.read_bytes()[:-3])


def make_foreign(path: Path, canary) -> None:
    save_file({"weight": torch.ones(1)}, path)


def make_other_shape(path: Path, canary) -> None:
    save_checkpoint(path, Toy(size=3), epoch=0)


@pytest.mark.parametrize(
    "make",
    [make_pickle, make_torch_pickle, make_text, make_truncated, make_foreign, make_other_shape],
)
def test_foreign_files_are_refused_and_nothing_is_executed(tmp_path: Path, make, canary) -> None:
    make(tmp_path / "m", canary)
    with pytest.raises(RunDirError, match="m"):
        load_checkpoint(tmp_path / "m", Toy(), device=CPU)
    assert not canary.path.exists()


def test_a_missing_checkpoint_says_why_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="before its first validation"):
        load_checkpoint(tmp_path / "m", Toy(), device=CPU)
