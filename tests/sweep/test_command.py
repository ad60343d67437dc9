"""``recbole-llm tune`` from its file to its outcome, one trial after another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from recbole_llm.bench.checks import check_suite
from recbole_llm.cli import main
from recbole_llm.cluster import require_room
from recbole_llm.errors import RequestError
from recbole_llm.job import Job, Outcome
from recbole_llm.sweep.outcome import Winner, run_winner

pytestmark = pytest.mark.usefixtures("without_ray")
RESULTS = Path("results/tuning/toy")


@pytest.mark.slow
def test_a_sweep_ends_in_a_winner_tested_once(tune, write_sweep, trials) -> None:
    code, said, err = tune(write_sweep())
    assert code == 0, err
    best = max(trials(), key=lambda one: one["best"])
    assert len(trials()) == 3 and len(trials("finalist")) == 4
    assert {one["seed"] for one in trials()} == {2020}
    assert {one["seed"] for one in trials("finalist")} == {1, 2}
    outcome = json.loads((RESULTS / "outcome.json").read_text())
    of_winner = [o for o in trials("finalist") if o["point"] == outcome["winner"]["point"]]
    assert outcome["winner"]["scores"] == {str(o["seed"]): o["best"] for o in of_winner}
    assert outcome["winner"]["mean"] == max(
        sum(o["best"] for o in trials("finalist") if o["point"] == point) / 2
        for point in (one["point"] for one in trials("finalist"))
    )
    tests = sorted(file.name for file in (RESULTS / "tests").glob("*.json"))
    assert [name[-10:] for name in tests] == ["seed1.json", "seed2.json"]
    assert said["test"]["scores"] == outcome["test"]["scores"] and best["best"] > 0
    lines = (RESULTS / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, 8))


@pytest.mark.slow
def test_the_winner_scores_as_a_run_what_it_scored_as_a_finalist(tune, write_sweep) -> None:
    """The run that is tested is the trial that was chosen, to the last bit."""
    tune(write_sweep())
    outcome = json.loads((RESULTS / "outcome.json").read_text())
    for file in (RESULTS / "tests").glob("*.json"):
        run = json.loads(file.read_text())
        assert run["best_valid_score"] == outcome["winner"]["scores"][str(run["seed"])]


class Nodes:
    """Stand in for Ray, of nodes with so many GPUs each."""

    def __init__(self, *gpus: float) -> None:
        self.gpus = gpus

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, **({"GPU": sum(self.gpus)} if sum(self.gpus) else {})}

    def nodes(self) -> list[dict]:
        return [{"Alive": True, "Resources": {"CPU": 1.0, "GPU": one}} for one in self.gpus]


@pytest.mark.parametrize(
    ("gpus", "nodes", "share"),
    [
        (None, Nodes(2), 1.0),
        (None, Nodes(0), 0.0),
        (None, None, 1.0),
        (0.25, Nodes(1, 0), 0.25),
        (0.25, Nodes(0), 0.0),
        (0.0, Nodes(2), 0.0),
        (0.0, None, 0.0),
    ],
)
def test_trials_and_the_winner_have_the_gpus_that_were_asked_for(
    sweep, runner, gpus, nodes, share, tmp_path
) -> None:
    """Unset, one where Ray has any; 0 is the CPU, for the runs of the winner too."""
    one = sweep(resources={"gpus": gpus})
    search = runner.search(one, nodes)
    assert search.gpus == share and search.task.use_gpu == (share > 0)
    heard: list[Job] = []

    def executor(jobs):
        heard.extend(job for _, job in jobs)
        return iter(())

    parts = {"folder": tmp_path, "work": tmp_path, "data_path": None, "say": print}
    with pytest.raises(RequestError):  # no run left a result
        run_winner(
            one, Winner("t", {}, {}, {}), use_gpu=search.gpus > 0, executor=executor, **parts
        )
    assert [job.settings["use_gpu"] for job in heard] == [share > 0] * 2


def test_a_winner_with_other_settings_is_tested_anew(sweep, tmp_path) -> None:
    """A trial of population-based training keeps its name; its best point may change."""

    def executor(jobs):
        for seed, job in jobs:
            heard.append((seed, job.settings["dropout_prob"]))
            result = {"settings": job.settings, "test_result": {"ndcg@3": 0.5}}
            yield seed, Outcome(result, None, None, 1.0)

    heard: list[tuple[int, float]] = []
    parts = {"folder": tmp_path, "work": tmp_path, "data_path": None, "say": print}
    for dropout in (0.1, 0.1, 0.2):
        winner = Winner("t", {"dropout_prob": dropout}, {}, {})
        found = run_winner(sweep(), winner, use_gpu=False, executor=executor, **parts)
        assert {one["settings"]["dropout_prob"] for one in found.values()} == {dropout}
    assert heard == [(1, 0.1), (2, 0.1), (1, 0.2), (2, 0.2)]


def test_settings_that_another_sweep_chose_are_not_written_over(tune, write_sweep) -> None:
    best = write_sweep().parent / "best" / "LLMInterestLSTM@toy.yaml"
    best.parent.mkdir()
    for about in ("Chosen by the sweep toy2 on validation", "By hand."):
        best.write_text(f"about: {about}\n")
        code, _, err = tune(write_sweep())
        assert code == 2 and f"{best}: is there, and was not written by the sweep toy" in err
    assert not RESULTS.exists()


def test_a_place_that_can_hold_no_settings_is_refused_before_a_trial(tune, write_sweep) -> None:
    file = write_sweep()
    code, _, err = tune(file, f"--best={file.parent}")
    assert code == 2 and f"{file.parent}: is a folder. Name a file with --best" in err
    code, _, err = tune(file, f"--best={file}/best.yaml")
    assert code == 2 and f"best.yaml: {file} is no folder that can be written. Name" in err
    assert not RESULTS.exists()


@pytest.mark.parametrize(("gpus", "is_told"), [(0.5, True), (None, True), (0.0, False)])
def test_a_sweep_says_where_there_is_no_gpu(sweep, runner, gpus, is_told) -> None:
    search = runner.search(sweep(resources={"gpus": gpus}, budget={"hours": 1e-12}), Nodes(0))
    search.trials()
    assert runner.heard == ["note: there is no GPU here; all trains on the CPU."] * is_told


def test_what_no_node_has_is_refused_on_a_cluster_too() -> None:
    """Ray itself would wait for it for ever."""
    require_room(Nodes(1, 2), "GPU", 2, place="resources.gpus")
    with pytest.raises(RequestError, match=r"resources.gpus: a run shall have 3, and the largest"):
        require_room(Nodes(1, 2), "GPU", 3, place="resources.gpus")


@pytest.mark.slow
def test_a_suite_can_name_what_it_chose(tune, write_sweep, tmp_path) -> None:
    _, said, _ = tune(write_sweep())
    best = yaml.safe_load(Path(said["best"]).read_text())
    assert said["best"].endswith("tuning/best/LLMInterestLSTM@toy.yaml")
    assert {key: best[key] for key in said["point"]} == said["point"]
    assert "topk" not in best and best["epochs"] == 3  # protocol is the suite's own
    suite = {
        "metric": "ndcg@3", "settings": {"topk": [3], "valid_metric": "NDCG@3"},
        "datasets": {"toy": {}},
        "models": {"tuned": {"model": "LLMInterestLSTM", "best": said["best"]}},
    }  # fmt: skip
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump(suite))
    _, (run,) = check_suite(file, data_path=tmp_path / "data")
    assert run.settings["learning_rate"] == said["point"]["learning_rate"]


@pytest.mark.slow
def test_the_report_tells_of_trials_winner_and_cost(tune, write_sweep) -> None:
    tune(write_sweep(about="A <script>alert(1)</script> & more."))
    report = (RESULTS / "report.md").read_text()
    page = (RESULTS / "report.html").read_text()
    outcome = json.loads((RESULTS / "outcome.json").read_text())
    for text in (
        f"{outcome['test']['mean']:.4f}",
        "trial-hours",
        "learning_rate",
        "LLMInterestLSTM",
    ):
        assert text in report and text in page
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    for name in ("best-so-far", "curves", "parallel"):
        assert (RESULTS / "figures" / f"{name}.svg").stat().st_size > 1000
        assert f"figures/{name}.svg" in report


@pytest.mark.slow
def test_a_trial_that_fails_is_recorded_and_the_rest_go_on(tune, write_sweep, trials) -> None:
    space = {"temperature": {"choice": [1.0, 1e-44, 0.5]}}
    code, said, err = tune(write_sweep(space=space, searcher="grid", budget={}))
    assert code == 0
    states = {one["point"]["temperature"]: one["state"] for one in trials()}
    assert states == {1.0: "done", 1e-44: "failed", 0.5: "done"}
    (failed,) = [one for one in trials() if one["state"] == "failed"]
    assert (
        failed["error"]["type"] == "NonFiniteError" and "Traceback" in failed["error"]["traceback"]
    )
    assert "FAILED" in err and said["point"]["temperature"] != 1e-44
    assert "## Failed" in (RESULTS / "report.md").read_text()


def test_where_all_trials_fail_there_is_no_winner(tune, write_sweep) -> None:
    file = write_sweep(space={"temperature": {"choice": [1e-44]}}, searcher="grid", budget={})
    code, _, err = tune(file)
    assert code == 1 and "none of 1 trials has a score. The first: " in err
    assert not (RESULTS / "outcome.json").exists() and not Path("tuning/best").exists()


def test_hours_end_a_sweep(tune, write_sweep, monkeypatch, trials) -> None:
    """The trial that runs then is stopped, and counts as far as it came."""
    late = property(lambda ledger: 2.0 * any(one.curve for one in ledger.trials()))
    monkeypatch.setattr("recbole_llm.sweep.ledger.Ledger.hours", late)
    code, _, _ = tune(write_sweep(budget={"hours": 1.0}))
    assert code == 0
    (only,) = trials()
    assert (only["state"], len(only["curve"])) == ("stopped", 1)


def test_hours_that_are_over_before_a_trial_are_named(tune, write_sweep) -> None:
    code, _, err = tune(write_sweep(budget={"hours": 1e-9}))
    assert code == 2 and "budget.hours: 1e-09 were over before a trial began" in err


def test_what_needs_ray_says_so(tune, write_sweep) -> None:
    code, _, err = tune(write_sweep(scheduler="asha"))
    assert code == 2 and "scheduler: asha needs Ray. Run: pip install 'ray[tune]>=2.54'" in err
    code, _, err = tune(write_sweep(), "--address=auto")
    assert code == 2 and "--address needs Ray" in err
    code, _, err = tune(write_sweep(), "--address=ray://h:1")
    assert code == 2 and "a sweep runs on a node of its cluster" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--resum"], "unknown option '--resum'. Did you mean '--resume'"),
        (["--results"], "--results: must have one value"),
        (["again.yaml"], "name one sweep, received"),
        (["--resume=1"], "--resume: takes no value"),
    ],
)
def test_a_wrong_command_line_is_refused(tune, write_sweep, argv, words) -> None:
    code, _, err = tune(write_sweep(), *argv)
    assert code == 2 and words in err


def test_help_is_shown(capsys) -> None:
    assert main(["tune", "--help"]) == 0
    assert "usage: recbole-llm tune SWEEP.yaml" in capsys.readouterr().out
