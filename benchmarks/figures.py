"""Writes the README's figures and docs/ablations.md from results/.

uv run python benchmarks/figures.py
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def read(name: str) -> Any:
    """Return a result."""
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def rows() -> list[tuple[str, str, str]]:
    """Return what was measured, its figure, and the script that measures it again."""
    job, speed = read("main_job/LLMInterestLSTM.json"), read("epoch_speed.json")["median_ratio"]
    encoding, memory = read("encoding.json"), read("dataset_memory.json")
    short, long = encoding["short"], encoding["long"]
    mean, spread = job["mean_test_ndcg@10"], job["stdev_test_ndcg@10"]
    ratio = memory["median_ratio"]
    return [
        (
            "Main job, ml-100k, test NDCG@10, exact order, all items ranked",
            f"{mean:.4f} ± {spread:.4f} over {len(job['runs'])} seeds",
            "main_job.py",
        ),
        (
            "Main job, seconds from command to result, encoding included",
            f"{job['median_wall_seconds']:.0f} (median)",
            "main_job.py",
        ),
        *(
            (
                f"Seconds of a training epoch, ml-100k, length 50, against {name}",
                f"{speed[f'{name}, stock']:.1f} times less than stock RecBole's, "
                f"{speed[name]:.1f} times less than when our command runs it",
                "epoch_speed.py",
            )
            for name in ("GRU4Rec", "SASRec")
        ),
        *(
            (
                f"Encoding {words}, against `SentenceTransformer.encode`",
                f"{one['median_ratio']:.1f} times as fast, cosine at least {one['min_cosine']:.5f}",
                "encoding.py",
            )
            for words, one in (("short titles", short), ("long texts", long))
        ),
        (
            f"Preparing {memory['dataset']}, length {memory['length']}, against stock",
            f"{ratio['mib']:.1f} times less memory, {ratio['seconds']:.1f} times faster",
            "dataset_memory.py",
        ),
    ]


def table() -> str:
    """Return the README's table."""
    lines = ["| what | figure | `benchmarks/` |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | `{script}` |" for what, figure, script in rows()]
    return "\n".join(lines) + "\n"


def ablations() -> str:
    """Return the page of ablations: mean and standard deviation over seeds of each value."""
    lines = [
        "# Ablations",
        "",
        "Test and validation NDCG@10 of `LLMInterestLSTM`, or the model named, at its defaults but",
        "for one setting. Defaults follow the validation column. `benchmarks/ablation.py`",
        "measures, `benchmarks/figures.py` writes this page.",
    ]
    for file in sorted((ROOT / "results" / "ablation").glob("*.json")):
        dataset, _, setting = file.stem.rpartition("-")
        lines += ["", f"## `{setting}` on {dataset}", ""]
        lines += ["| value | validation | test | seeds |", "|---|---|---|---|"]
        for value, runs in json.loads(file.read_text(encoding="utf-8")).items():
            cells = [spread([run[part] for run in runs.values()]) for part in ("valid", "test")]
            lines.append(f"| {value} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """Return mean ± standard deviation; of one value there is no deviation."""
    deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "–"
    return f"{statistics.mean(values):.4f} ± {deviation}"


def main() -> None:
    """Put the table between the README's marks, and write the page."""
    (ROOT / "docs" / "ablations.md").write_text(ablations(), encoding="utf-8")
    readme = ROOT / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(head + BEGIN + table() + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
