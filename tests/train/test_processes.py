"""Several processes train and evaluate one model as one process does, or as one that reads parts.

A loss over a batch is a mean over its targets, and two processes make it from their parts, so that
they train as one does. What looks at the rows of a batch together, the contrastive term, in-batch
negatives and adversarial moves of items, looks at those of each process's part: then two processes
train as one that takes each batch in two parts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import load_run, run_recbole
from recbole_llm.build import trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.data.batches import WindowBatch
from recbole_llm.errors import RecBoleLLMError, RequestError
from recbole_llm.launch import _work, gpus_of
from recbole_llm.quick_start import _open_run_dir
from recbole_llm.resume import stored_run
from recbole_llm.run_dir import CONFIG, RESULT, WEIGHTS
from recbole_llm.train.engine import BatchLoss

PLAIN = {"dropout_prob": 0.0, "enable_amp": False, "epochs": 3, "train_batch_size": 5}  # 5, 5 and 2
CASES: dict[str, dict[str, Any]] = {
    "weights": {
        "model": "LLMInterestGRU", "propensity_weighting": "snips", "propensity_power": 4.0,
        "propensity_clip": 0.0,
    },
    "text in GRU4Rec": {
        "model": "GRU4Rec", "training": "all_positions", "item_features": ["text", "id"],
        "embedding_size": 8, "loss_type": "CE",
    },
    "augmentation": {
        "model": "LLMInterestGRU", "augmentation": ["drop", "mask", "crop", "reorder"],
        "augmentation_rate": 0.4,
    },
    "views": {"model": "LLMInterestGRU", "contrastive_weight": 0.5},
    "adversarial": {"model": "LLMInterestGRU", "adversarial_weight": 0.5},
    "contrast": {
        "model": "LLMInterestGRU", "contrastive_weight": 0.5, "contrastive_views": "same_target",
    },
    "in-batch": {
        "model": "LLMInterestGRU", "loss_type": "SCE", "negative_sampling": "in_batch",
    },
}  # fmt: skip
WAIT = 300  # seconds that a slow machine may need
BY_PARTS = ("views", "adversarial", "contrast", "in-batch")
# What each of the processes of --nproc does, here for one run after the other: their start is slow.
WORK = """
import sys
from torch.multiprocessing import SimpleQueue
from recbole_llm.launch import _work
rank, *run_dirs = sys.argv[1:]
for run_dir in run_dirs:
    _work(int(rank), run_dir, 2, [], True, False, {}, run_dir + "/meet", SimpleQueue())
"""


def in_parts(self: BatchLoss, batch: WindowBatch) -> torch.Tensor:
    """Return what two processes' losses of their parts of a batch are in the mean."""
    parts = []
    for place in range(2):
        part = batch.rows(slice(place, None, 2))
        share = (part.targets > 0).sum() / (batch.targets > 0).sum()
        parts.append(share * self.model.calculate_loss(part))
    return sum(parts)


def request(case: str, settings: dict, run_dir: Path) -> tuple[str, dict[str, Any]]:
    """Return the model and the settings of a case."""
    more = {**settings, **PLAIN, **CASES[case], "run_dir": str(run_dir)}
    return more.pop("model"), more


def alone(case: str, settings: dict, run_dir: Path) -> dict[str, torch.Tensor]:
    """Train a case in this process and return the weights."""
    model, more = request(case, settings, run_dir)
    run_recbole(model, "toy", config_dict=more)
    return load_file(run_dir / WEIGHTS)


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return how far two models' weights are from each other at most."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture
def together(toy, tmp_path) -> Path:
    """Return a folder with a run of every case, each trained by the same two processes."""
    run_dirs = []
    for case in CASES:
        model, more = request(case, toy, tmp_path / "together" / case)
        run_dirs.append(str(_open_run_dir(LLMConfig(model, "toy", None, more), nproc=2)))
    children = [
        subprocess.Popen([sys.executable, "-c", WORK, str(rank), *run_dirs]) for rank in range(2)
    ]
    assert [child.wait(timeout=WAIT) for child in children] == [0, 0]
    return tmp_path / "together"


@pytest.mark.slow
def test_two_processes_train_as_one(toy, together, tmp_path, monkeypatch) -> None:
    for case in CASES:
        weights = load_file(together / case / WEIGHTS)
        whole = alone(case, toy, tmp_path / "whole" / case)
        assert (difference(weights, whole) < 1e-5) == (case not in BY_PARTS), case
        if case in BY_PARTS:
            with monkeypatch.context() as context:
                context.setattr(BatchLoss, "forward", in_parts)
                parts = alone(case, toy, tmp_path / "parts" / case)
            assert difference(weights, parts) < 1e-5 < difference(parts, whole), case
        result = json.loads((together / case / RESULT).read_text())
        config, model, _, train, _, test = load_run(together / case)
        trainer = trainer_class(config)(config, model)
        trainer.eval_collector.data_collect(train)
        assert trainer.evaluate(test, load_best_model=False) == result["test_result"], case


