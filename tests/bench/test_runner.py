"""What bench keeps of runs, and which it runs; the runs themselves are stood in for."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from filelock import FileLock

from recbole_llm.bench.results import failure_path, read_plan, read_records
from recbole_llm.bench.rulers import fingerprint, ruler_of
from recbole_llm.bench.runner import LOCKS, command_of
from recbole_llm.job import RECORDED
from recbole_llm.parsing import parse_value, split_arguments
from recbole_llm.ranks import digest, read_ranks

RESULTS = Path("results/toy")


def test_a_second_call_runs_only_the_difference(bench, write_suite) -> None:
    assert bench(write_suite(seeds=[1])) == 0
    assert [(job.seed, job.settings.get("item_features")) for job in bench.jobs] == [
        (1, None), (1, "id"),
    ]  # fmt: skip
    assert "[1/2] toy LSTM, seed 1: running, log in" in bench.out
    assert "done in 70 s: ndcg@3 0.2500" in bench.out
    assert bench(write_suite(seeds=[1, 2])) == 0
    assert [job.seed for job in bench.jobs] == [1, 1, 2, 2]
    assert "4 wanted: 2 present, 2 missing, 0 failed, 0 left out" in bench.out
    assert bench(write_suite(seeds=[1, 2])) == 0
    assert len(bench.jobs) == 4 and "0 to run" in bench.out


def test_a_record_is_the_result_and_what_the_suite_says_of_it(bench, write_suite, result) -> None:
    assert bench(write_suite(seeds=[1])) == 0
    one, other = read_records(RESULTS)[0]
    ranks = read_ranks(other.ranks)
    assert ranks.above.tolist() == [3]
    assert (ranks.users, ranks.items, ranks.users_without_case) == (
        [digest("u1", dataset="toy")], [digest("i1", dataset="toy")], [digest("u2", dataset="toy")],
    )  # fmt: skip
    facts = dict(one.facts)
    assert facts.pop("command") == (
        "run_recbole --model=LLMInterestLSTM --dataset=toy --seed=1 --text_diversity=True "
        "'--topk=[3]' --valid_metric=NDCG@3 --embedding_size=8"
    )
    assert facts.pop("fingerprint") == fingerprint(ruler_of(facts))
    settings = {"topk": [3], "valid_metric": "NDCG@3", "embedding_size": 8}
    spec = {"model": "LLMInterestLSTM", "dataset": "toy", "seed": 1, "settings": settings}
    assert facts == {
        "schema": 1, "suite": "toy", "ruler": None, "label": "LSTM", "role": "model",
        "spec_id": facts["spec_id"], "spec": spec,
        "settings": settings | {"text_diversity": True},  # the lists of all rows are compared
        "model": "LLMInterestLSTM", "dataset": "toy", "seed": 1, "protocol": {"max_length": 50},
        "best_valid_result": {"ndcg@3": 0.5}, "test_result": {"ndcg@3": 0.25},
        "versions": {"recbole": "1.2.1"}, "seconds": result["seconds"],
    }  # fmt: skip


def test_runs_that_another_suite_has_made_are_taken_over(bench, write_suite) -> None:
    """Under their own names, with their ranks, and as runs of this suite."""
    assert bench(write_suite(seeds=[1])) == 0
    models = {
        "the same": {"model": "LLMInterestLSTM", "settings": {"embedding_size": 8}},
        "other": {"model": "LLMInterestLSTM", "settings": {"hidden_size": 4}},
    }
    suite = write_suite("more", seeds=[1], models=models)
    assert bench(suite, "--from=results/toy", "--plan") == 0
    assert "the same, seed 1, taken from results/toy/toy/LSTM--seed1--" in bench.out
    assert "2 wanted: 0 present, 2 missing" in bench.out and "1 to run" in bench.out
    assert not Path("results/more").exists()
    assert bench(suite, "--from=results/toy") == 0
    assert [job.settings.get("hidden_size") for job in bench.jobs] == [None, None, 4]
    records = {record.facts["label"]: record for record in read_records(Path("results/more"))[0]}
    origin, same = read_records(RESULTS)[0][0], records["the same"]
    assert same.facts["taken_from"] == origin.path.as_posix()
    assert {**origin.facts, "suite": "more", "label": "the same"} == {
        key: value for key, value in same.facts.items() if key != "taken_from"
    }
    assert same.ranks.read_bytes() == origin.ranks.read_bytes()
    assert "taken_from" not in records["other"].facts
    assert bench(suite, "--from=results/toy") == 0 and len(bench.jobs) == 3
    both = ("--from=results/more,results/toy", "--only=the same")  # the former is asked first
    assert bench(write_suite("third", seeds=[1], models=models), *both, "--plan") == 0
    assert "taken from results/more/toy/the-same--seed1--" in bench.out
    failure = failure_path(same.path)  # run again since, and failed
    failure.parent.mkdir()
    failure.write_text("{}")
    assert bench(write_suite("third", seeds=[1], models=models), *both, "--plan") == 0
    assert "taken from results/toy/toy/LSTM--seed1--" in bench.out
    assert bench(write_suite("new", seeds=[1], models=models), "--from=results/nowhere") == 2
    assert "results/nowhere is not there" in bench.err


def test_plan_writes_and_runs_nothing(bench, write_suite) -> None:
    assert bench(write_suite(), "--plan") == 0
    assert bench.jobs == [] and not Path("results").exists() and not Path("saved").exists()
    assert "4 to run, one after another: an unknown time" in bench.out


@pytest.mark.parametrize(
    "chosen", [["--only=R toy LSTM", "--seeds=2"], ["--only=R toy LSTM, seed 2"]]
)
def test_the_plan_of_the_whole_suite_lies_beside_its_records(bench, write_suite, chosen) -> None:
    path = write_suite(rulers={"R": {}, "F": {"filter_seen": True}})
    assert bench(path, *chosen) == 0
    assert [job.seed for job in bench.jobs] == [2]
    facts = read_plan(RESULTS)
    assert [facts[key] for key in ("suite", "about", "metric")] == ["toy", "Toys.", "ndcg@3"]
    runs = [(run["ruler"], run["label"], run["seed"]) for run in facts["runs"]]
    assert runs == [
        (ruler, label, seed) for ruler in "RF" for seed in (1, 2) for label in ("LSTM", "id only")
    ]
    (record,), _ = read_records(RESULTS)
    assert record.path.relative_to(RESULTS).as_posix() in {run["path"] for run in facts["runs"]}


def test_a_failure_is_no_score_and_is_tried_again(bench, write_suite) -> None:
    bench.broken = {2}
    assert bench(write_suite()) == 1
    assert "failed after 3 s: broke" in bench.out
    assert "error: 2 of 4 runs failed" in bench.err
    records, _ = read_records(RESULTS)
    assert [one.facts["seed"] for one in records] == [1, 1]
    failures = sorted(RESULTS.glob("toy/failed/*.json"))
    facts = json.loads(failures[0].read_text())
    assert facts["error"] == {"type": "ValueError", "message": "broke", "traceback": "at line 1"}
    assert facts["seconds"] == 3.0 and "test_result" not in facts
    assert bench(write_suite(), "--plan") == 0
    assert "4 wanted: 2 present, 0 missing, 2 failed" in bench.out
    bench.broken = set()
    assert bench(write_suite()) == 0
    assert len(bench.jobs) == 6 and not any(file.exists() for file in failures)


def test_a_result_that_is_no_record_is_a_failure(bench, write_suite, monkeypatch) -> None:
    monkeypatch.setattr("recbole_llm.bench.runner.of_all_machines", lambda result: {"schema": 1})
    assert bench(write_suite()) == 1
    assert "test_result: is missing" in bench.out and read_records(RESULTS)[0] == []


def test_force_runs_all_again_from_the_beginning(bench, write_suite) -> None:
    assert bench(write_suite(seeds=[1])) == 0
    before = {one.path: one.path.stat().st_ino for one in read_records(RESULTS)[0]}
    assert bench(write_suite(seeds=[1]), "--force") == 0
    assert [job.is_fresh for job in bench.jobs] == [False, False, True, True]
    assert all(path.stat().st_ino != before[path] for path in before)  # replaced, as files are


def test_what_has_no_record_any_more_is_not_taken_from_its_old_directory(bench, write_suite):
    assert bench(write_suite(seeds=[1])) == 0
    records, _ = read_records(RESULTS)
    records[0].path.unlink()
    assert bench(write_suite(seeds=[1])) == 0
    assert [job.is_fresh for job in bench.jobs] == [False, False, True]
    assert bench.jobs[2].run_dir in {job.run_dir for job in bench.jobs[:2]}
    assert Path(bench.jobs[2].run_dir, RECORDED).exists()


def test_each_folder_of_results_has_run_directories_of_its_own(bench, write_suite, tmp_path):
    for folder in ("results/toy", "elsewhere", tmp_path / "with space"):
        assert bench(write_suite(seeds=[1]), "--results", folder, "--only=LSTM") == 0
    run_dirs = [Path(job.run_dir) for job in bench.jobs]
    assert len(set(run_dirs)) == 3
    assert run_dirs[0].relative_to(tmp_path / "saved/bench/results/toy/toy").suffix == ""


def test_a_run_that_another_process_holds_is_left_to_it(bench, write_suite) -> None:
    path = write_suite(seeds=[1])
    assert bench(path) == 0
    held, free = sorted((RESULTS / LOCKS).glob("*.lock"))
    with FileLock(held):
        assert bench(path, "--force") == 0
    assert "another process is at it" in bench.out
    assert len(bench.jobs) == 3 and free.stem.partition("--")[2] == Path(bench.jobs[2].run_dir).name


def test_a_run_that_another_process_has_done_meanwhile_is_not_run_again(
    bench, write_suite, monkeypatch
) -> None:
    execute = bench.execute

    def execute_while_another_does_all(job):
        monkeypatch.setattr("recbole_llm.bench.runner.execute", execute)
        (RESULTS / LOCKS).rename(RESULTS / "held")  # the other holds locks that this one cannot see
        assert bench(write_suite(seeds=[1])) == 0
        (RESULTS / LOCKS).rename(RESULTS / "theirs")
        (RESULTS / "held").rename(RESULTS / LOCKS)
        return execute(job)

    monkeypatch.setattr("recbole_llm.bench.runner.execute", execute_while_another_does_all)
    assert bench(write_suite(seeds=[1])) == 0
    assert len(bench.jobs) == 3 and "another process has done it" in bench.out


def test_rows_left_out_are_not_run(bench, write_suite) -> None:
    models = {"A": {"model": "SASRec", "skip": {"toy": "too slow"}}, "B": {"model": "SASRec"}}
    assert bench(write_suite(models=models, seeds=[1]), "--force") == 0
    assert len(bench.jobs) == 1 and "left out  toy A, seed 1: too slow" in bench.out
    assert read_plan(RESULTS)["runs"][0]["skip"] == "too slow"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only=SASRec"], "choose no run. The suite has 'toy LSTM', 'toy id only'"),
        (["--seeds=1,5"], "the suite has [1, 2], received [5]"),
    ],
)
def test_what_is_not_in_the_suite_cannot_be_chosen(bench, write_suite, options, words) -> None:
    assert bench(write_suite(), *options) == 2
    assert words in bench.err and bench.jobs == []


def test_nothing_begins_where_data_is_missing(bench, write_suite) -> None:
    assert bench(write_suite(datasets={"toy": {}, "ml-1m": {}})) == 2
    assert "ml-1m.inter is not there" in bench.err and bench.jobs == []
    assert bench(write_suite(datasets={"toy": {}, "ml-1m": {}}), "--only=toy", "--seed=1") == 0


def test_results_of_another_suite_are_not_mixed_in(bench, write_suite) -> None:
    assert bench(write_suite(seeds=[1])) == 0
    assert bench(write_suite("other"), "--results", RESULTS) == 2
    assert "holds those of the suite 'toy'" in bench.err


def test_another_suite_of_the_same_name_is_told_of(bench, write_suite) -> None:
    path = write_suite()
    assert bench(path) == bench(path, "--seeds=1") == 0 and "another suite" not in bench.out
    assert bench(write_suite(models={"Other": {"model": "Popularity"}})) == 0
    assert "note: results/toy holds 4 records of another suite of this name" in bench.out


def test_a_folder_that_cannot_be_written_is_said(bench, write_suite) -> None:
    Path("results").write_text("a file")
    assert bench(write_suite()) == 2
    assert "cannot be written" in bench.err


def test_ml_100k_is_read_from_recboles_wheel(bench, write_suite) -> None:
    assert bench(write_suite(datasets={"toy": {}, "ml-100k": {}}), "--only=LSTM", "--seed=1") == 0
    assert [job.data_path for job in bench.jobs] == [str(bench.data.resolve()), None]


def test_the_command_of_a_run_means_its_settings(spec) -> None:
    settings = {
        "text_revision": "12345678", "metrics": ["NDCG"], "use_gpu": False, "temperature": 0.5,
        "train_neg_sample_args": None, "text_template": "{a} 'b' \"c\" $d", "loss_type": "CE",
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": None}, "fields": "1e3",
    }  # fmt: skip
    words = shlex.split(command_of(spec(7, settings=settings)))
    given = split_arguments(words[1:])
    names = {"model": "SASRec", "dataset": "toy", "seed": 7, "text_diversity": True}
    assert words[0] == "run_recbole"
    assert {key: parse_value(key, word) for key, word in given.items()} == names | settings


@pytest.mark.slow
def test_real_runs_go_on_where_they_stopped_and_begin_anew_where_they_cannot(
    bench, write_suite, monkeypatch, small, train_here
) -> None:
    monkeypatch.setattr("recbole_llm.bench.runner.execute", train_here)
    path = write_suite(seeds=[1], settings=small, models={"A": {"model": "LLMInterestLSTM"}})
    with monkeypatch.context() as crashing:
        crashing.setattr("recbole_llm.quick_start.write_ranks", lambda *_: 1 / 0)
        assert bench(path) == 1
    (run_dir,) = Path("saved/bench/results/toy/toy").glob("A--*/")
    trained = (run_dir / "model.safetensors").stat().st_mtime_ns
    assert bench(path) == 0
    # All that it lacked was the test.
    assert (run_dir / "model.safetensors").stat().st_mtime_ns == trained
    (record,), _ = read_records(RESULTS)
    assert record.facts["epochs"] == 3 and record.ranks is not None
    assert "run_dir" not in record.facts and "data_path" not in record.facts["settings"]
    inter = bench.data / "toy" / "toy.inter"
    inter.write_text(inter.read_text() + "u99\ti1\t1.0\nu99\ti2\t2.0\nu99\ti3\t3.0\n")
    record.path.unlink()
    (run_dir / RECORDED).unlink()
    assert bench(path) == 0
    (again,), _ = read_records(RESULTS)
    assert again.facts["protocol"]["data_sha256"] != record.facts["protocol"]["data_sha256"]
