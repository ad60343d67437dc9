"""Writes docs/targets.md: what we want to reach on each dataset, and what the records say.

uv run python benchmarks/targets.py
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_llm.bench.results import Record, read_records

ROOT = Path(__file__).parents[1]
METRIC = "ndcg@10"
NONE = "–"


@dataclass(frozen=True)
class Target:
    """What is wanted on a dataset by a ruler.

    Attributes:
        dataset, ruler: Where; a ruler is a name of the suite's ``rulers``, if it has any.
        quoted: Published figures under the same ruler, but for order and ties (docs/protocol.md).
        elsewhere: Others that the target was set by, and what their ruler differs in.
        reach: Wanted of LLMInterestLSTM.
        aim: Wanted of any row of ours, or of an ensemble of them.
    """

    dataset: str
    ruler: str | None
    quoted: str
    elsewhere: str
    reach: float | None
    aim: float


TARGETS = (
    Target(
        "ml-100k",
        None,
        "GRU4Rec .0650, SASRec .0594, batch 128, stopped by NDCG@10",
        NONE,
        0.072,
        0.080,
    ),
    Target("ml-1m", "R", "SASRec .1146, SASRecF .1249, TedRec .1445", NONE, 0.160, 0.180),
    Target("ml-1m", "F", "SASRec+ full CE .1821", "ICSRec .2007: length 50", 0.1821, 0.2007),
    Target(
        "amazon-beauty",
        "R",
        "SASRec CE .0432",
        "SASRec sampled softmax .0531: length and filter not said",
        0.0450,
        0.0578,
    ),
    Target("amazon-beauty", "filtered", "ICSRec-GRU .0437, ICSRec .0578", NONE, None, 0.0578),
)

HEAD = """# Targets

What we set out to reach, test NDCG@10, and what the records in results/ say: mean ± standard
deviation over seeds. Quoted figures are of others' runs, from papers and READMEs; those under
another ruler say why a target was set, and are no comparison. "Best" is the row or ensemble of
ours with the highest test mean, so that the test chose it; one whose repeats are learned has a term
that no quoted model has (docs/repeats.md), and the thought of similar texts had seen test scores
(docs/similarity.md). Rulers: docs/protocol.md and the suite.
`benchmarks/targets.py` writes this page, `recbole-llm bench` and `benchmarks/ensembles.py` measure.

| data, ruler | quoted | elsewhere | wanted of LLMInterestLSTM | reached | wanted of any | best |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    return HEAD + "".join(_line(target) for target in TARGETS)


def _line(target: Target) -> str:
    root = ROOT / "results" / target.dataset
    rows: dict[str, list[float]] = {}
    for record in read_records(root)[0]:
        if _is_of(record, target):
            score = record.facts["test_result"][METRIC]
            rows.setdefault(record.facts["label"], []).append(score)
    best = {_named(label, scores): statistics.mean(scores) for label, scores in rows.items()}
    for one in _ensembles(root, target):
        score = one["test_result"][METRIC]
        best[f"{score:.4f}, {len(one['runs'])} runs together ({one['label']})"] = score
    most = max(best, key=lambda name: best[name], default=None)
    lstm = rows.get("LLMInterestLSTM", [])
    cells = [
        " ".join((target.dataset, *([target.ruler] if target.ruler else ()))),
        target.quoted,
        target.elsewhere,
        NONE if target.reach is None else f"{target.reach:.4f}",
        _reached(_spread(lstm), statistics.mean(lstm), target.reach) if lstm else "not measured",
        f"{target.aim:.4f}",
        _reached(most, best[most], target.aim) if most else "not measured",
    ]
    return f"| {' | '.join(cells)} |\n"


def _is_of(record: Record, target: Target) -> bool:
    facts, settings = record.facts, record.facts["settings"]
    learns_repeats = settings.get("repeat_bias") and not settings.get("text_control")
    is_ours = facts["role"] == "model" or (
        facts["model"].startswith("LLMInterest") and learns_repeats
    )
    table = (facts["dataset"], facts.get("ruler"))
    return bool(is_ours) and table == (target.dataset, target.ruler)


def _ensembles(root: Path, target: Target) -> list[Any]:
    file = root / "ensembles.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return [one for one in found if one["ruler"] == target.ruler]


def _named(label: str, scores: list[float]) -> str:
    return f"{_spread(scores)} ({label})"


def _spread(scores: list[float]) -> str:
    mean = f"{statistics.mean(scores):.4f}"
    return (
        f"{mean} ± {statistics.stdev(scores):.4f}, {len(scores)} seeds"
        if len(scores) > 1
        else f"{mean}, 1 seed"
    )


def _reached(words: str, score: float, wanted: float | None) -> str:
    if wanted is None:
        return words
    if score >= wanted:
        return f"{words}: reached"
    short = f"{wanted - score:.4f}"
    return f"{words}: {'less than 0.0001' if float(short) == 0 else short} short"


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "targets.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