def test_several_processes_are_refused_where_they_cannot_be(toy) -> None:
    with pytest.raises(RequestError, match="need training: all_positions; SASRec has prefixes"):
        run_recbole("SASRec", "toy", config_dict=toy, nproc=2)
    own = toy | {"benchmark_filename": ["train", "valid", "test"]}
    with pytest.raises(RequestError, match="benchmark_filename brings histories of its own"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=own, nproc=2)
    with pytest.raises(RequestError, match="nproc: must be at least 1, received 0"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=toy, nproc=0)


@pytest.mark.parametrize(
    ("gpu_id", "expected"), [("0", ["0", "1"]), ("2,3", ["2", "3"]), ("3, 1, 2", ["3", "1"])]
)
def test_processes_are_on_the_gpus_that_are_named(monkeypatch, gpu_id, expected) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    config: Any = {"device": torch.device("cuda", 0), "gpu_id": gpu_id}
    assert gpus_of(config, 2) == expected


@pytest.mark.parametrize(("gpu_id", "nproc"), [("2", 2), ("2,2", 2), ("2,7", 2), ("0", 5)])
def test_too_few_gpus_are_refused(monkeypatch, gpu_id, nproc) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    config: Any = {"device": torch.device("cuda", 0), "gpu_id": gpu_id}
    with pytest.raises(RequestError, match=f"{nproc} processes need as many GPUs; gpu_id names"):
        gpus_of(config, nproc)


@pytest.mark.parametrize(("gpus", "gpu_id"), [([], None), (["2", "3"], "3")])
def test_a_process_has_its_gpu_and_its_share_of_the_threads(monkeypatch, gpus, gpu_id) -> None:
    asked, threads, problems = [], [], []

    def config(**changes: Any) -> dict[str, Any]:
        asked.append(changes.get("gpu_id"))
        return {"device": torch.device("cpu")}

    def stop(**_: Any) -> None:
        raise RequestError("far enough")

    monkeypatch.setattr("recbole_llm.resume.stored_run", lambda _: SimpleNamespace(config=config))
    monkeypatch.setattr("recbole_llm.train.world.joined", stop)
    monkeypatch.setattr("torch.get_num_threads", lambda: 6)  # as OMP_NUM_THREADS may say
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    with pytest.raises(SystemExit):
        _work(1, "run", 2, gpus, True, False, {}, "meet", SimpleNamespace(put=problems.append))
    assert (asked, threads, problems) == ([gpu_id], [3], [("RequestError", "far enough")])


@pytest.mark.slow
def test_the_command_trains_and_evaluates_in_two_processes_as_in_one(toy, tmp_path) -> None:
    settings = {**toy, **PLAIN}
    one = run_recbole("LLMInterestGRU", "toy", config_dict=settings)
    two = run_recbole("LLMInterestGRU", "toy", config_dict=settings, nproc=2)
    assert difference(*(load_file(Path(r["run_dir"]) / WEIGHTS) for r in (one, two))) < 1e-5
    assert two["test_result"] == pytest.approx(one["test_result"], abs=1e-9)
    stored = json.loads((Path(two["run_dir"]) / CONFIG).read_text())
    assert stored["processes"] == 2
    assert list(Path(two["run_dir"]).glob("*.log"))
    with pytest.raises(RequestError, match="was trained by 2; received 1"):
        (Path(two["run_dir"]) / RESULT).unlink()
        run_recbole(resume=two["run_dir"], nproc=1)
    elsewhere = Path(toy["data_path"]).rename(tmp_path / "elsewhere")
    again = run_recbole(resume=two["run_dir"], config_dict={"data_path": str(elsewhere)})
    assert again["test_result"] == two["test_result"]


def test_what_may_differ_when_a_run_goes_on_reaches_every_process(
    toy, tmp_path, monkeypatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def start(work: Any, *, args: tuple[Any, ...], **_: Any) -> SimpleNamespace:
        asked.append(args)
        return SimpleNamespace(join=lambda: True, processes=())

    monkeypatch.setattr("recbole_llm.launch.mp.spawn", start)
    settings = {**toy, "run_dir": str(tmp_path / "run")}
    run_dir = _open_run_dir(LLMConfig("LLMInterestLSTM", "toy", None, settings), nproc=2)
    elsewhere = str(Path(toy["data_path"]).rename(tmp_path / "elsewhere"))
    here = {"data_path": elsewhere, "text_cache_dir": "vectors", "show_progress": True}
    with pytest.raises(RecBoleLLMError, match="the processes ended and left no result"):
        run_recbole(resume=run_dir, config_dict=here)
    (changes,) = (part for part in asked[0] if isinstance(part, dict))
    config = stored_run(run_dir).config(**changes)
    assert {key: config.resolved[key] for key in here} == here
    assert config["run_dir"] == str(run_dir)


@pytest.mark.slow
def test_the_failure_of_one_process_is_one_clear_message(toy) -> None:
    with pytest.raises(RecBoleLLMError, match="topk: at most the number of items, 9; received 30"):
        settings = {**toy, "topk": [30], "valid_metric": "NDCG@30"}
        run_recbole("LLMInterestLSTM", "toy", config_dict=settings, nproc=2)
