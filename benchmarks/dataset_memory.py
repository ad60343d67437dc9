"""Peak memory and preparation time of our dataset against stock RecBole's, each in its own process.

    uv run python benchmarks/dataset_memory.py --data_path FOLDER [--dataset ml-1m] [--length 200]

FOLDER holds <dataset>.inter and <dataset>.item. Preparation is reading, filtering, ordering,
building the cases and splitting them. The memory of a process that has imported RecBole and read
nothing is subtracted. Writes results/dataset_memory.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from recbole_llm.files import write_json

RESULT = Path(__file__).parents[1] / "results" / "dataset_memory.json"
VARIANTS = ("ours", "stock")


def prepare(variant: str, request: argparse.Namespace) -> dict[str, float]:
    """Prepare the dataset in this process and return seconds and MiB above the start."""
    from recbole.data.dataset import SequentialDataset

    from recbole_llm.config import LLMConfig
    from recbole_llm.data.dataset import InterestDataset

    settings = {"data_path": request.data_path, "MAX_ITEM_LIST_LENGTH": request.length}
    config = LLMConfig("LLMInterestLSTM", request.dataset, None, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    dataset_class = InterestDataset if variant == "ours" else SequentialDataset
    parts = dataset_class(config).build()
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": seconds,
        "mib": (after - before) / 1024,
        "training_cases": len(parts[0]),
    }


def main() -> None:
    """Measure both, print a table, write the JSON; or, in a child, measure one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    request = parser.parse_args()
    if request.variant:
        print(json.dumps(prepare(request.variant, request)))
        return
    rounds = []
    for _ in range(request.rounds):
        rounds.append({})
        for variant in VARIANTS:
            child = [sys.executable, *sys.argv, "--variant", variant]
            done = subprocess.run(child, capture_output=True, text=True, check=True)
            rounds[-1][variant] = json.loads(done.stdout.splitlines()[-1])
        print(rounds[-1], flush=True)
    ratios = {
        unit: statistics.median(one["stock"][unit] / one["ours"][unit] for one in rounds)
        for unit in ("seconds", "mib")
    }
    print(f"stock needs {ratios['seconds']:.1f} times the seconds, {ratios['mib']:.1f} the memory")
    write_json(
        RESULT,
        {
            "dataset": request.dataset,
            "length": request.length,
            "rounds": rounds,
            "median_ratio": ratios,
        },
    )


if __name__ == "__main__":
    main()
