"""Writes the figures of README and docs/encoders.md, the leaderboards, and docs/ablations.md.

uv run python benchmarks/figures.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BOARDS = ("ml-100k", "ml-1m")  # those of these suites in the README that have results
LEAST_COSINE = 0.999  # of an encoder that is as good as float32


def read(name: str) -> Any:
    """Return a result."""
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


Row = tuple[str, str, str]
"""What was measured, its figure, and the script that measures it again."""


def rows() -> list[Row]:
    """Return the rows of the README's table."""
    job, encoding = read("main_job/LLMInterestLSTM.json"), read("encoding.json")
    mean, spread = job["mean_test_ndcg@10"], job["stdev_test_ndcg@10"]
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
        *encoding_rows(encoding),
        *speed_rows(read("speed.json")),
    ]


def encoding_rows(encoding: Mapping[str, Any]) -> Iterator[Row]:
    """Yield, for each length, our default's figure and that of the fastest that is as good."""
    ours = "torch bf16" if "torch bf16" in encoding["short"]["encoders"] else "torch float32"
    for length, words in (("short", "short titles"), ("long", "long texts")):
        for name in dict.fromkeys((ours, fastest(encoding))):
            one = encoding[length]["encoders"][name]
            yield (
                f"Encoding {words} by {name}, against `SentenceTransformer.encode`",
                f"{one['median_ratio']:.1f} times as fast, cosine at least {one['min_cosine']:.5f}",
                "encoding.py",
            )


def fastest(encoding: Mapping[str, Any]) -> str:
    """Return the encoder of most vectors a second of those of cosine 0.999 and more everywhere."""
    short, long = encoding["short"]["encoders"], encoding["long"]["encoders"]
    good = [n for n in short if min(short[n]["min_cosine"], long[n]["min_cosine"]) >= LEAST_COSINE]
    return max(good, key=lambda name: short[name]["median_ratio"] * long[name]["median_ratio"])


