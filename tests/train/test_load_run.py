"""The way back to a run: its weights, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import RunDirError
from recbole_llm.run_dir import CONFIG, RESULT, WEIGHTS
from recbole_llm.train.checkpoints import FORMAT, read_tensors, write_tensors
from recbole_llm.train.trainer import InterestTrainer


def edit(run_dir: Path, **changes) -> None:
    stored = json.loads((run_dir / CONFIG).read_text())
    (run_dir / CONFIG).write_text(json.dumps(stored | changes))


def about(**changes) -> dict:
    return {"format": FORMAT, "epoch": 1, "text": None, "modalities": {}, "other": {}} | changes


def rewrite(run_dir: Path, metadata: dict, value: float | None = None) -> None:
    """Put other metadata into a checkpoint, and a value into all its weights."""
    tensors = load_file(run_dir / WEIGHTS)
    if value is not None:
        tensors = {name: torch.full_like(tensor, value) for name, tensor in tensors.items()}
    save_file(tensors, run_dir / WEIGHTS, metadata={"recbole-llm": json.dumps(metadata)})


def run(settings: dict, **more) -> dict:
    return run_recbole("LLMInterestLSTM", "toy", config_dict={**settings, **more})


def test_load_run_brings_back_the_model_that_was_tested(toy, tmp_path, monkeypatch) -> None:
    result = run({**toy, "item_features": ["text", "id"], "text_cache_dir": str(tmp_path / "c")})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config, model, _, _, _, test_data = load_run(result["run_dir"])
    assert not model.training
    again = InterestTrainer(config, model).evaluate(test_data, load_best_model=False)
    assert {key: float(value) for key, value in again.items()} == result["test_result"]


def test_weights_hold_what_was_learned_and_nothing_else(toy) -> None:
    from safetensors import safe_open

    similar = {"repeat_bias": True, "similarity_bias": True}
    path = Path(run({**toy, "item_features": ["text", "id"], **similar})["run_dir"]) / WEIGHTS
    with safe_open(path, "pt") as file:
        sizes = {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
    _, model, *_ = load_run(path.parent)
    learned = {f"weight/{name}": value.nbytes for name, value in model.named_parameters()}
    assert sizes == learned  # no vectors of texts, nor what follows from them
    assert path.stat().st_size < sum(learned.values()) + 16_384  # names and facts


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / WEIGHTS).unlink(), "no such checkpoint"),
        (lambda d: (d / WEIGHTS).write_bytes(b"half"), "not a safetensors file"),
        (lambda d: (d / CONFIG).write_text("{"), "not a readable JSON"),
        (lambda d: (d / CONFIG).unlink(), "no such file"),
        (lambda d: (d / CONFIG).write_text("{}"), "model must be a str"),
        (lambda d: edit(d, settings=None), "settings must be a dict"),
        (lambda d: edit(d, model=5), "model must be a str"),
        (lambda d: rewrite(d, {"format": FORMAT}), "not a checkpoint of ours"),
        (lambda d: rewrite(d, about(epoch="x")), "not a checkpoint of ours"),
        (lambda d: rewrite(d, about(other={"a": {"tensor": "gone"}})), "are damaged"),
        (lambda d: rewrite(d, about(), torch.nan), "weights that are not finite"),
    ],
)
def test_a_damaged_run_is_named(toy, spoil, words: str) -> None:
    run_dir = Path(run(toy)["run_dir"])
    spoil(run_dir)
    with pytest.raises(RunDirError, match=words):
        load_run(run_dir)


@pytest.mark.parametrize("part", ["inter", "item"])
def test_a_run_whose_data_has_changed_is_not_loaded(toy, part: str) -> None:
    run_dir = Path(run(toy)["run_dir"])
    file = Path(toy["data_path"]) / "toy" / f"toy.{part}"
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *reversed(rows)]) + "\n")
    with pytest.raises(RunDirError, match=rf"toy\.{part}: is not the file that the run read"):
        load_run(run_dir)


def test_weights_trained_on_other_vectors_are_not_loaded(toy) -> None:
    run_dir = Path(run({**toy, "item_features": "text"})["run_dir"])
    stored = json.loads((run_dir / CONFIG).read_text())
    edit(run_dir, settings=stored["settings"] | {"text_prompt": "a film: "})
    with pytest.raises(RunDirError, match="vectors of other texts, or of another encoder"):
        load_run(run_dir)


def test_what_was_read_does_not_change_with_its_file(tmp_path) -> None:
    """Ray writes over states that a trial of population-based training began from."""
    path, options = tmp_path / "x", {"kind": "x", "fields": {}, "device": torch.device("cpu")}
    write_tensors(path, {"a": torch.ones(3)}, about={"format": "x"})
    tensors, _ = read_tensors(path, **options)
    with path.open("r+b") as file:
        file.seek(-12, 2)
        file.write(bytes(12))
    assert tensors["a"].tolist() == [1, 1, 1]
    assert read_tensors(path, **options)[0]["a"].tolist() == [0, 0, 0]


def test_a_run_does_not_say_which_code_is_trusted(toy) -> None:
    run_dir = Path(run(toy)["run_dir"])
    stored = json.loads((run_dir / CONFIG).read_text())
    edit(run_dir, settings=stored["settings"] | {"trust_remote_code": True})
    with pytest.raises(RunDirError, match="trust_remote_code=True"):
        load_run(run_dir)
    assert load_run(run_dir, trust_remote_code=True)[1]


def test_a_run_of_a_gpu_loads_on_a_cpu(toy) -> None:
    run_dir = Path(run(toy)["run_dir"])
    stored = json.loads((run_dir / CONFIG).read_text())
    edit(run_dir, settings=stored["settings"] | {"use_gpu": True, "gpu_id": "3"})
    config, model, *_ = load_run(run_dir)
    if torch.cuda.is_available():
        assert config["device"].type == "cuda"
    else:
        assert next(model.parameters()).device.type == "cpu"


@pytest.mark.usefixtures("gpu")
def test_a_run_made_on_this_gpu_loads_on_its_cpu(toy, monkeypatch) -> None:
    run_dir = Path(run({**toy, "use_gpu": True})["run_dir"])
    assert json.loads((run_dir / RESULT).read_text())["device"].startswith("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _, model, *_ = load_run(run_dir)
    assert next(model.parameters()).device.type == "cpu"


def test_a_pickle_among_the_weights_is_not_opened(toy, canary) -> None:
    run_dir = Path(run(toy)["run_dir"])
    (run_dir / WEIGHTS).write_bytes(pickle.dumps(canary))
    with pytest.raises(RunDirError, match="not a safetensors file"):
        load_run(run_dir)
    assert not canary.path.exists()


def test_recboles_own_checkpoint_is_not_opened(tmp_path) -> None:
    (tmp_path / "SASRec.pth").write_bytes(b"\x80\x04")
    with pytest.raises(RunDirError, match="pickles"):
        load_run(tmp_path / "SASRec.pth")
