"""Suites as they are written, and the runs they mean."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from recbole_llm.bench.specs import expand
from recbole_llm.bench.suite import OF_A_MACHINE
from recbole_llm.bench.suite_file import read_suite
from recbole_llm.errors import RequestError
from recbole_llm.resume import FREE


def runs_of(path: Path) -> list:
    """Return the runs of a sound suite."""
    suite, problems = read_suite(path)
    runs, wrong = expand(suite, path)
    assert problems + wrong == []
    return runs


def test_seeds_come_round_by_round_so_that_rows_fill_evenly(write_suite) -> None:
    models = {
        "A": {"model": "SASRec"},
        "B": {"model": "GRU4Rec", "seeds": [7]},
        "C": {"model": "BPR", "datasets": ["two"], "skip": {"two": "too slow"}},
    }
    runs = runs_of(write_suite(seeds=[1, 2], datasets={"one": {}, "two": {}}, models=models))
    assert [(r.dataset, r.label, r.seed, r.skip) for r in runs] == [
        ("one", "A", 1, None), ("one", "B", 7, None), ("one", "A", 2, None),
        ("two", "A", 1, None), ("two", "B", 7, None), ("two", "C", 1, "too slow"),
        ("two", "A", 2, None), ("two", "C", 2, "too slow"),
    ]  # fmt: skip


def test_what_is_more_special_wins(write_suite, tmp_path) -> None:
    layers = ("suite", "ruler", "dataset", "best", "row", "row on dataset")
    said = [{f"l{i}": layer for i in range(at, 6)} for at, layer in enumerate(layers)]
    suite, ruler, dataset, best, row, on_dataset = said
    (tmp_path / "chosen.yaml").write_text(f"about: a sweep\nmodel: SASRec\n{_yaml(best)}")
    path = write_suite(
        settings=suite, rulers={"R": ruler}, datasets={"toy": dataset}, seeds=[1],
        models={"A": {"model": "SASRec", "best": "chosen.yaml", "settings": row,
                      "settings_on": {"toy": on_dataset}}},
    )  # fmt: skip
    (run,) = runs_of(path)
    assert run.settings == {f"l{i}": layer for i, layer in enumerate(layers)}
    assert run.ruler == "R" and run.title == "R toy A"


def _yaml(settings: dict[str, str]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in settings.items())


def test_each_ruler_has_runs_of_its_own(write_suite) -> None:
    rulers = {"R": {"filter_seen": False}, "F": {"filter_seen": True}}
    runs = runs_of(write_suite(rulers=rulers, seeds=[1]))
    assert [(r.ruler, r.label, r.settings["filter_seen"]) for r in runs] == [
        ("R", "LSTM", False), ("R", "id only", False), ("F", "LSTM", True), ("F", "id only", True),
    ]  # fmt: skip
    assert len({run.path for run in runs}) == 4


def test_a_row_is_run_by_its_rulers_alone(write_suite) -> None:
    models = {"A": {"model": "SASRec"}, "B": {"model": "GRU4Rec", "rulers": ["F"]}}
    path = write_suite(rulers={"R": {}, "F": {"filter_seen": True}}, seeds=[1], models=models)
    assert [run.title for run in runs_of(path)] == ["R toy A", "F toy A", "F toy B"]
    _, problems = read_suite(write_suite(rulers={"R": {}}, models=models))
    assert problems == ["models.B.rulers: unknown ruler of the suite 'F'. Known: R."]
    _, problems = read_suite(write_suite(models=models))
    assert problems == ["models.B.rulers: unknown ruler of the suite 'F'. There are none."]


def test_the_path_is_a_function_of_what_the_run_is(write_suite) -> None:
    model = {"model": "SASRec", "settings": {"b": 2, "a": [1, None]}}
    path = write_suite(seeds=[5], settings={}, models={"<script> & 中": model})
    (run,) = runs_of(path)
    canonical = '{"dataset":"toy","model":"SASRec","seed":5,"settings":{"a":[1,null],"b":2}}'
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    assert run.path == f"toy/-script---seed5--{digest}.json"
    assert run.label == "<script> & 中"


@pytest.mark.parametrize(
    "other",
    [
        {"models": {"A": {"model": "GRU4Rec"}}},
        {"datasets": {"toys": {}}},
        {"seeds": [2]},
        {"settings": {"topk": [4]}},
    ],
    ids=str,
)
def test_each_part_of_a_run_changes_its_id(write_suite, other) -> None:
    base = {"models": {"A": {"model": "SASRec"}}, "seeds": [1], "settings": {"topk": [3]}}
    (one,), (two,) = (runs_of(write_suite(**parts)) for parts in (base, base | other))
    assert one.spec_id != two.spec_id
    (renamed,) = runs_of(write_suite(**base | {"models": {"B": {"model": "SASRec"}}}))
    assert renamed.spec_id == one.spec_id and renamed.path != one.path


def test_a_best_file_is_found_beside_the_suite_or_above_it(write_suite, tmp_path) -> None:
    models = {"A": {"model": "SASRec", "best": {"toy": "tuning/best/A.yaml"}}}
    path = write_suite(seeds=[1], settings={}, models=models)
    inner = tmp_path / "benchmarks" / "toy.yaml"
    inner.parent.mkdir()
    path.rename(inner)
    file = tmp_path / "tuning" / "best" / "A.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("hidden_size: 7\n")
    assert runs_of(inner)[0].settings == {"hidden_size": 7}
    file.write_text("model: GRU4Rec\nhidden_size: 7\n")
    _, problems = expand(read_suite(inner)[0], inner)
    assert problems == ["models.A.best: tuning/best/A.yaml is of GRU4Rec on toy, not of this row."]
    file.unlink()
    _, (problem,) = expand(read_suite(inner)[0], inner)
    assert "A.yaml: cannot be read" in problem


@pytest.mark.parametrize("more", [{"datasets": ["other"]}, {"skip": {"toy": "too small"}}])
def test_a_best_file_is_of_the_datasets_that_its_row_runs_on(write_suite, tmp_path, more) -> None:
    (tmp_path / "A.yaml").write_text("model: SASRec\ndataset: other\nn_layers: 3\n")
    models = {"A": {"model": "SASRec", "best": "A.yaml", **more}}
    suite, _ = read_suite(write_suite(datasets={"toy": {}, "other": {}}, models=models))
    runs, problems = expand(suite, tmp_path / "toy.yaml")
    assert problems == []
    assert {run.settings.get("n_layers") for run in runs if run.dataset == "other"} == {3}


def test_all_that_is_wrong_is_said_at_once(write_suite) -> None:
    models = {
        "A": {"model": "SASRec", "rol": "model"},
        "B": {"model": "SASRec", "role": "modle", "seeds": [1, 1]},
        "C": {"settings": {"seed": 1, "data_path": "x"}},
        "D": {"model": "SASRec", "skip": {"tyo": "why"}, "best": 3},
    }
    suite, problems = read_suite(write_suite(models=models, sttings={}, seeds=[-1]))
    assert [p.partition(", received")[0] for p in problems] == [
        "seeds.0: must be greater than or equal to 0",
        "models.A: unknown key 'rol'. Did you mean 'role'? Known: best, datasets, init_from, "
        "model, rerank, role, rulers, seeds, settings, settings_on, skip, top.",
        "models.B.role: must be 'model', 'control' or 'baseline'",
        "models.B.seeds: must be distinct",
        "models.C.model: is missing. Write it.",
        "models.C.settings: cannot hold seed (the suite has a place of its own for it) and "
        "data_path (it is of one machine, and changes no number)",
        "models.D.best: must be the name of a YAML file, or one for each dataset",
        "unknown key 'sttings'. Did you mean 'settings'? Known: about, claim, datasets, "
        "encoders, heads, metric, models, rulers, seeds, settings, sources.",
        "models.D.skip: unknown dataset of the suite 'tyo'. Did you mean 'toy'? Known: toy.",
    ]
    assert suite is not None and suite.models.keys() == {"A", "B", "D"}


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ({"row": "LSTN", "against": ["id only"]},
         "claim.row: unknown row of the suite 'LSTN'. Did you mean 'LSTM'? Known: LSTM, id only."),
        ({"row": "LSTM", "against": ["GRU"]},
         "claim.against: unknown row of the suite 'GRU'. Known: LSTM, id only."),
        ({"row": "LSTM", "against": ["LSTM"]},
         "claim.against: must not hold 'LSTM', the row itself."),
        ({"row": "LSTM", "against": ["id only", "id only"]},
         "claim.against: must be distinct, received ['id only', 'id only']."),
        ({"row": "LSTM"}, "claim.against: is missing. Write it."),
        ({"row": "LSTM", "aganst": ["id only"], "against": ["id only"]},
         "claim: unknown key 'aganst'. Did you mean 'against'? Known: against, row."),
        ("LSTM", "claim: must be a valid dictionary or instance of Claim, received 'LSTM'."),
    ],
)  # fmt: skip
def test_a_claim_names_rows_of_the_suite(write_suite, claim, problem) -> None:
    suite, problems = read_suite(write_suite(claim=claim))
    assert problems == [problem] and suite is not None
    good = {"row": "LSTM", "against": ["id only"]}
    suite, problems = read_suite(write_suite(claim=good))
    assert problems == [] and suite.claim.model_dump() == good


@pytest.mark.parametrize("name", ["../toy", "a/b", ".hidden", ""])
def test_a_dataset_is_no_path(write_suite, name: str) -> None:
    _, problems = read_suite(write_suite(datasets={name: {}}))
    assert "must be the name of a folder" in problems[0]


def test_a_dataset_is_not_called_like_the_folder_of_failures(write_suite) -> None:
    _, problems = read_suite(write_suite(datasets={"failed": {}}))
    assert "is where results keep failures; name it otherwise" in problems[0]


def test_records_are_not_rounded(write_suite) -> None:
    """Ranks would not give what they say."""
    _, problems = read_suite(write_suite(settings={"metric_decimal_place": 4}))
    assert "cannot hold metric_decimal_place (records keep all digits)" in problems[0]


def test_nothing_is_left_of_a_suite_without_models(write_suite) -> None:
    assert read_suite(write_suite(models={}))[0] is None


def test_labels_that_would_share_a_record_are_refused(write_suite) -> None:
    path = write_suite(models={"A, b": {"model": "BPR"}, "A b": {"model": "BPR"}}, seeds=[1])
    _, (problem,) = expand(read_suite(path)[0], path)
    assert "'toy A b' and 'toy A, b' have the same letters" in problem
    path = write_suite(models={"lstm": {"model": "BPR"}, "LSTM": {"model": "BPR"}}, seeds=[1])
    _, (problem,) = expand(read_suite(path)[0], path)
    assert "'toy LSTM' and 'toy lstm'" in problem  # one file where a disk knows no case
    path = write_suite(rulers={"R": {}, "F": {}}, seeds=[1], models={"A": {"model": "BPR"}})
    _, (problem,) = expand(read_suite(path)[0], path)
    assert "'F toy A' and 'R toy A'" in problem


def test_what_json_cannot_hold_is_no_setting(write_suite) -> None:
    path = write_suite()
    path.write_text(path.read_text().replace("topk:", "a: .nan\n  topk:"))
    _, problems = read_suite(path)
    assert "settings: must be what JSON can hold" in problems[0]


def test_a_fault_of_yaml_names_its_line(write_suite) -> None:
    path = write_suite()
    path.write_text("seeds: [1]\nseeds: [2]\n")
    with pytest.raises(RequestError, match=r"toy.yaml:2: key 'seeds' is given twice"):
        read_suite(path)


def test_settings_of_a_machine_are_those_that_a_resumed_run_may_change() -> None:
    assert {*OF_A_MACHINE, "text_diversity"} == FREE  # which a record says, and no metric hangs on
