"""Records as they are read: sound ones, and every kind that is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_llm.bench.results import (
    RecordError,
    failure_path,
    ranks_path,
    read_failures,
    read_plan,
    read_record,
    read_records,
    record_path,
)

LABEL = "<script>alert('x')</script> & \\textbf{50 %} $_#"


def problem_of(root: Path) -> str:
    """Return the one problem of a folder without a sound record: one line."""
    records, (problem,) = read_records(root)
    assert records == [] and "\n" not in problem
    return problem


def test_a_hostile_label_stays_text(tmp_path, record, write) -> None:
    path = write(tmp_path, record(label=LABEL))
    (found,), problems = read_records(tmp_path)
    assert problems == [] and found.facts["label"] == LABEL and found.path == path
    assert path.name.startswith("-script-alert-x-script-textbf-50---seed1--")
    assert found.key == (None, "toy", LABEL, 1) and found.seconds == 70
    assert found.ranks is None
    ranks_path(path).write_bytes(b"")
    assert found.ranks == path.with_name(f"{path.stem}.ranks.csv.gz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a readable JSON file"),
        ('{"schema": 1, "label": "cut', "not a readable JSON file"),
        ("[1, 2]", "must be a JSON object, received a list"),
        ("[" * 100_000, "not a readable JSON file"),
        ('{"some": "other tool"}', "it is no result of recbole-llm"),
        ('{"schema": true}', "it is no result of recbole-llm"),
        ('{"schema": 2, "a": 1}', "schema 2 is newer than 1"),
        ('{"schema": 1}', "spec: is missing"),
    ],
    ids=["empty", "cut", "list", "deep", "foreign", "bool", "newer", "bare"],
)
def test_what_is_no_record_is_one_line_with_its_name(tmp_path, content, words) -> None:
    path = tmp_path / "toy" / "x.json"
    path.parent.mkdir()
    path.write_text(content)
    assert (problem := problem_of(tmp_path)).startswith(f"{path}: ") and words in problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_result": {"ndcg@10": float("nan")}}, "NaN is no number that a result may hold"),
        ({"test_result": {"ndcg@10": float("-inf")}}, "-Infinity is no number"),
        ({"test_result": {}}, "test_result: Dictionary should have at least 1 item"),
        ({"test_result": {"a\nb": "x"}}, "test_result.a b: must be a valid number, received 'x'"),
        ({"best_valid_result": None}, "best_valid_result: must be a valid dictionary"),
        ({"role": "winner"}, "role: must be 'model', 'control' or 'baseline', received 'winner'"),
        ({"label": 3}, "label: must be a valid string"),
        ({"seed": 2}, "seed is 2, and its spec says 1"),
        ({"model": "GRU4Rec"}, "model is 'GRU4Rec', and its spec says 'SASRec'"),
        ({"spec_id": "00000000"}, "a record of its spec belongs at"),
        ({"label": "another"}, "another--seed1--"),
        ({"slices": {"user.age": {"56+": {"metrics": {}}}}}, "slices.user.age.56+.cases: is miss"),
        ({"slices": {"user.age": "old"}}, "slices.user.age: must be a valid dictionary"),
        ({"slices": {"a": {"b": {"cases": 1, "metrics": {"c": [1]}}}}}, "slices.a.b.metrics.c: "),
        ({"lists": {"gini@10": "low"}}, "lists.gini@10: must be a valid number, received 'low'"),
        ({"curve": [1, 2]}, "curve.0: must be"),
        ({"parameters": "many"}, "parameters: must be a valid dictionary"),
        ({"text": "minilm"}, "text: must be"),
        ({"text": {"anisotropy": "low"}}, "text.anisotropy: must be a valid number"),
    ],
    ids=str,
)
def test_a_record_that_does_not_hold_together_is_one_line(
    tmp_path, changes, words, record, write
) -> None:
    path = write(tmp_path, record(label=LABEL), **changes)
    assert (problem := problem_of(tmp_path)).startswith(f"{path}: ") and words in problem
    with pytest.raises(RecordError):
        read_record(tmp_path, path)


def test_a_number_too_large_is_not_finite(tmp_path, record, write) -> None:
    path = write(tmp_path, record(label=LABEL))
    path.write_text(path.read_text().replace("0.5", "1e999"))
    assert "test_result.ndcg@10: must be a finite number, received inf" in problem_of(tmp_path)


def test_an_edited_spec_is_noticed(tmp_path, record, write) -> None:
    facts = record(label=LABEL)
    write(tmp_path, facts, spec=facts["spec"] | {"settings": {"epochs": 500}})
    assert "a record of its spec belongs at" in problem_of(tmp_path)


def test_a_copy_by_hand_is_not_read(tmp_path, record, write) -> None:
    path = write(tmp_path, record(label=LABEL))
    copy = path.with_name("copy.json")
    shutil.copy(path, copy)
    records, (problem,) = read_records(tmp_path)
    assert [one.path for one in records] == [path]
    assert problem.startswith(f"{copy}: a record of its spec belongs at {path}")
    other = tmp_path / "other"
    shutil.copytree(path.parent, other)
    assert len(read_records(tmp_path)[0]) == 1 and len(read_records(tmp_path)[1]) == 3


def test_of_two_records_of_one_row_and_seed_the_plan_names_the_right_one(
    tmp_path, record, write
) -> None:
    old, new = (write(tmp_path, record(label=LABEL, epochs=epochs)) for epochs in (1, 2))
    records, problems = read_records(tmp_path)
    assert records == [] and [p.partition(":")[0] for p in problems] == sorted([str(old), str(new)])
    plan(tmp_path, new)
    (found,), (problem,) = read_records(tmp_path)
    assert found.path == new and problem.startswith(f"{old}: 2 records have its label")


def plan(root: Path, path: Path, **changes: Any) -> None:
    run = {"label": LABEL, "role": "model", "dataset": "toy", "seed": 1, "skip": None}
    run |= {"spec_id": "12345678", "path": path.relative_to(root).as_posix()}
    facts = {"schema": 1, "suite": "toy", "about": "", "metric": "ndcg@10", "runs": [run]}
    (root / "suite.json").write_text(json.dumps(facts | changes))


def test_rulers_keep_equal_rows_apart(tmp_path, record, write) -> None:
    write(tmp_path, record(filter_seen=True), ruler="F")
    write(tmp_path, record(filter_seen=False), ruler="R")
    assert len(read_records(tmp_path)[0]) == 2


def test_a_plan_is_read_or_refused(tmp_path) -> None:
    assert read_plan(tmp_path) is None
    plan(tmp_path, tmp_path / "toy" / "x.json")
    assert read_plan(tmp_path)["runs"][0]["path"] == "toy/x.json"
    plan(tmp_path, tmp_path / "toy" / "x.json", runs=[{}])
    with pytest.raises(RecordError, match=r"runs\.0\.label: is missing"):
        read_plan(tmp_path)


def test_failures_are_read_apart_from_records(tmp_path, record) -> None:
    facts = record(label=LABEL)
    path = failure_path(tmp_path / record_path(LABEL, facts["spec"]))
    path.parent.mkdir(parents=True)
    error = {"type": "ValueError", "message": "broke", "traceback": "line 1"}
    kept = ("schema", "suite", "label", "role", "spec_id", "spec", "command")
    path.write_text(json.dumps({key: facts[key] for key in kept} | {"error": error}))
    assert read_records(tmp_path) == ([], [])
    (found,), problems = read_failures(tmp_path)
    assert problems == [] and found.facts["error"]["message"] == "broke"
    path.write_text(json.dumps({key: facts[key] for key in kept}))
    assert "error: is missing" in read_failures(tmp_path)[1][0]


def test_reading_writes_nothing(tmp_path, record, write) -> None:
    write(tmp_path, record(label=LABEL))
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    read_records(tmp_path), read_failures(tmp_path), read_plan(tmp_path)
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_records_are_read_in_a_process_without_torch() -> None:
    code = (
        "import sys, recbole_llm.bench.results; print({'torch', 'recbole', 'ray'} & {*sys.modules})"
    )
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
