"""Training: guards, the best epoch, interruption, and the way back to a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import DataError, NonFiniteError, RequestError, RunDirError
from recbole_llm.model.base import InterestModel
from recbole_llm.run_dir import CONFIG, RESULT, WEIGHTS
from recbole_llm.train.trainer import InterestTrainer

SMALL = {
    "item_features": "id", "embedding_size": 8, "hidden_size": 8, "epochs": 3,
    "train_batch_size": 8, "show_progress": False, "topk": [3], "valid_metric": "NDCG@3",
}  # fmt: skip


def events(num_users: int = 12, length: int = 7) -> list[tuple[str, str, float]]:
    return [
        (f"u{user}", f"i{(user + step) % 9}", float(step))
        for user in range(num_users)
        for step in range(length)
    ]


@pytest.fixture
def toy(write_dataset) -> dict:
    """Return settings that train a small model on a small dataset."""
    titles = {f"i{k}": f"title {k}" for k in range(9)}
    return {"data_path": str(write_dataset(events(), titles)), **SMALL}


def run(settings: dict, **more) -> dict:
    return run_recbole("LLMInterestLSTM", "toy", config_dict={**settings, **more})


def test_a_result_has_the_keys_of_the_contract(toy) -> None:
    result = run(toy)
    stored = json.loads((Path(result["run_dir"]) / RESULT).read_text())
    assert stored["schema"] == 1 and stored["epochs"] == 3
    for key in ("model", "dataset", "seed", "best_valid_result", "test_result", "run_dir"):
        assert stored[key] == result[key]
    assert {"prepare", "encode", "train", "evaluate", "per_epoch"} == result["seconds"].keys()
    assert {"best_valid_score", "valid_score_bigger"} <= result.keys()
    protocol = stored["protocol"]
    assert protocol["time_precision"] == "exact" and not protocol["seen_items_filtered"]
    assert len(protocol["data_sha256"]["toy.inter"]) == 64
    assert stored["settings"]["hidden_size"] == 8 and "torch" in stored["versions"]
    json.dumps(result)


def test_the_same_seed_gives_the_same_metrics_and_another_does_not(toy) -> None:
    first, again, other = run(toy), run(toy), run(toy, seed=7)
    assert first["test_result"] == again["test_result"]
    assert first["best_valid_result"] == again["best_valid_result"]
    weights = [load_file(Path(r["run_dir"], WEIGHTS)) for r in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_runs_of_one_moment_have_their_own_directories(toy) -> None:
    assert run(toy)["run_dir"] != run(toy)["run_dir"]


def test_a_run_directory_that_is_taken_is_refused(toy, tmp_path) -> None:
    run(toy, run_dir=str(tmp_path / "here"))
    with pytest.raises(RequestError, match="holds a run already"):
        run(toy, run_dir=str(tmp_path / "here"))


def test_the_first_of_equally_good_epochs_is_kept(toy, monkeypatch) -> None:
    scores = iter([0.2, 0.5, 0.5, 0.5, 0.5, 0.4, 0.5])

    def scripted(self, *_: object, **__: object):
        score = next(scores)
        return score, {"ndcg@3": score}

    monkeypatch.setattr(InterestTrainer, "_valid_epoch", scripted)
    result = run(toy, epochs=50, stopping_step=3)
    assert (result["best_epoch"], result["epochs"]) == (1, 6)


def test_validation_keeps_more_than_four_decimals(toy) -> None:
    value = run(toy)["best_valid_result"]["ndcg@3"]
    assert value != round(value, 4)


def test_a_loss_that_is_not_finite_names_its_epoch(toy, monkeypatch) -> None:
    monkeypatch.setattr(
        InterestModel, "calculate_loss",
        lambda self, batch: self.items.table().sum() * float("inf"),
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match="epoch 0: the training loss is"):
        run(toy)


def test_a_score_that_is_nan_is_an_error_and_never_a_rank(toy, monkeypatch) -> None:
    monkeypatch.setattr(
        InterestModel, "full_sort_predict",
        lambda self, batch: torch.full((len(batch), self.n_items), float("nan")),
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match="NaN scores"):
        run(toy)


def test_padding_is_never_recommended(toy, monkeypatch) -> None:
    seen = []
    original = InterestTrainer._full_sort_batch_eval

    def spy(self, batch):
        outcome = original(self, batch)
        seen.append(outcome[1][:, 0])
        return outcome

    monkeypatch.setattr(InterestTrainer, "_full_sort_batch_eval", spy)
    run(toy)
    assert all(torch.isneginf(column).all() for column in seen) and len(seen) == 4


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

    result = run({**toy, "item_features": ["text", "id"]})
    with safe_open(Path(result["run_dir"]) / WEIGHTS, "pt") as file:
        names = list(file.keys())
    assert names and not [name for name in names if "items.text" in name]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / WEIGHTS).unlink(), "no such checkpoint"),
        (lambda d: (d / WEIGHTS).write_bytes(b"half"), "not a safetensors file"),
        (lambda d: (d / CONFIG).write_text("{"), "not a readable JSON"),
        (lambda d: (d / CONFIG).unlink(), "no such file"),
        (lambda d: (d / CONFIG).write_text("{}"), "must have model, dataset and settings"),
    ],
)
def test_a_damaged_run_is_named(toy, spoil, words: str) -> None:
    run_dir = Path(run(toy)["run_dir"])
    spoil(run_dir)
    with pytest.raises(RunDirError, match=words):
        load_run(run_dir)


def test_recboles_own_checkpoint_is_not_opened(tmp_path) -> None:
    (tmp_path / "SASRec.pth").write_bytes(b"\x80\x04")
    with pytest.raises(RunDirError, match="pickles"):
        load_run(tmp_path / "SASRec.pth")


@pytest.mark.parametrize(
    ("lengths", "fine"),
    [([7, 1], True), ([7, 2], True), ([7, 3], True), ([3, 3], False), ([2], False), ([1], False)],
    ids=str,
)
def test_users_with_few_events(write_dataset, lengths, fine: bool) -> None:
    rows = [(f"u{u}", f"i{(u + k) % 9}", float(k)) for u, n in enumerate(lengths) for k in range(n)]
    settings = {**SMALL, "data_path": str(write_dataset(rows)), "topk": [1]}
    settings["valid_metric"] = "NDCG@1"
    if fine:
        assert run(settings)["epochs"] == 3
        return
    with pytest.raises(DataError, match="at least 4 interactions"):
        run(settings)


def test_more_places_than_items_are_refused(toy) -> None:
    with pytest.raises(RequestError, match="topk: at most the number of items, 9; received 10"):
        run(toy, topk=[10], valid_metric="NDCG@10")


def test_items_without_text_are_counted_and_may_be_refused(write_dataset) -> None:
    folder = write_dataset(events(), {f"i{k}": f"title {k}" for k in range(3)} | {"z": "unused"})
    settings = {**SMALL, "data_path": str(folder), "item_features": "text", "epochs": 1}
    stored = json.loads((Path(run(settings)["run_dir"]) / RESULT).read_text())
    assert (stored["text"]["matched"], stored["text"]["missing"], stored["text"]["unused"]) == (
        3,
        6,
        1,
    )
    with pytest.raises(DataError, match=r"33\.3% of 9 items have a text"):
        run(settings, min_text_coverage=0.5)


def test_a_dataset_without_item_file_names_it(write_dataset) -> None:
    settings = {**SMALL, "data_path": str(write_dataset(events())), "item_features": "text"}
    with pytest.raises(DataError, match=r"toy\.item: no such file; the folder holds toy\.inter"):
        run(settings)


@pytest.mark.parametrize("training", ["all_positions", "prefixes"])
@pytest.mark.parametrize("model", ["LLMInterestLSTM", "LLMInterestLinear"])
def test_both_ways_of_training_learn_a_cycle(write_dataset, model, training) -> None:
    settings = {**SMALL, "data_path": str(write_dataset(events())), "training": training}
    settings |= {"epochs": 60, "learning_rate": 0.05, "dropout_prob": 0.0}
    result = run_recbole(model, "toy", config_dict=settings)
    assert result["test_result"]["ndcg@3"] > 0.9


def test_a_read_only_dataset_is_enough(toy) -> None:
    folder = Path(toy["data_path"]) / "toy"
    before = sorted((f.name, f.stat().st_mtime_ns) for f in folder.iterdir())
    folder.chmod(0o555)
    run({**toy, "item_features": "text"})
    assert sorted((f.name, f.stat().st_mtime_ns) for f in folder.iterdir()) == before


def test_interrupted_training_leaves_a_run_that_loads(toy, tmp_path) -> None:
    run_dir = tmp_path / "stopped"
    endless = {"epochs": 100_000, "stopping_step": 100_000, "run_dir": run_dir}
    words = [f"--{key}={value}" for key, value in {**toy, **endless}.items()]
    words += ["--model=LLMInterestLSTM", "--dataset=toy"]
    code = "import sys; from recbole_llm.cli import *; sys.exit(run_recbole_command())"
    with (tmp_path / "log").open("w") as log:
        child = subprocess.Popen([sys.executable, "-c", code, *words], stderr=log, stdout=log)
        deadline = time.monotonic() + 120
        while not (run_dir / WEIGHTS).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(child.pid, signal.SIGINT)
        assert child.wait(timeout=60) == 130
    assert "load_run" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    model = load_run(run_dir)[1]
    assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())
