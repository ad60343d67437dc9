"""What pages of docs/ show of the records of suites; ``pages.py`` says where."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from recbole_llm.bench.boards import Row
from recbole_llm.bench.results import Record, read_records
from recbole_llm.bench.scores import with_items_alike
from recbole_llm.ranks import read_ranks
from recbole_llm.slices import ALIKE

ROOT = Path(__file__).parents[1]
TUNED = ("frozen", "last_layers", "lora", "lora, fast")
SHARES = ("zero-shot", "1 %", "5 %", "10 %", "all users")  # of docs/transfer.md


def spread(values: list[float]) -> str:
    """Return mean ± standard deviation; of one value there is no deviation."""
    deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "–"
    return f"{statistics.mean(values):.4f} ± {deviation}"


def transfer() -> str:
    """Return the table of docs/transfer.md: test NDCG@10 by what was begun with and trained on."""
    scores: dict[tuple[str, str], list[float]] = {}
    for record in read_records(ROOT / "results" / "transfer")[0]:
        who, _, trained_on = record.facts["label"].partition(", ")
        score = record.facts["test_result"]["ndcg@10"]
        scores.setdefault((who, trained_on), []).append(score)
    if not scores:
        return "Not measured yet.\n"
    beginnings, shares = (list(dict.fromkeys(names)) for names in zip(*sorted(scores), strict=True))
    shares = [share for share in SHARES if share in shares]
    lines = [f"| begins with | {' | '.join(shares)} |", f"|---{'|---' * len(shares)}|"]
    for who in beginnings:
        cells = [spread(scores[who, share]) if (who, share) in scores else "" for share in shares]
        lines += [f"| {who} | {' | '.join(cells)} |"] * any(cells)
    seeds = max(map(len, scores.values()))
    others = [  # under their whole labels, since they have no share
        f"{', '.join(filter(None, name))} {spread(found)}"
        for name, found in scores.items()
        if name[1] not in SHARES
    ]
    lines += ["", f"Mean ± standard deviation over seeds, of which there are at most {seeds}."]
    lines += [f"Controls: {'; '.join(others)}."] * bool(others)
    return "\n".join(lines) + "\n"


def tuning() -> str:
    """Return the table of docs/text_tuning.md: NDCG@10 and minutes by what is trained."""
    return _by_validation("text-tuning", TUNED)


def _by_validation(suite: str, labels: Iterable[str], *, dataset: str | None = None) -> str:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for record in read_records(ROOT / "results" / suite)[0]:
        if dataset in (None, record.facts["dataset"]):
            rows.setdefault(record.facts["label"], []).append(record.facts)
    lines = ["| row | validation | test | minutes of training | seeds |", "|---|---|---|---|---|"]
    for label in labels:
        runs = rows.get(label, [])
        parts = [
            [run[key]["ndcg@10"] for run in runs] for key in ("best_valid_result", "test_result")
        ]
        minutes = statistics.mean(run["seconds"]["train"] / 60 for run in runs) if runs else 0
        cells = [*map(spread, parts), f"{minutes:.0f}", str(len(runs))] if runs else ["–"] * 4
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ablations() -> str:
    """Return the table of docs/ablations.md: NDCG@10 of each row of the suite, in its order."""
    return _by_validation("ablation", _suite("ablation")["models"])


def defaults() -> str:
    """Return the tables of the suite that chooses defaults, for docs/ablations.md, by dataset."""
    suite = _suite("defaults")
    parts = [
        f"**{dataset}**\n\n{_by_validation('defaults', suite['models'], dataset=dataset)}"
        for dataset in suite["datasets"]
    ]
    return "\n".join(parts)


def _suite(name: str) -> Any:
    """Return what a suite's file says."""
    return yaml.safe_load((ROOT / "benchmarks" / f"{name}.yaml").read_text(encoding="utf-8"))


