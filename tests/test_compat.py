"""Each work-around is needed, and does what it says."""

from __future__ import annotations

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import psutil
import pytest
import scipy.sparse
import torch
from recbole.config import Config
from recbole.utils import early_stopping, get_environment, get_model

from recbole_llm import compat
from recbole_llm.config import LLMConfig


def test_recbole_still_says_names_that_numpy_lost() -> None:
    import recbole.config.configurator as configurator
    from recbole.evaluator import metrics

    assert "np.float_" in inspect.getsource(configurator)
    assert not hasattr(np, "float_") or int(np.__version__.split(".")[0]) < 2
    assert "np.float)" in inspect.getsource(metrics)


def test_the_environment_is_shown_as_recbole_shows_it_without_its_wait(monkeypatch) -> None:
    asked = []

    def percent(interval: float | None = None) -> float:
        asked.append(interval)
        return 50.0

    monkeypatch.setattr(psutil, "cpu_percent", percent)
    theirs = get_environment({"device": torch.device("cpu"), "use_gpu": False}).draw()
    ours = compat.environment_table(torch.device("cpu"))
    assert asked == [1, None]
    number = re.compile(r"[0-9.]+ G/")  # memory may grow in between
    assert number.sub("G/", ours) == number.sub("G/", theirs)
    assert "50.00 %" in ours


def test_numpy_gets_only_what_is_missing() -> None:
    before = dict(vars(np))
    compat.add_numpy_names()
    assert np.float is np.float64 and np.int is np.int64 and np.str is np.str_
    assert {name: vars(np)[name] for name in before} == before
    assert vars(np).keys() - before.keys() <= {"bool", "float", "int", "long", "str"}


def test_numpy_gets_what_1_26_lacks(monkeypatch) -> None:
    """There RecBole's GAUC says ``np.bool`` and its DIN ``np.long``."""
    for name in ("bool", "long"):
        monkeypatch.delattr(np, name)
    compat.add_numpy_names()
    assert np.bool is np.bool_ and np.long is np.int64


def test_plain_recboles_config_works(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["x"])
    config = Config("SASRec", "ml-100k", None, {"train_neg_sample_args": None})
    assert config["model"] == "SASRec"


@pytest.mark.parametrize(
    ("value", "best", "bigger", "stock", "ours"),
    [
        (0.5, 0.5, True, (0.5, 0, False, True), (0.5, 3, True, False)),
        (0.6, 0.5, True, (0.6, 0, False, True), (0.6, 0, False, True)),
        (0.4, 0.5, True, (0.5, 3, True, False), (0.5, 3, True, False)),
        (0.5, 0.5, False, (0.5, 0, False, True), (0.5, 3, True, False)),
        (0.4, 0.5, False, (0.4, 0, False, True), (0.4, 0, False, True)),
    ],
)
def test_an_equal_epoch_is_no_progress(value, best, bigger, stock, ours) -> None:
    assert early_stopping(value, best, 2, 2, bigger) == stock
    assert compat.strict_early_stopping(value, best, 2, 2, bigger) == ours


@pytest.mark.parametrize("bigger", [True, False])
def test_a_gain_up_to_the_smallest_is_no_progress(bigger: bool) -> None:
    import recbole.trainer.trainer as trainer

    sign = 1 if bigger else -1
    with compat.smallest_gain(0.25):
        assert trainer.early_stopping(sign * 0.75, sign * 0.5, 2, 2, bigger)[1:] == (3, True, False)
        better = trainer.early_stopping(sign * 0.76, sign * 0.5, 2, 2, bigger)
    assert better == (sign * 0.76, 0, False, True)
    assert trainer.early_stopping is compat.strict_early_stopping


def test_the_trainer_uses_the_strict_rule_and_short_numbers() -> None:
    compat.apply()
    import recbole.trainer.trainer as trainer

    assert trainer.early_stopping is compat.strict_early_stopping
    assert trainer.dict2str({"ndcg@10": 0.123456}) == "ndcg@10 : 0.1235"


def test_only_recboles_own_future_warnings_are_hidden() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        compat.apply()
        for module in ("recbole.data.dataset.dataset", "recbole_llm.data.dataset", "pandas.core"):
            warnings.warn_explicit("soon", FutureWarning, f"{module}.py", 1, module=module)
    assert [Path(warning.filename).stem for warning in seen] == [
        "recbole_llm.data.dataset",
        "pandas.core",
    ]


def test_graph_models_get_back_what_scipy_removed() -> None:
    model = get_model("LightGCN")
    module = inspect.getmodule(model)
    assert "A._update(data_dict)" in inspect.getsource(model)
    assert not hasattr(scipy.sparse.dok_matrix, "_update")
    compat.adapt_model(model)
    cells = module.sp.dok_matrix((2, 3), dtype=np.float32)
    cells._update({(0, 1): 1, (1, 2): 5})
    assert cells.toarray().tolist() == [[0, 1, 0], [0, 0, 5]]
    assert not hasattr(scipy.sparse.dok_matrix, "_update")


def test_anomaly_detection_that_an_import_turned_on_is_off_again() -> None:
    import recbole.model.sequential_recommender.sine as sine
    import torch

    assert "set_detect_anomaly(True)" in inspect.getsource(sine)
    torch.autograd.set_detect_anomaly(True)
    LLMConfig("LLMInterestLSTM", "ml-100k")
    assert not torch.is_anomaly_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BPR", "LightGCN", "SASRecF"])
def test_recboles_models_train_and_test_on_ml_100k(model: str) -> None:
    from recbole_llm import run_recbole

    small = {"MAX_ITEM_LIST_LENGTH": 10, "epochs": 1, "show_progress": False}
    small["user_inter_num_interval"] = "[0,60]"  # half of the users, with a sixth of the cases
    result = run_recbole(model, "ml-100k", config_dict=small)
    assert 0 < result["test_result"]["ndcg@10"] < 1
    assert result["epochs"] == 1
