"""The commands, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_llm import usage
from recbole_llm.cli import main, run_recbole_command


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--model=LLMInterestLSTM", "--dataset=ml-100k", "--learning_rat=1"], "'learning_rate'"),
        (["--model=LLMInterestLSTM", "--dataset=ml-100k", "--epochs", "0"], "epochs"),
        (["--model=LLMInterestLSTN", "--dataset=ml-100k"], "'LLMInterestLSTM'"),
        (["--model=LLMInterestLSTM", "--dataset=nowhere"], "nowhere.inter"),
        (["--model=LLMInterestLSTM", "--dataset=ml100k"], "mean 'ml-100k'"),
        (["--model=BPR", "--dataset=amazon2018-Video_Games"], "ml-100k alone needs none.\n"),
        (["--model=LLMInterestLSTM"], "dataset: not given"),
        (["--model=SASRec", "--dataset=ml-100k", "--config_files=none.yaml"], "none.yaml"),
        (["--model=SASRec", "--dataset=ml-100k", "--seed=1", "--seed=2"], "given twice"),
        (["--model=SASRec", "--dataset=ml-100k", "--seed=1", "--seeds=1,2"], "'seed'"),
        (["nonsense"], "belongs to no setting"),
    ],
)
def test_a_wrong_request_is_one_message_and_exit_code_2(argv, words: str, capsys) -> None:
    assert run_recbole_command(argv) == 2
    captured = capsys.readouterr()
    assert words in captured.err.splitlines(keepends=True)[-1] and "Traceback" not in captured.err
    assert captured.out == ""


def test_what_nobody_foresaw_is_one_line_too(monkeypatch, capsys) -> None:
    monkeypatch.setattr("recbole_llm.quick_start.run_recbole", lambda **_: 1 / 0)
    assert run_recbole_command(["--model=BPR", "--dataset=ml-100k"]) == 1
    assert "error: ZeroDivisionError" in (err := capsys.readouterr().err) and "Traceback" not in err
    monkeypatch.setenv("RECBOLE_LLM_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        run_recbole_command(["--model=BPR", "--dataset=ml-100k"])


def test_a_model_without_text_has_nothing_to_encode(capsys) -> None:
    assert main(["encode", "--dataset=ml-100k", "--model=SASRec"]) == 2
    assert "SASRec takes no vectors of text" in capsys.readouterr().err


def test_help(capsys) -> None:
    assert run_recbole_command(["--model=SASRec", "--help"]) == 0
    assert main(["--help"]) == 0
    assert "run_recbole --model" in capsys.readouterr().out


@pytest.mark.parametrize("name", usage.COMMANDS)
def test_each_command_has_help(name: str, capsys) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out == f"{usage.COMMANDS[name]}\n"
    assert main([name]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith(f"{usage.COMMANDS[name]}\n")
    assert usage.COMMANDS[name].startswith(f"usage: recbole-llm {name} ")
    assert f"\n  {name} " in usage.ALL


def test_check_names_all_problems_of_all_files(tmp_path: Path, capsys) -> None:
    (tmp_path / "good.yaml").write_text("epochs: 3\n")
    (tmp_path / "bad.yaml").write_text("epochs: -1\nmodle: x\n")
    assert main(["check", str(tmp_path / "good.yaml")]) == 0
    assert main(["check", str(tmp_path / "good.yaml"), str(tmp_path / "bad.yaml")]) == 2
    captured = capsys.readouterr()
    assert "good.yaml: ok" in captured.out
    assert "epochs" in captured.err and "'model'" in captured.err


def test_an_unknown_command_is_suggested(capsys) -> None:
    assert main(["encod"]) == 2
    assert "Did you mean 'encode'" in capsys.readouterr().err


@pytest.mark.slow
def test_encode_makes_vectors_and_then_finds_them(tmp_path: Path, capsys) -> None:
    argv = ["encode", "--dataset=ml-100k", f"--text_cache_dir={tmp_path / 'cache'}"]
    results = []
    for _ in range(2):
        assert main(argv) == 0
        results.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert [result["from_cache"] for result in results] == [False, True]
    assert results[0]["shape"] == [1683, 384] and results[0]["key"] == results[1]["key"]
    assert results[0]["matched"] == 1682


def _main_job(capsys, *options: str) -> tuple[dict[str, Any], str]:
    argv = ["--model=LLMInterestLSTM", "--dataset=ml-100k", "--show_progress=False"]
    assert run_recbole_command([*argv, *options]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out.splitlines()[-1]), captured.err


@pytest.mark.slow
def test_the_main_job_logs_and_keeps_its_result(capsys) -> None:
    result, log = _main_job(capsys, "--epochs=1")
    assert "epoch 0 training [time:" in log and "test result" in log
    assert result["epochs"] == 1 and result["dataset"] == "ml-100k" and result["seed"] == 2020
    assert result["seconds"].keys() == {"prepare", "encode", "train", "evaluate", "per_epoch"}
    stored = json.loads(Path(result["run_dir"], "result.json").read_text(encoding="utf-8"))
    assert stored["test_result"] == result["test_result"]


@pytest.mark.slow
def test_the_main_job_beats_random_text(capsys) -> None:
    # Whole random vectors, 384 numbers an item, serve as ids do; their 32 components do not.
    options = ["--item_features=text", "--whitening=pca", "--whitening_dim=32"]
    options += ["--enable_amp=False", "--epochs=3"]
    real, _ = _main_job(capsys, *options)
    random, _ = _main_job(capsys, *options, "--text_control=random")
    for part in ("best_valid_result", "test_result"):
        assert real[part]["ndcg@10"] > 1.5 * random[part]["ndcg@10"]
