"""Training: guards, the best epoch, interruption, and the way back to a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import DataError, NonFiniteError, RequestError
from recbole_llm.hardware import amp_dtype, cpu_is_faster_in_bf16
from recbole_llm.model.base import InterestModel
from recbole_llm.model.items import ItemRepresentation
from recbole_llm.run_dir import RESULT, WEIGHTS
from recbole_llm.train.trainer import InterestTrainer


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
    assert stored["precision"] == ("bfloat16" if cpu_is_faster_in_bf16() else "float32")
    json.dumps(result)


@pytest.mark.parametrize(("is_mixed", "said"), [(True, "bfloat16"), (False, "float32")])
def test_a_result_says_the_precision_that_was_asked_for(toy, is_mixed, said: str) -> None:
    settings = {**toy, "enable_amp": is_mixed, "epochs": 1, "use_gpu": False}
    run_dir = run_recbole("LLMInterestGRU", "toy", config_dict=settings)["run_dir"]
    assert json.loads(Path(run_dir, RESULT).read_text())["precision"] == said


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
    here = {"run_dir": str(tmp_path / "here")}
    with pytest.raises(RequestError, match="topk"):
        run(toy, **here, topk=[10], valid_metric="NDCG@10")
    run(toy, **here)  # the refused request left no run behind
    with pytest.raises(RequestError, match="holds a run already"):
        run(toy, run_dir=str(tmp_path / "here"))


@pytest.mark.parametrize(
    ("scores", "more", "best"),
    [
        ([0.2, 0.5, 0.5, 0.5, 0.5, 0.4, 0.5], {}, 1),
        ([0.2, 0.5, 0.51, 0.52, 0.53, 0.54, 0.9], {"min_delta": 0.05}, 1),
    ],
)
def test_the_first_of_equally_good_epochs_is_kept(toy, monkeypatch, scores, more, best) -> None:
    scores = iter(scores)

    def scripted(self, *_: object, **__: object):
        score = next(scores)
        return score, {"ndcg@3": score}

    monkeypatch.setattr(InterestTrainer, "_valid_epoch", scripted)
    result = run(toy, epochs=50, stopping_step=3, **more)
    assert (result["best_epoch"], result["epochs"]) == (best, 6)


def test_validation_keeps_more_than_four_decimals(toy) -> None:
    value = run(toy)["best_valid_result"]["ndcg@3"]
    assert value != round(value, 4)


def test_a_loss_that_is_not_finite_names_its_epoch(toy, monkeypatch) -> None:
    monkeypatch.setattr(
        InterestModel, "calculate_loss",
        lambda self, batch: self.items.table().sum() * float("inf"),
    )  # fmt: skip
    words = r"epoch 0, batch 0: the training loss is [^;]* Lower learning_rate, or set .*norm\.$"
    with pytest.raises(NonFiniteError, match=words):  # and no word of a checkpoint
        run(toy)


def test_a_loss_that_is_not_finite_names_vectors_that_are_not(toy, monkeypatch) -> None:
    """Of the item vectors, which are no weights."""
    made = ItemRepresentation.__init__

    def spoiled(self, *args, **kwargs) -> None:
        made(self, *args, **kwargs)
        self.features[0].vectors[3] = float("nan")

    monkeypatch.setattr(ItemRepresentation, "__init__", spoiled)
    with pytest.raises(NonFiniteError, match=r"loss is nan; not finite: items\.features\.0\.vec"):
        run({**toy, "item_features": "text"})


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(
    ("mode", "place"), [("full", "InterestModel.last_interest"), ("uni5", "InterestModel.predict")]
)
def test_a_score_that_is_not_finite_is_an_error_and_never_a_rank(
    toy, monkeypatch, mode, place, value
) -> None:
    def spoiled(self, batch, *table):
        shape = (len(batch), self.items.embedding.embedding_dim) if table else (len(batch),)
        return torch.full(shape, float(value))

    monkeypatch.setattr(f"recbole_llm.model.base.{place}", spoiled)
    with pytest.raises(NonFiniteError, match="epoch 0: the model gives scores that are NaN or inf"):
        run(toy, eval_args={"mode": mode})


@pytest.mark.usefixtures("gpu")
def test_mixed_precision_on_a_gpu_is_near_float32(toy) -> None:
    clipped = {"clip_grad_norm": {"max_norm": 5.0}, "enable_amp": True}
    run_dir = Path(run({**toy, **clipped, "use_gpu": True})["run_dir"])
    assert "Training in mixed precision." in next(run_dir.glob("*.log")).read_text()
    _, model, _, _, _, test = load_run(run_dir)
    batch = next(iter(test))[0].to("cuda")
    with torch.no_grad():
        exact = model.eval().full_sort_predict(batch)
        with torch.autocast("cuda", amp_dtype("cuda")):
            mixed = model.full_sort_predict(batch)
    assert torch.isfinite(exact).all() and not torch.equal(mixed.float(), exact)
    assert torch.allclose(mixed.float(), exact, atol=0.02 * float(exact.abs().max()))


def test_what_the_log_and_the_folder_keep(toy) -> None:
    run_dir = Path(run_recbole("GRU4Rec", "toy", config_dict={**toy, "epochs": 1})["run_dir"])
    log = (run_dir / f"{run_dir.name}.log").read_text()
    assert "train_neg_sample_args is None" in log and "epoch 0 training [time:" in log
    assert list(Path("log_tensorboard").glob("**/events.out.tfevents*"))


def test_a_failure_that_is_not_foreseen_is_in_the_log_of_its_run(toy, monkeypatch) -> None:
    monkeypatch.setattr(InterestModel, "calculate_loss", lambda self, batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(toy)
    assert "ZeroDivisionError" in next(Path("saved").glob("*/*.log")).read_text()


def test_a_metric_that_never_came_is_null(toy) -> None:
    result = run(toy, eval_step=0)
    assert result["best_valid_score"] is None and result["best_epoch"] == 2
    json.dumps(result, allow_nan=False)


def test_each_epoch_is_cut_afresh(toy, monkeypatch) -> None:
    cuts = []
    calculate_loss = InterestModel.calculate_loss

    def spy(self, batch):
        cuts.append(sorted(batch.history.tolist()))
        return calculate_loss(self, batch)

    monkeypatch.setattr(InterestModel, "calculate_loss", spy)
    run(toy, MAX_ITEM_LIST_LENGTH=3, train_batch_size=1000)
    assert len(cuts) == 3 and cuts[0] != cuts[1] != cuts[2]


def test_a_machine_without_git_keeps_its_result(toy, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    stored = json.loads((Path(run(toy)["run_dir"]) / RESULT).read_text())
    assert stored["commit"] is None and stored["test_result"]


@pytest.mark.parametrize(
    ("mode", "candidates"), [("full", "all items"), ("uni5", {"valid": "uni5", "test": "uni5"})]
)
def test_the_protocol_names_the_candidates(toy, mode: str, candidates) -> None:
    result = run(toy, eval_args={"mode": mode}, epochs=1)
    stored = json.loads((Path(result["run_dir"]) / RESULT).read_text())
    assert stored["protocol"]["candidates"] == candidates


@pytest.mark.parametrize(
    ("lengths", "fine"),
    [
        ([7, 1], True),
        ([7, 2], True),
        ([7, 3], True),
        ([4], True),
        ([3, 3], False),
        ([2], False),
        ([1], False),
    ],
    ids=str,
)
def test_users_with_few_events(write_dataset, lengths, fine: bool, small) -> None:
    rows = [(f"u{u}", f"i{(u + k) % 9}", float(k)) for u, n in enumerate(lengths) for k in range(n)]
    settings = {**small, "data_path": str(write_dataset(rows)), "topk": [1]}
    settings["valid_metric"] = "NDCG@1"
    if fine:
        assert run(settings)["epochs"] == 3
        return
    with pytest.raises(DataError, match="at least 4 interactions"):
        run(settings)


def test_more_places_than_items_are_refused(toy) -> None:
    with pytest.raises(RequestError, match="topk: at most the number of items, 9; received 10"):
        run(toy, topk=[10], valid_metric="NDCG@10")


def test_items_without_text_are_counted_and_may_be_refused(write_dataset, small, walks) -> None:
    folder = write_dataset(walks, {f"i{k}": f"title {k}" for k in range(3)} | {"z": "unused"})
    settings = {**small, "data_path": str(folder), "item_features": "text", "epochs": 1}
    stored = json.loads((Path(run(settings)["run_dir"]) / RESULT).read_text())
    assert (stored["text"]["matched"], stored["text"]["missing"], stored["text"]["unused"]) == (
        3,
        6,
        1,
    )
    with pytest.raises(DataError, match=r"33\.3% of 9 items have a text"):
        run(settings, min_text_coverage=0.5)


@pytest.mark.parametrize("policy", ["zero", "id", "error"])
def test_when_no_item_has_a_text(write_dataset, policy: str, small, walks) -> None:
    folder = write_dataset(walks, {f"i{k}": " " for k in range(9)})
    settings = {**small, "data_path": str(folder), "item_features": "text", "epochs": 1}
    if policy == "id":
        result = run(settings, empty_text=policy)
        assert json.loads(Path(result["run_dir"], RESULT).read_text())["text"]["empty"] == 9
        return
    words = {"zero": "not one of 9 items has a text", "error": "9 items have no text"}[policy]
    with pytest.raises(DataError, match=words):
        run(settings, empty_text=policy)


def test_texts_that_are_cut_are_counted(write_dataset, small, walks) -> None:
    folder = write_dataset(walks, {f"i{k}": f"word {k} " * (1 + 9 * (k < 2)) for k in range(9)})
    settings = {**small, "data_path": str(folder), "item_features": "text", "epochs": 1}
    stored = json.loads(Path(run(settings, text_max_length=8)["run_dir"], RESULT).read_text())
    assert stored["text"]["truncated"] == 2


def test_a_dataset_without_item_file_names_it(write_dataset, small, walks) -> None:
    settings = {**small, "data_path": str(write_dataset(walks)), "item_features": "text"}
    with pytest.raises(DataError, match=r"toy\.item: no such file; the folder holds toy\.inter"):
        run(settings)


@pytest.mark.parametrize("training", ["all_positions", "prefixes"])
@pytest.mark.parametrize("model", ["LLMInterestLSTM", "LLMInterestLinear"])
def test_both_ways_of_training_learn_a_cycle(write_dataset, model, training, small, walks) -> None:
    settings = {**small, "data_path": str(write_dataset(walks)), "training": training}
    settings |= {"epochs": 60, "learning_rate": 0.05, "dropout_prob": 0.0}
    result = run_recbole(model, "toy", config_dict=settings)
    assert result["test_result"]["ndcg@3"] > 0.9


def test_a_read_only_dataset_is_enough(toy) -> None:
    folder = Path(toy["data_path"]) / "toy"
    before = sorted((f.name, f.stat().st_mtime_ns) for f in folder.iterdir())
    folder.chmod(0o555)
    run({**toy, "item_features": "text"})
    assert sorted((f.name, f.stat().st_mtime_ns) for f in folder.iterdir()) == before
