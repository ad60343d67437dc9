"""Peak memory and seconds of preparing a dataset, ours against stock RecBole's.

Preparation is reading, filtering, ordering, building the cases and splitting them. The memory of a
process that has imported RecBole and read nothing is subtracted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from recbole_llm.config import LLMConfig
from recbole_llm.data.dataset import InterestDataset
from sections.contestants import place
from sections.process import forget_peak, in_rounds, median_ratio, peak_mib


def run(request: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the comparison."""
    dataset, length = ("ml-1m", 200) if request.data_path else ("ml-100k", 50)
    shared = {"dataset": dataset, "data_path": request.data_path, "length": length}
    tasks = {name: shared | {"variant": name} for name in ("ours", "stock")}
    rounds = in_rounds("preparation", tasks, request.rounds)
    ratios = {unit: median_ratio(rounds, unit, of="stock") for unit in ("seconds", "mib")}
    yield {"dataset": dataset, "length": length, "rounds": rounds, "median_ratio": ratios}


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Prepare the dataset in this process and return seconds and MiB above the start."""
    from recbole.data.dataset import SequentialDataset

    settings = {"MAX_ITEM_LIST_LENGTH": task["length"], "state": "ERROR"}
    settings |= place(task["dataset"], task["data_path"])
    config = LLMConfig("LLMInterestLSTM", task["dataset"], None, settings)
    start = forget_peak()
    begin = time.perf_counter()
    dataset_class = InterestDataset if task["variant"] == "ours" else SequentialDataset
    parts = dataset_class(config).build()
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "mib": peak_mib() - start, "training_cases": len(parts[0])}


def lines(part: dict[str, Any]) -> Iterator[str]:
    """Yield the table."""
    ratio = part["median_ratio"]
    yield (
        f"{part['dataset']}, length {part['length']}: stock needs {ratio['seconds']:.1f} times the "
        f"seconds, {ratio['mib']:.1f} times the memory"
    )
