"""Rows of a suite that put another row's lists in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_llm.bench.checks import check_suite
from recbole_llm.bench.results import read_records
from recbole_llm.errors import RequestError

LABELS = {"eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "mode": "uni1"}}
LABELS |= {
    "threshold": None,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
}


def rows(**of_classifier: Any) -> dict[str, Any]:
    classifier = {"model": "LLMInterestClassifier", "rerank": "LSTM", "settings": LABELS}
    lists = {"model": "LLMInterestLSTM", "settings": {"item_features": "id"}}
    return {"LSTM": lists, "LSTM, re-ranked": classifier | of_classifier}


def test_a_row_re_ranks_the_run_of_its_seed(bench, write_suite) -> None:
    path = write_suite(models=rows(top=10), rulers={"R": {"filter_seen": True}})
    assert bench(path) == 0
    assert [(job.model, job.seed, job.top) for job in bench.jobs] == [
        ("LLMInterestLSTM", 1, 0), ("LLMInterestLSTM", 2, 0),
        ("LLMInterestClassifier", 1, 10), ("LLMInterestClassifier", 2, 10),
    ]  # fmt: skip
    for lists, classifier in (bench.jobs[::2], bench.jobs[1::2]):
        assert (lists.rerank, classifier.rerank) == (None, lists.run_dir)
        alone = LABELS | {"text_diversity": True}  # nothing of the table's protocol
        assert classifier.settings == alone
    lists, classifier = read_records(Path("results/toy"))[0][::2]
    assert "rerank" not in lists.facts["spec"]
    assert classifier.facts["spec"]["rerank"] == {
        "label": "LSTM", "model": "LLMInterestLSTM", "settings": lists.facts["spec"]["settings"],
        "top": 10,
    }  # fmt: skip
    runs = classifier.facts["command"].split(" && ")
    assert runs[0] == f"{lists.facts['command']} --run_dir=lists"
    assert runs[1].startswith("run_recbole --model=LLMInterestClassifier")
    assert runs[2] == "recbole-llm rerank lists --by=classifier --top=10"
    assert bench(path) == 0 and len(bench.jobs) == 4


def test_lists_that_are_put_in_order_are_not_taken_from_another_suite(bench, write_suite) -> None:
    """Their model is needed."""
    assert bench(write_suite(models={"A": rows()["LSTM"]}, seeds=[1])) == 0
    assert bench(write_suite("other", models=rows(), seeds=[1]), "--from=results/toy") == 0
    assert [job.model for job in bench.jobs[1:]] == ["LLMInterestLSTM", "LLMInterestClassifier"]
    third = write_suite("third", models=rows(), seeds=[1])
    assert bench(third, "--from=results/toy", "--only=LSTM", "--plan") == 0
    assert "taken from" not in bench.out


def test_other_settings_of_the_lists_are_another_run(bench, write_suite) -> None:
    changed = rows()
    changed["LSTM"]["settings"] = {"item_features": "id", "embedding_size": 16}
    assert bench(write_suite(models=rows(), seeds=[1])) == 0
    assert bench(write_suite(models=changed, seeds=[1])) == 0
    assert len({job.run_dir for job in bench.jobs}) == 4


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ({"A": {"model": "SASRec", "top": 5}}, "models.A.top: is for a row with rerank"),
        (rows(rerank="LSTN"), "rerank: unknown row above it 'LSTN'. Did you mean 'LSTM'?"),
        (dict(reversed(rows().items())), "rerank: unknown row above it 'LSTM'"),
        (rows(seeds=[2]), "rerank: LSTM has the seeds [1, 2]; use the first of them"),
        (rows(top=1), "top: must be greater than or equal to 2"),
        (rows(model="SASRec", settings={}), "rerank: SASRec is no classifier"),
        (rows(settings={}), "must not have learnt from the test"),
        (
            {"LSTM": {"model": "SASRec", "skip": {"toy": "slow"}}, "B": rows()["LSTM, re-ranked"]},
            "rerank: LSTM has no run on toy",
        ),
    ],
)
def test_what_cannot_re_rank_is_refused(write_suite, toy_data, models, words) -> None:
    with pytest.raises(RequestError) as refusal:
        check_suite(write_suite(models=models), data_path=toy_data)
    assert words in str(refusal.value)


def test_lists_of_another_ruler_are_not_there_to_re_rank(write_suite, toy_data) -> None:
    models = rows()
    models["LSTM"] = {**models["LSTM"], "rulers": ["R"]}
    path = write_suite(models=models, rulers={"R": {}, "F": {"filter_seen": True}})
    with pytest.raises(RequestError) as refusal:
        check_suite(path, data_path=toy_data)
    assert "rerank: LSTM has the rulers ['R']; use no others" in str(refusal.value)