def encoders() -> str:
    """Return the table of backends for docs/encoders.md."""
    encoding = read("encoding.json")
    machine, chosen = encoding["machine"], fastest(encoding)
    backend, precision = chosen.split()
    lines = [
        f"On {machine['processor']}, {machine['threads']} threads: {encoding['short']['texts']:,} "
        f"titles and {encoding['long']['texts']:,} long texts; times are those as fast as "
        "`SentenceTransformer.encode` as it comes.",
        "",
        "| encoder | precision | titles/s | times | cosine: mean, least | long texts/s | times "
        "| cosine: mean, least |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in encoding["short"]["encoders"]:
        cells = []
        for length in ("short", "long"):
            one = encoding[length]["encoders"][name]
            cells += [f"{one['vectors_per_second']:,.0f}", f"{one['median_ratio']:.1f}"]
            cells.append(f"{one['mean_cosine']:.5f}, {one['min_cosine']:.5f}")
        lines.append(f"| {' | '.join([*name.split(), *cells])} |")
    lines += [
        "",
        f"The fastest whose cosine to float32 is {LEAST_COSINE} or more for every text: "
        f"`text_backend: {backend}` with `text_dtype: {precision}`.",
    ]
    return "\n".join(lines) + "\n"


def speed_rows(speed: Mapping[str, Any]) -> Iterator[Row]:
    """Yield a row for each figure of speed.py's sections that have been measured."""
    for section, make in SPEED_ROWS.items():
        if section in speed:
            earlier = speed[section].get("measured_by")  # figures older than the script
            for what, figure in make(speed[section]):
                about = f" (by {earlier})" if earlier else ""
                yield what + about, figure, f"speed.py {section}"


def _passing(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, one in part["against"].items():
        if one.get("median_ratio"):
            ours, goal = statistics.median(one["ours_seconds"]), one["goal"]["score"]
            yield (
                f"Seconds to stock {name}'s best validation NDCG@10 ({goal:.4f}), ml-100k",
                f"{ours:.0f} against {one['stock_seconds']:.0f}: "
                f"{one['median_ratio']:.0f} times less",
            )


def _epochs(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for contest in part["contests"].values():
        ours, ratio = next(iter(contest["rounds"][0])), contest["median_ratio"]
        for stock in [name for name in ratio if name.endswith(", stock")]:
            name = stock.removesuffix(", stock")
            same = f", {ratio[name]:.1f} times less than when our command runs it"
            part_of = " (of a part of its batches)" if contest["extrapolated_from_batches"] else ""
            yield (
                f"Seconds of a training epoch of {ours}, {contest['dataset']}, length "
                f"{contest['length']}, against {name}",
                f"{ratio[stock]:.1f} times less than stock RecBole's{part_of}"
                + (same if name in ratio else ""),
            )


def _share(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield (
        "Share of the matmul peak that a training step reaches, ml-1m's sizes, length 200",
        f"{100 * part['median']['share']:.0f} % of the peaks of its parts' precisions, "
        f"{100 * part['median']['share_of_bf16_peak']:.0f} % of bf16's alone",
    )


def _against_stock(what: str, ratio: Mapping[str, float], where: str) -> tuple[str, str]:
    return (
        f"{what}, {where}, against stock",
        f"{ratio['mib']:.1f} times less memory, {ratio['seconds']:.1f} times faster",
    )


def _preparation(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    where = f"{part['dataset']}, length {part['length']}"
    yield _against_stock("Preparing", part["median_ratio"], where)


def _evaluation(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    where = f"{part['dataset']}, length {part['length']}"
    for model, one in part["models"].items():
        yield _against_stock(f"Evaluating {model}", one["median_ratio"], where)


def _growth(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    least, most = (f(part["cases"], key=lambda one: one["events"]) for f in (min, max))
    yield (
        f"Bytes an interaction in preparing {least['events']:,} to {most['events']:,} interactions",
        f"{least['prepare_bytes_an_interaction']:.0f} to "
        f"{most['prepare_bytes_an_interaction']:.0f}",
    )


def _softmax(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    most = max(part["sizes"], key=lambda one: one["num_items"])
    peak = max(one["ours"]["process_mib"] for one in most["rounds"])
    yield (
        f"Full softmax and gradients, {most['num_items']:,} items, {most['positions']:,} positions",
        f"peak {peak / 1024:.1f} GiB in the whole process",
    )


SPEED_ROWS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[tuple[str, str]]]] = {
    "passing": _passing,
    "epochs": _epochs,
    "share": _share,
    "preparation": _preparation,
    "evaluation": _evaluation,
    "growth": _growth,
    "softmax": _softmax,
}


def table() -> str:
    """Return the README's table."""
    lines = ["| what | figure | `benchmarks/` |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | `{script}` |" for what, figure, script in rows()]
    return "\n".join(lines) + "\n"


def leaderboards() -> str:
    """Return the README's leaderboards: the first tables of the committed ones, and a figure."""
    parts, pictures = [], []
    for suite in BOARDS:
        folder = ROOT / "results" / suite
        if (page := folder / "leaderboard.md").is_file():
            parts += first_tables(page.read_text(encoding="utf-8"))
            parts.append(
                f"More of it: [tests, slices and protocol](results/{suite}/leaderboard.md), and "
                f"`results/{suite}/index.html`, a page to open from disk."
            )
            pictures += sorted(folder.glob("figures/*/tradeoff.svg"))
    for picture in pictures[:1]:
        place = picture.relative_to(ROOT).as_posix()
        parts.append(f"![Accuracy against seconds of training, {picture.parent.name}]({place})")
    return "\n\n".join(parts) + "\n"


def first_tables(page: str) -> Iterator[str]:
    """Yield title and table of accuracy of each board of a leaderboard's Markdown page."""
    for board in page.split("\n## ")[1:]:
        title, _, rest = board.partition("\n")
        _, mark, tables = rest.partition("### Accuracy and cost\n\n")
        if mark:
            yield f"**{title}**"
            yield tables.partition("\n\n")[0]


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
    """Put tables between the marks of README and docs/encoders.md, and write the page."""
    (ROOT / "docs" / "ablations.md").write_text(ablations(), encoding="utf-8")
    fill("README.md", {"figures": table(), "leaderboards": leaderboards()})
    fill("docs/encoders.md", {"figures": encoders()})


def fill(page: str, contents: Mapping[str, str]) -> None:
    """Put each content between its marks in a page."""
    file = ROOT / page
    text = file.read_text(encoding="utf-8")
    for name, content in contents.items():
        begin, end = marks(name)
        head, rest = text.split(begin)
        text = head + begin + content + end + rest.split(end)[1]
    file.write_text(text, encoding="utf-8")


def marks(name: str) -> tuple[str, str]:
    """Return between which lines a page holds what this script writes."""
    return f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"


if __name__ == "__main__":
    main()
