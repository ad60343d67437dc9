"""The smallest batches and histories, and numbers that are not finite."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import NonFiniteError, OutOfMemoryError, RequestError
from recbole_llm.model.base import InterestModel
from recbole_llm.plugin import MODELS
from recbole_llm.train.trainer import InterestTrainer


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("training", ["all_positions", "prefixes"])
def test_batches_and_histories_of_one(toy, model: str, training: str) -> None:
    tiny = {"MAX_ITEM_LIST_LENGTH": 1, "train_batch_size": 1, "eval_batch_size": 1, "epochs": 1}
    result = run_recbole(model, "toy", config_dict={**toy, **tiny, "training": training})
    assert 0 <= result["test_result"]["ndcg@3"] <= 1


@pytest.mark.parametrize("loss", ["CE", "SCE", "BCE", "GBCE", "BPR", "MSE"])
def test_a_catalogue_of_one_item(write_dataset, small, loss: str) -> None:
    events = [(f"u{user}", "i0", float(k)) for user in range(4) for k in range(4)]
    own = {"data_path": str(write_dataset(events)), "loss_type": loss, "epochs": 1, "topk": [1]}
    own |= {"valid_metric": "NDCG@1"}
    result = run_recbole("LLMInterestLinear", "toy", config_dict={**small, **own})
    assert result["test_result"]["ndcg@1"] == 1


def test_a_split_may_leave_the_test_out(toy) -> None:
    own = {"eval_args": {"split": {"LS": "valid_only"}}, "epochs": 1}
    result = run_recbole("LLMInterestLinear", "toy", config_dict={**toy, **own})
    assert result["best_valid_result"] and result["test_result"] == {}


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_row_without_history_has_finite_scores(toy, model: str) -> None:
    _, loaded, *_ = load_run(run_recbole(model, "toy", config_dict={**toy, "epochs": 1})["run_dir"])
    empty = {
        "item_id_list": torch.zeros(2, 4, dtype=torch.long),
        "item_length": torch.tensor([0, 1]),
    }
    scores = loaded.full_sort_predict(Interaction(empty))
    assert torch.isfinite(scores).all()
    assert torch.equal(scores[0], scores[1])  # both have read padding and nothing else


def test_a_weight_that_is_not_finite_is_named(toy, monkeypatch) -> None:
    calculate_loss = InterestModel.calculate_loss

    def spoiling(self, batch):
        if self.training:
            self.evolution.output.weight.data[0, 0] = torch.nan
        return calculate_loss(self, batch)

    monkeypatch.setattr(InterestModel, "calculate_loss", spoiling)
    with pytest.raises(NonFiniteError, match=r"epoch 0, batch 0: .*evolution\.output\.weight"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=toy)


def test_a_weight_that_saturates_a_gate_is_named_before_it_is_kept(toy, monkeypatch) -> None:
    """The loss is finite all the while."""
    calculate_loss, losses = InterestModel.calculate_loss, []

    def spoiling(self, batch):
        loss = calculate_loss(self, batch)
        losses.append(loss.item())
        if len(losses) > 4:  # in the second epoch
            self.evolution.network.bias_ih_l0.data[0] = torch.inf  # of an input gate
        return loss

    monkeypatch.setattr(InterestModel, "calculate_loss", spoiling)
    with pytest.raises(NonFiniteError, match=r"after epoch \d: .*evolution\.network\.bias_ih_l0"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=toy)
    assert np.isfinite(losses).all()
    assert load_run(next(Path("saved").iterdir()))  # what was good before


def test_a_step_that_memory_does_not_hold_names_its_batch(toy, monkeypatch) -> None:
    def backward(*_: object, batch: int, **__: object) -> None:
        if batch == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("recbole_llm.train.optim.Steps.backward", backward)
    words = r"epoch 0, batch 1: memory does not hold a step.*: CUDA out of .*train_batch_size"
    with pytest.raises(OutOfMemoryError, match=words):
        run_recbole("LLMInterestLSTM", "toy", config_dict=toy)


def test_a_processor_without_a_kernel_in_bf16_is_named(toy, monkeypatch) -> None:
    """As by oneDNN where there is no AVX-512."""
    words = "could not create a primitive descriptor for the LSTM forward propagation primitive."

    def lacking(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(InterestModel, "calculate_loss", lacking)
    with pytest.raises(RequestError, match=f"enable_amp: .* LLMInterestLSTM .*{words} Leave"):
        run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "enable_amp": True})
    with pytest.raises(RuntimeError, match=words):  # this is nothing that enable_amp brought
        run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "enable_amp": False})


def test_an_lstm_trains_in_bf16_or_says_that_the_processor_cannot(toy) -> None:
    settings = {**toy, "enable_amp": True, "epochs": 1, "use_gpu": False}
    try:
        result = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    except RequestError as error:
        assert "enable_amp: this processor cannot train LLMInterestLSTM in bfloat16" in str(error)
    else:
        assert result["epochs"] == 1


def test_a_metric_that_is_nan_is_a_failure(toy, monkeypatch) -> None:
    nan = float("nan")
    monkeypatch.setattr(InterestTrainer, "evaluate", lambda *_, **__: {"ndcg@3": nan})
    with pytest.raises(NonFiniteError, match="validation after epoch 0: ndcg@3 is nan"):
        run_recbole("LLMInterestLSTM", "toy", config_dict=toy)


def test_a_metric_that_never_moves_stops_by_patience_at_the_first_epoch(toy, monkeypatch) -> None:
    evaluate = InterestTrainer.evaluate

    def constant(self, *args, **kwargs):
        return dict.fromkeys(evaluate(self, *args, **kwargs), 0.0)

    monkeypatch.setattr(InterestTrainer, "evaluate", constant)
    settings = {**toy, "epochs": 50, "stopping_step": 2}
    result = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    assert (result["epochs"], result["best_epoch"], result["best_valid_score"]) == (4, 0, 0.0)


def test_no_epochs_are_refused(toy) -> None:
    with pytest.raises(RequestError, match=r"epochs: 0 trains nothing.*at least 1"):
        run_recbole("LLMInterestLSTM", "toy", config_dict={**toy, "epochs": 0})


def test_a_lost_cache_is_made_again_and_the_run_loads(toy, tmp_path) -> None:
    cache = tmp_path / "vectors"
    settings = {**toy, "item_features": "text", "text_cache_dir": str(cache)}
    result = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)
    shutil.rmtree(cache)
    config, model, _, _, _, test_data = load_run(result["run_dir"])
    assert any(Path(cache).iterdir())
    again = InterestTrainer(config, model).evaluate(test_data, load_best_model=False)
    assert {key: float(value) for key, value in again.items()} == result["test_result"]


def test_text_vectors_take_no_gradient_and_projections_do(toy) -> None:
    settings = {**toy, "item_features": ["text", "id"], "epochs": 1}
    run_dir = run_recbole("LLMInterestLSTM", "toy", config_dict=settings)["run_dir"]
    _, model, *_ = load_run(run_dir)
    before = model.items.features[0].vectors.clone()
    batch = Interaction(
        {
            "item_id_list": torch.tensor([[1, 2]]),
            "item_length": torch.tensor([2]),
            "item_id": torch.tensor([3]),
            "user_id": torch.tensor([1]),
        }
    )
    model.train().calculate_loss(batch).backward()
    assert (
        model.items.features[0].vectors.grad is None
        and not model.items.features[0].vectors.requires_grad
    )
    assert all(p.grad is not None and p.grad.any() for p in model.items.parameters())
    assert torch.equal(model.items.features[0].vectors, before)
