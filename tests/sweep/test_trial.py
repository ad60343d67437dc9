"""Trials: what they may see, and that they are what ``run_recbole`` would have trained."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from recbole_llm.build import prepare
from recbole_llm.errors import NonFiniteError
from recbole_llm.quick_start import run_recbole
from recbole_llm.sweep.selection import SelectionData
from recbole_llm.sweep.trial import Task, TrialTimeoutError, run_trial
from recbole_llm.sweep.variants import prepare_all, variant_of, variant_points

TOY = {
    "item_features": "id", "embedding_size": 8, "hidden_size": 8, "epochs": 3,
    "train_batch_size": 8,
}  # fmt: skip
POINT = {"learning_rate": 0.01}
FIELDS = ("user_id", "item_id")


@pytest.fixture
def task(sweep, toy_data: Path):
    """Return a function that makes what the trials of a sweep share."""

    def make(**parts) -> Task:
        given = sweep(**parts)
        return Task(
            model=given.model, dataset=given.dataset, settings=given.fixed,
            data_path=str(toy_data), trial_hours=given.budget.trial_hours, use_gpu=False,
        )  # fmt: skip

    return make


def scores_of(task: Task, data: SelectionData, point=POINT, *, seed: int = 2020, **rest) -> list:
    epochs = []
    run_trial(task, point, seed=seed, data=data, report=lambda one, _: epochs.append(one), **rest)
    assert [one.epoch for one in epochs] == list(range(epochs[0].epoch, epochs[-1].epoch + 1))
    return [one.score for one in epochs]


def prepared(task: Task, point=POINT) -> SelectionData:
    return SelectionData.prepare(task.config(point, seed=2020, run_dir=None))


MODELS = {
    "ours": {},
    "text": {"settings": {"embedding_size": 8, "hidden_size": 8, "epochs": 2}},
    "windows": {
        "model": "SASRec",
        "settings": {"training": "all_positions", "hidden_size": 8, "n_heads": 1, "epochs": 2},
    },
    "stock": {"model": "GRU4Rec", "settings": {"hidden_size": 8, "epochs": 2}},
    "negatives": {
        "model": "GRU4Rec",
        "settings": {
            "hidden_size": 8, "epochs": 2, "loss_type": "BPR",
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
        },
    },
    "general": {"model": "BPR", "settings": {"embedding_size": 8, "epochs": 2}},
}  # fmt: skip


@pytest.mark.parametrize("parts", MODELS.values(), ids=MODELS.keys())
def test_a_trial_scores_what_run_recbole_scores(task, toy_data, parts) -> None:
    """To the last bit, from data that went through a pickle as it does on Ray."""
    one = task(**parts)
    data = cloudpickle.loads(cloudpickle.dumps(prepared(one)))
    scores = scores_of(one, data)
    settings = {**one.settings, **POINT, "data_path": str(toy_data), "seed": 2020}
    result = run_recbole(one.model, "toy", config_dict=settings | {"show_progress": False})
    assert len(scores) == result["epochs"] and max(scores) == result["best_valid_score"]
    assert scores_of(one, data) == scores  # the data is as it was


@pytest.mark.parametrize("parts", MODELS.values(), ids=MODELS.keys())
def test_there_is_no_test_part(task, parts) -> None:
    """What is shared holds training and validation, and no case of the test, nor its targets."""
    one = task(**parts)
    data = prepared(one)
    assert [field for field in vars(data)] == ["train", "valid", "vectors", "modalities"]
    test = targets(prepare(one.config(POINT, seed=2020, run_dir=None))[3].dataset)
    assert len(test) >= 8 and targets(data.train) and targets(data.valid)
    for part in (data.train, data.valid):
        assert not test & (targets(part) | histories(part)), part


def targets(part) -> set[tuple[int, int]]:
    """Return the users and items of a part's cases; no user here has an item twice."""
    return set(zip(*(part.inter_feat[name].tolist() for name in FIELDS), strict=True))


def histories(part) -> set[tuple[int, int]]:
    """Return the users and items that the cases of a part have behind them, in rows or flat."""
    found = set()
    if "item_id_list" in part.inter_feat:
        rows = zip(*(part.inter_feat[name].tolist() for name in (FIELDS[0], "item_id_list")),
                   strict=True)  # fmt: skip
        found |= {(user, item) for user, items in rows for item in items}
    if hasattr(part, "events"):
        found |= set(zip(*(part.events[name].tolist() for name in FIELDS), strict=True))
    return found


def test_nothing_in_the_package_makes_a_test_part() -> None:
    """Only ``selection`` splits a dataset, and no module imports what makes all three parts."""
    folder = Path(__file__).parents[2] / "recbole_llm" / "sweep"
    makers = {"prepare", "data_preparation", "run_recbole", "load_run"}
    builds = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not makers & {alias.name for alias in node.names}, file
            if isinstance(node, ast.Attribute) and node.attr in makers | {"build"}:
                builds.add((file.name, node.attr))
    assert builds == {("selection.py", "build"), ("variants.py", "prepare")}


