"""The main job on ml-100k, as a user runs it: whole-process seconds and test metrics over seeds.

    uv run python benchmarks/main_job.py [--model LLMInterestLSTM] [--seeds 2020 2021 2022]

Each run is the command ``run_recbole`` in a process of its own with an empty vector cache, so that
its seconds include start, text encoding, training and test. Writes results/main_job/<model>.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from recbole_llm.files import write_json

RESULTS = Path(__file__).parents[1] / "results" / "main_job"


def run(model: str, *, seed: int) -> dict[str, Any]:
    """Run the command once, in a folder of its own; return its JSON line with ``wall_seconds``."""
    command = [
        sys.executable,
        "-c",
        "from recbole_llm.cli import *; sys.exit(run_recbole_command())",
    ]
    command += [f"--model={model}", "--dataset=ml-100k", f"--seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        command += [f"--text_cache_dir={folder}/cache", "--show_progress=False"]
        begin = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(done.stderr.rstrip().rpartition("\n")[2])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result.pop("run_dir")
    return result | {"wall_seconds": seconds}


def main() -> None:
    """Run all seeds, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="LLMInterestLSTM")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2020, 2021, 2022])
    request = parser.parse_args()
    runs = []
    for seed in request.seeds:
        runs.append(run(request.model, seed=seed))
        last = runs[-1]
        print(
            f"seed {seed}: NDCG@10 {last['test_result']['ndcg@10']:.4f}, "
            f"{last['epochs']} epochs, {last['wall_seconds']:.0f}s",
            flush=True,
        )
    ndcg = [one["test_result"]["ndcg@10"] for one in runs]
    summary = {
        "model": request.model,
        "mean_test_ndcg@10": statistics.mean(ndcg),
        "stdev_test_ndcg@10": statistics.stdev(ndcg) if len(ndcg) > 1 else None,
        "median_wall_seconds": statistics.median(one["wall_seconds"] for one in runs),
        "threads": torch.get_num_threads(),
        "runs": runs,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(RESULTS / f"{request.model}.json", summary)
    print(
        f"mean NDCG@10 {summary['mean_test_ndcg@10']:.4f}, "
        f"median {summary['median_wall_seconds']:.0f}s a run"
    )


if __name__ == "__main__":
    main()
