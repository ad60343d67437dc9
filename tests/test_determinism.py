"""The same seed gives the same result, wherever and however it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_llm import run_recbole

SMALL = {
    "embedding_size": 8, "hidden_size": 8, "epochs": 2, "train_batch_size": 16, "topk": [3],
    "valid_metric": "NDCG@3", "show_progress": False,
}  # fmt: skip
OF_THE_MACHINE = ("seconds", "run_dir", "peak_memory_mib", "peak_gpu_memory_mib")


def events() -> list[tuple[str, str, float]]:
    """Return events of which many share a time."""
    return [
        (f"u{user}", f"i{(user * user + step) % 11}", float(step // 2))
        for user in range(20)
        for step in range(7)
    ]


def facts(run_dir: str | Path) -> dict[str, Any]:
    """Return a result without seconds, paths and memory."""
    found = json.loads(Path(run_dir, "result.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in found.items() if key not in OF_THE_MACHINE}
    kept["curve"] = [(point["epoch"], point["valid"]) for point in found["curve"]]
    kept["settings"] = {k: v for k, v in found["settings"].items() if k != "run_dir"}
    if found["text"] is not None:
        of_machine = ("from_cache", "vectors_per_second")
        kept["text"] = {k: v for k, v in found["text"].items() if k not in of_machine}
    ranks = Path(run_dir, "ranks.csv.gz").read_bytes()
    return kept | {"ranks": ranks}


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("LLMInterestLSTM", {"item_features": "id"}),
        ("LLMInterestLSTM", {"item_features": "id", "training": "prefixes", "loss_type": "BCE"}),
        ("SASRec", {"n_layers": 1, "inner_size": 8}),
    ],
)
def test_a_seed_decides_a_run(write_dataset, model, settings) -> None:
    settings = SMALL | settings | {"data_path": str(write_dataset(events()))}
    one, same, other = (
        facts(run_recbole(model, "toy", config_dict=settings | {"seed": seed})["run_dir"])
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one["curve"] != other["curve"] and one["ranks"] != other["ranks"]


CHILD = """
import json, sys
from recbole_llm.cli import run_recbole_command
sys.exit(max(run_recbole_command(words) for words in json.loads(sys.argv[1])))
"""
CASES = {
    "text and ids": ["--model=LLMInterestLSTM", "--item_features=[text, id]"],
    "cold start": [
        "--model=LLMInterestLSTM", "--eval_args.split={cold_start: {shares: [0.6, 0.2, 0.2]}}"
    ],
    "control": ["--model=LastItemTextKNN"],
    "stock": ["--model=SASRec", "--n_layers=1", "--inner_size=8"],
}  # fmt: skip


@pytest.mark.slow
def test_no_hash_seed_directory_or_locale_changes_a_result(write_dataset, tmp_path) -> None:
    data = write_dataset(events(), {f"i{k}": f"İı film {k}" for k in range(11)})
    words = ["--dataset=toy", f"--data_path={data}", *(f"--{k}={v}" for k, v in SMALL.items())]
    found = []
    for hash_seed, locale in (("0", "C"), ("12345", "C.UTF-8")):
        here = tmp_path / f"at {hash_seed}"
        here.mkdir()
        runs = [[*words, *own, f"--run_dir={here / name}"] for name, own in CASES.items()]
        chosen = {"PYTHONHASHSEED": hash_seed, "LC_ALL": locale, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(runs)],
            cwd=here, env=os.environ | chosen, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        found.append({name: facts(here / name) for name in CASES})
    for name in CASES:
        assert found[0][name] == found[1][name], name


@pytest.mark.slow
def test_no_number_of_workers_changes_a_result(write_dataset) -> None:
    settings = SMALL | {"data_path": str(write_dataset(events())), "n_layers": 1, "inner_size": 8}
    found = [
        facts(run_recbole("SASRec", "toy", config_dict=settings | {"worker": worker})["run_dir"])
        for worker in (0, 2)
    ]
    for one in found:
        del one["settings"]["worker"]
    assert found[0] == found[1]