def test_files_of_vectors_are_read_once_where_the_sweep_was_begun(
    sweep, runner, tmp_path, monkeypatch
) -> None:
    """A trial reads none, and finds them from whatever its working directory is."""
    np.save("img.npy", np.eye(9, dtype=np.float32))
    Path("img.ids").write_text("".join(f"i{k}\n" for k in range(9)))
    settings = TOY | {"item_features": ["image"], "modalities": {"image": "img.npy"}}
    one = runner.search(sweep(settings=settings), None).task
    data = cloudpickle.loads(cloudpickle.dumps(prepared(one)))
    Path("img.npy").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(scores_of(one, data)) == 3
    assert variant_of({"modalities": {"image": "a.npy"}}) != "{}"


def test_data_holds_no_configuration(task) -> None:
    data = prepared(task())
    assert data.train.config is None and data.valid.config is None


def test_vectors_are_made_once_for_all_points_that_share_them(task, monkeypatch) -> None:
    one = task(settings={"embedding_size": 8, "hidden_size": 8, "epochs": 1})
    data = prepared(one)
    assert data.vectors is not None
    monkeypatch.setattr("recbole_llm.data.dataset.item_vectors", None)  # whoever calls it breaks
    assert len(scores_of(one, data)) == 1


def test_each_value_of_a_setting_that_shapes_data_has_data_of_its_own(sweep, task) -> None:
    space = {"whitening": {"choice": ["none", "zca"]}, "num_layers": {"int": [1, 2]}}
    parts = {"space": space, "settings": {"embedding_size": 8, "epochs": 1}}
    heard: list[str] = []
    data = prepare_all(sweep(**parts), task(**parts), say=heard.append)
    assert list(data) == ['{"whitening": "none"}', '{"whitening": "zca"}'] and len(heard) == 2
    tables = [one.vectors.table for one in data.values()]
    assert (tables[0] - tables[1]).abs().max() > 0.01
    assert variant_of({"num_layers": 2, "whitening": "zca"}) == '{"whitening": "zca"}'
    assert list(variant_points(sweep())) == [{}]


def test_how_an_encoder_is_trained_shapes_no_data(sweep) -> None:
    space = {
        "text_tuning": {"choice": ["lora", "full"]},
        "text_learning_rate": {"loguniform": [1e-5, 1e-3]},
    }
    assert list(variant_points(sweep(space=space))) == [{}]
    assert variant_of({"text_tuning": "lora", "text_learning_rate": 1e-4}) == "{}"


def test_combinations_that_cannot_be_are_not_prepared(sweep) -> None:
    space = {
        "whitening": {"choice": ["none", "pca"]},
        "whitening_dim": {"choice": [8, 16], "when": {"whitening": "pca"}},
    }
    points = list(variant_points(sweep(space=space)))
    assert {"whitening": "none", "whitening_dim": 8} not in points
    assert {"whitening": "pca", "whitening_dim": 8} in points and {"whitening": "none"} in points


def test_what_diverges_says_so(task) -> None:
    one = task(settings={**TOY, "epochs": 9, "learner": "sgd"})
    with pytest.raises(NonFiniteError, match="Lower learning_rate"):
        scores_of(one, prepared(one), {"learning_rate": 10.0, "temperature": 1e-30})


def test_a_trial_that_takes_too_long_fails(task) -> None:
    one = task(budget={"trials": 1, "trial_hours": 1e-9})
    with pytest.raises(
        TrialTimeoutError, match=r"budget.trial_hours: 1e-09 are over after epoch 0"
    ):
        scores_of(one, prepared(one))


def test_a_trial_goes_on_from_a_state_of_another(task, tmp_path: Path) -> None:
    """As population-based training does: same settings, same scores; others, others."""
    one = task(settings={**TOY, "epochs": 5, "stopping_step": 9})
    data, file = prepared(one), tmp_path / "state.safetensors"

    def keep(epoch, trainer) -> None:
        whole.append(epoch.score)
        if epoch.epoch == 1:
            trainer.write_state(file, next_epoch=2)

    whole: list[float] = []
    run_trial(one, POINT, seed=2020, data=data, report=keep)
    assert scores_of(one, data, begin_from=file) == whole[2:]
    faster = scores_of(one, data, {"learning_rate": 0.5}, begin_from=file)
    assert faster != whole[2:] and all(map(math.isfinite, faster))


def test_nothing_is_left_of_a_trial(task, tmp_path: Path) -> None:
    one = task()
    before = set(tmp_path.rglob("*"))
    scores_of(one, prepared(one))
    assert {path for path in set(tmp_path.rglob("*")) - before if path.is_file()} == set()