def causality() -> str:
    """Return the tables of the suite for docs/causality.md, one a ruler: test NDCG@10 by group."""
    rulers: dict[str, dict[str, list[Record]]] = {}
    for record in read_records(ROOT / "results" / "causality")[0]:
        rows = rulers.setdefault(record.facts["ruler"], {})
        rows.setdefault(record.facts["label"], []).append(record)
    if not rulers:
        return "Not measured yet.\n"
    parts = []
    for ruler, rows in sorted(rulers.items(), reverse=True):
        groups = next(iter(rows.values()))[0].facts["slices"]["item_popularity"]
        cases = [f"{name}, {one['cases']}" for name, one in groups.items()]
        lines = [f"| {ruler} | all | mean over items | {' | '.join(cases)} | coverage@10 | seeds |"]
        lines.append("|---" * (len(groups) + 5) + "|")
        for label, runs in rows.items():
            facts = [run.facts for run in runs]
            scores = [[run["test_result"]["ndcg@10"] for run in facts], [*map(over_items, runs)]]
            scores += [
                [run["slices"]["item_popularity"][name]["metrics"]["ndcg@10"] for run in facts]
                for name in groups
            ]
            scores.append([run["lists"]["coverage@10"] for run in facts])
            cells = " | ".join(spread(values) for values in scores)
            lines.append(f"| {label} | {cells} | {len(runs)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def over_items(record: Record) -> float:
    """Return test NDCG@10 as the mean over target items, each the mean of its cases."""
    row = with_items_alike(Row(record.facts["label"], record.facts["role"], [record]), ["ndcg@10"])
    score = row.mean("slices", "weights", ALIKE, "metrics", "ndcg@10")
    if score is None:
        raise SystemExit(f"{record.path}: its ranks are not there.")
    return score


def heads() -> str:
    """Return the tables of docs/encoders.md, one a dataset: NDCG@10 by both rulers."""
    datasets: dict[str, list[Record]] = {}
    for record in read_records(ROOT / "results" / "encoders")[0]:
        datasets.setdefault(record.facts["dataset"], []).append(record)
    if not datasets:
        return "Not measured yet.\n"
    parts = [f"**{name}**\n\n{_heads(datasets[name])}" for name in sorted(datasets, reverse=True)]
    return "\n".join(parts)


def _heads(records: list[Record]) -> str:
    rows: dict[str, dict[str, list[Record]]] = {}
    for one in records:
        rows.setdefault(one.facts["label"], {}).setdefault(one.facts["ruler"], []).append(one)
    lines = ["| row | leave-one-out | cold items | their mean over items | coverage@10 | seeds |"]
    lines += ["|---|---|---|---|---|---|"]
    for label, runs in sorted(rows.items()):
        known, cold = (runs.get(ruler, []) for ruler in ("leave-one-out", "cold-items"))
        parts = [[run.facts["test_result"]["ndcg@10"] for run in part] for part in (known, cold)]
        parts.append([over_items(run) for run in cold])
        parts.append([run.facts["lists"]["coverage@10"] for run in cold])
        cells = [spread(part) if part else "–" for part in parts]
        lines.append(f"| {label} | {' | '.join(cells)} | {max(len(known), len(cold))} |")
    return "\n".join(lines) + "\n" + _cold_cases([one for one in records if _is_cold(one)])


def _is_cold(record: Record) -> bool:
    return record.facts["ruler"] == "cold-items"


def _cold_cases(records: list[Record]) -> str:
    """Return how few items the cold cases are of."""
    if not records:
        return ""
    if records[0].ranks is None:  # too large for git
        cases = records[0].facts["slices"]["weights"]["each item alike"]
        return f"\nThe {cases['cases']:,} cold cases are of {cases['items']:,} items.\n"
    counts = Counter(read_ranks(records[0].ranks).items)
    most = [count for _, count in counts.most_common(4)]
    total = sum(counts.values())
    return (
        f"\nThe {total} cold cases are of {len(counts)} items; {most[0] / total:.0%} are of one, "
        f"and {sum(most) / total:.0%} of four.\n"
    )
