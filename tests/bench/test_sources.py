"""Rows of a suite that begin with the weights of a run that the suite makes itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_llm.bench.checks import check_suite
from recbole_llm.bench.results import read_records
from recbole_llm.errors import RequestError

RESULTS = Path("results/toy")
MODEL = {"model": "LLMInterestLSTM"}
SOURCES = {"here": {**MODEL, "dataset": "toy", "settings": {"epochs": 2}, "seed": 9}}
PARTS = {
    "seeds": [1, 2],
    "sources": SOURCES,
    "models": {
        "begun": {**MODEL, "init_from": "here", "settings": {"epochs": 0}},
        "begun and trained": {**MODEL, "init_from": "here"},
        "anew": MODEL,
    },
}


def test_a_source_is_trained_once_and_first(bench, write_suite) -> None:
    path = write_suite(**PARTS)
    assert bench(path, "--plan") == 0
    assert bench.out.startswith("needed    source here: LLMInterestLSTM on toy, seed 9\nmissing")
    assert bench(path) == 0
    first, *rest = bench.jobs
    shared = {"topk": [3], "valid_metric": "NDCG@3"}
    assert (first.seed, first.settings) == (9, shared | {"epochs": 2})
    assert [job.settings.get("init_from") for job in rest] == [
        first.run_dir,
        first.run_dir,
        None,
    ] * 2
    begun = {"epochs": 0, "init_from": first.run_dir, "text_diversity": True}
    assert rest[0].settings == shared | begun
    assert len({job.run_dir for job in bench.jobs}) == 7
    assert bench(path) == 0 and len(bench.jobs) == 7  # nothing is missing: no source is needed
    assert "needed" not in bench.out


def test_a_row_that_begins_anew_needs_no_source(bench, write_suite) -> None:
    assert bench(write_suite(**PARTS), "--only=anew") == 0
    assert [job.seed for job in bench.jobs] == [1, 2]


def test_a_record_says_what_its_source_is(bench, write_suite) -> None:
    assert bench(write_suite(**PARTS), "--seeds=1") == 0
    records = {one.facts["label"]: one.facts for one in read_records(RESULTS)[0]}
    spec = records["begun"]["spec"]
    assert spec["source"] == {
        **MODEL, "dataset": "toy", "seed": 9,
        "settings": {"topk": [3], "valid_metric": "NDCG@3", "epochs": 2},
    }  # fmt: skip
    assert "init_from" not in spec["settings"] and "init_from" not in records["begun"]["settings"]
    assert "source" not in records["anew"]["spec"]
    first, _, second = records["begun"]["command"].partition(" && ")
    name = first.rpartition("--run_dir=")[2]
    assert first.startswith("run_recbole --model=LLMInterestLSTM --dataset=toy --seed=9 ")
    assert second.endswith(f"--epochs=0 --init_from={name}") and name.startswith(
        "saved/here--seed9"
    )


def test_another_source_is_another_record(write_suite, toy_data) -> None:
    def paths(**changes):
        sources = {"here": SOURCES["here"] | changes}
        _, runs = check_suite(write_suite(**PARTS | {"sources": sources}), data_path=toy_data)
        return [run.path for run in runs]

    before = paths()
    for changes in ({"seed": 10}, {"settings": {"epochs": 3}}):
        both = zip(before, paths(**changes), strict=True)
        assert [one == other for one, other in both] == [False, False, True] * 2


def test_runs_whose_source_failed_are_failures_and_no_others(bench, write_suite) -> None:
    bench.broken = {9}
    assert bench(write_suite(**PARTS), "--seeds=1") == 1
    assert "source here: LLMInterestLSTM on toy, seed 9: broke after 3 s" in bench.out
    assert "error: 2 of 3 runs failed" in bench.err
    assert [job.seed for job in bench.jobs] == [9, 1]
    for file in RESULTS.glob("toy/failed/*.json"):
        message = json.loads(file.read_text())["error"]["message"]
        assert message == "source here: LLMInterestLSTM on toy, seed 9 failed: broke"
    bench.broken = set()
    assert bench(write_suite(**PARTS), "--seeds=1") == 0
    assert [job.seed for job in bench.jobs] == [9, 1, 9, 1, 1]


def test_force_trains_the_source_again(bench, write_suite) -> None:
    assert bench(write_suite(**PARTS), "--seeds=1") == 0
    assert bench(write_suite(**PARTS), "--seeds=1", "--force") == 0
    assert [job.is_fresh for job in bench.jobs] == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"models": {"A": {**MODEL, "init_from": "hre"}}}, "models.A.init_from: unknown source of"),
        (
            {"sources": {}, "models": {"A": {**MODEL, "init_from": "x"}}},
            "unknown source of the suite 'x'. There are none.",
        ),
        ({"models": {"A": {**MODEL, "settings": {"init_from": "x"}}}}, "the row names a source"),
        ({"sources": {"here": {"modle": "x", "dataset": "toy"}}}, "sources.here: unknown key"),
        ({"sources": {"here": {**MODEL, "dataset": "tyo"}}}, "unknown dataset 'tyo'"),
        (
            {"sources": {"here": {**MODEL, "dataset": "toy", "settings": {"hiden_size": 8}}}},
            "sources.here.settings: unknown setting 'hiden_size'",
        ),
        (
            {"sources": {"here": {**MODEL, "dataset": "toy", "settings": {"embedding_size": 8}}}},
            "embedding_size: the source has 8, received 64",
        ),
        ({"settings": {"text_encoder": "hashing"}}, "init_from: text_encoder hashing counts words"),
        (
            {"sources": {"here": {**MODEL, "dataset": "toy", "settings": {"text_pooling": "max"}}}},
            "text_pooling: the source has 'max', received 'default'",
        ),
        (
            {"sources": {"here": {"model": "GRU4Rec", "dataset": "toy"}}},
            "the source's model: is for LLMInterestLinear",
        ),
    ],
)
def test_what_cannot_be_begun_from_is_said_before_anything_runs(
    write_suite, toy_data, parts, words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        check_suite(write_suite(**PARTS | parts), data_path=toy_data)
    assert words in str(caught.value)


@pytest.mark.slow
def test_a_suite_with_a_source_end_to_end(bench, write_suite, train_here, monkeypatch) -> None:
    small = {
        "topk": [3], "valid_metric": "NDCG@3", "embedding_size": 8, "hidden_size": 8, "epochs": 1,
        "text_dtype": "float32",
    }  # fmt: skip
    monkeypatch.setattr("recbole_llm.bench.runner.execute", train_here)
    path = write_suite(**PARTS | {"settings": small})
    assert bench(path, "--seeds=1", "--only=begun") == 0
    records = {one.facts["label"]: one.facts for one in read_records(RESULTS)[0]}
    sources = [one["source"] for one in records.values()]
    assert sources[0] == sources[1] and sources[0]["seed"] == 9
    assert [records[label]["epochs"] for label in ("begun", "begun and trained")] == [0, 1]
    assert bench(path, "--seeds=2", "--only=begun and") == 0  # the source is there already
    assert "ready after" in bench.out
    again = {
        one.facts["seed"]: one.facts for one in read_records(RESULTS)[0] if one.facts["epochs"]
    }
    assert again[2]["source"] == sources[0]
