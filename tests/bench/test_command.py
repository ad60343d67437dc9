"""The command line of ``recbole-llm bench``."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.bench.command import parse
from recbole_llm.bench.ray_runner import RayRunner
from recbole_llm.bench.runner import run_here
from recbole_llm.cli import main
from recbole_llm.errors import RequestError


def test_a_suite_is_all_it_needs() -> None:
    request = parse(["benchmarks/quick.yaml"])
    assert request.suite == Path("benchmarks/quick.yaml")
    assert request.results == Path("results/quick")
    assert not request.is_plan and not request.is_forced
    assert request.seeds is request.only is request.data_path is None
    assert request.executor is run_here


def test_options_stand_anywhere_with_or_without_an_equals_sign() -> None:
    words = ["--plan", "--results", "my results", "s.yaml", "--seeds=1,2", "--only=A, b", "--force"]
    request = parse([*words, "--data_path=d"])
    assert request.suite == Path("s.yaml") and request.results == Path("my results")
    assert request.is_plan and request.is_forced and request.seeds == (1, 2)
    assert request.only == "A, b" and request.data_path == Path("d")
    assert parse(["s.yaml", "--seed", "3"]).seeds == (3,)


@pytest.mark.parametrize(
    ("options", "runner"),
    [
        (["--address=auto"], RayRunner(address="auto", gpus=None, cpus=1)),
        (["--gpus=0.25"], RayRunner(address=None, gpus=0.25, cpus=1)),
        (["--cpus", "2"], RayRunner(address=None, gpus=None, cpus=2)),
    ],
)
def test_ray_runs_what_it_is_asked_for(options: list[str], runner: RayRunner) -> None:
    assert parse(["s.yaml", *options]).executor == runner


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["a.yaml", "b.yaml"], "name one suite, received a.yaml b.yaml"),
        (["s.yaml", "--seed=1", "--seeds=1,2"], "--seed and --seeds are given. Keep one."),
        (["s.yaml", "--seeds=1;2"], "must be numbers, as 2020,2021; received '1;2'"),
        (["s.yaml", "--result=x"], "unknown option '--result'. Did you mean '--results'"),
        (["s.yaml", "--force", "--from=x"], "--force and --from are given. Keep one."),
        (["s.yaml", "--plan=yes"], "--plan: takes no value"),
        (["s.yaml", "--only=a", "--only=b"], "--only: must have one value"),
        (["s.yaml", "--gpus=many"], "--gpus: must be a number of GPUS a run, whole above 1; rec"),
        (["s.yaml", "--cpus=1.5"], "--cpus: must be a number of CPUS a run, whole above 1; rec"),
        (["s.yaml", "--cpus=-1"], "--cpus: must be"),
        (["s.yaml", "--gpus=inf"], "--gpus: must be"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_one_message(argv: list[str], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(argv)
    assert words in str(caught.value)


def test_all_that_is_wrong_with_it_is_said_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        parse(["--seeds=x", "--seed=1", "--resluts=a"])
    assert str(caught.value).startswith("recbole-llm bench: 4 problems")


def test_help(capsys) -> None:
    assert main(["bench", "--help"]) == 0
    assert "usage: recbole-llm bench SUITE.yaml" in capsys.readouterr().out


def test_a_suite_that_is_not_there(capsys) -> None:
    assert main(["bench", "nowhere.yaml"]) == 2
    assert "nowhere.yaml: cannot be read" in capsys.readouterr().err
