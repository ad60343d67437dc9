"""Writes the figures and the leaderboards of README, and what results/ says in pages of docs/.

uv run python benchmarks/figures.py
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pages import PAGES, ROOT, fastest, fill, read

BOARDS = ("ml-100k", "ml-1m")  # those of these suites in the README that have results
CLAIMS = (*BOARDS, "amazon-beauty", "cold-start", "steam")  # what they claim is beside them

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


def speed_rows(speed: Mapping[str, Any]) -> Iterator[Row]:
    """Yield a row for each figure of speed.py's sections that have been measured."""
    for section, make in SPEED_ROWS.items():
        if section in speed:
            for what, figure in make(speed[section]):
                yield what, figure, f"speed.py {section}"


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
            ours_too = ratio.get(name)  # stock's model, run by our command
            same = f", {ours_too:.1f} times less than when our command runs it" if ours_too else ""
            part_of = " (of a part of its batches)" if contest["extrapolated_from_batches"] else ""
            yield (
                f"Seconds of a training epoch of {ours}, {contest['dataset']}, length "
                f"{contest['length']}, against {name}",
                f"{ratio[stock]:.1f} times less than stock RecBole's{part_of}" + same,
            )


def _share(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    shares = part["median"]
    kind = "bf16" if "share_of_bf16_peak" in shares else "fp32"  # not each processor has bf16
    yield (
        "Share of the matmul peak that a training step reaches, ml-1m's sizes, length 200",
        f"{100 * shares['share']:.0f} % of the peaks of its parts' precisions, "
        f"{100 * shares[f'share_of_{kind}_peak']:.0f} % of {kind}'s alone",
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
    parts += claims()
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


def claims() -> Iterator[str]:
    """Yield what suites claim of a row, and over how many of the other rows it holds."""
    lines: list[str] = []
    for suite in CLAIMS:
        page = ROOT / "results" / suite / "leaderboard.md"
        boards = page.read_text(encoding="utf-8").split("\n## ")[1:] if page.is_file() else []
        for board in boards:
            title, _, rest = board.partition("\n")
            _, is_there, rest = rest.partition("### Claim: ")
            if not is_there:
                continue
            row, _, rest = rest.partition(" is better in ")
            head, _, *found = rest.split("\n\n")[1].split("\n")
            parts, *others = [line.strip("| ").split(" | ")[1:] for line in (head, *found)]
            told = [_verdict(cells) for cells in zip(*others, strict=True)]
            if not lines:
                lines = [f"| suite, table | claimed of | {' | '.join(parts).lower()} |"]
                lines += ["|---|---|" + "---|" * len(parts)]
            lines.append(f"| {suite}: {title} | {row} | {' | '.join(told)} |")
    if lines:
        yield (
            "The suites claim that a row is better than stock GRU4Rec and SASRec and than these "
            "models on all positions (on ml-100k than tuned ones too), and by more on tail and "
            "cold items. Of how many of them that holds, by the tests of the leaderboards:"
        )
        yield "\n".join(lines)


def _verdict(cells: Sequence[str]) -> str:
    holds, unsaid = (
        sum(cell.startswith(words) for cell in cells) for words in ("holds", "cannot be said")
    )
    if unsaid == len(cells):
        return "cannot be said"
    return f"{holds} of {len(cells)}" + (f", {unsaid} cannot be said" if unsaid else "")


def main() -> None:
    """Put tables between the marks of README and pages."""
    fill("README.md", {"figures": table(), "leaderboards": leaderboards()})
    for page, parts in PAGES.items():
        fill(page, {name: part() for name, part in parts.items()})


if __name__ == "__main__":
    main()
