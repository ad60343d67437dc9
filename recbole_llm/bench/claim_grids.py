"""Tables of a claim: what it says, and what was found of each row and group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from recbole_llm.bench.cells import NONE, Cell, Grid, difference_texts, p_text, slice_label
from recbole_llm.bench.claims import ALL, CLAIMED, COLD, MORE, TAIL, Claim, Finding
from recbole_llm.bench.metrics import metric
from recbole_llm.bench.stats import Comparison
from recbole_llm.slices import FEWEST_CASES

HEADS = {ALL: "All test cases", TAIL: "Tail items", COLD: "Cold items", MORE: "More than on others"}
VERDICTS = ("holds", "does not hold", "cannot be said")


def claim_grids(claim: Claim | None, metric_name: str) -> list[Grid]:
    """Return a table of what is claimed, and one of every group."""
    if claim is None:
        return []
    label = metric(metric_name).label
    short = [
        [Cell(other), *(_short_cell(claim.findings[other, part]) for part in CLAIMED)]
        for other in claim.against
    ]
    long = [
        [Cell(other), Cell(part_label(part)), *_long_cells(claim.findings[other, part])]
        for other in claim.against
        for part in claim.parts
    ]
    head = ("Against", *(HEADS[part] for part in CLAIMED))
    every = ("Against", "Test cases", "Users", "Difference", "95 % interval", "p", "p (Holm)")
    title = f"Claim: {claim.row} is better in {label}"
    return [
        Grid(title, head, short, "lllll", claim_notes(claim, metric_name)),
        Grid("The claim, group by group", (*every, "Claim"), long, "llrrrrrl"),
    ]


def claim_notes(claim: Claim, metric_name: str) -> list[str]:
    """Return what is claimed, what was found in sum, and what the words mean."""
    return [
        f"The suite claims that {claim.row} is better in {metric(metric_name).label} than each of "
        f"{len(claim.against)} rows: on all test cases, on items of the tail, on cold items, and "
        "on these two by more than on the others (head and torso).",
        *(_sum(claim, part) for part in CLAIMED),
        "Holds: better by a one-sided permutation test over users, p < .05 after Holm's "
        "correction, over the rows of the claim for all test cases, and over all groups that are "
        "tested against one row. Does not hold: tested and not shown (the interval says what may "
        "still be there); † it is worse, the whole 95 % interval is below 0. Cannot be said: a "
        f"test needs {FEWEST_CASES} users with such a case and two seeds that both rows have.",
    ]


def _sum(claim: Claim, part: str) -> str:
    counts = Counter(claim.findings[other, part].verdict for other in claim.against)
    told = ", ".join(f"{word} against {counts[word]}" for word in VERDICTS if counts[word])
    return f"{HEADS[part]}: {told}."


def part_label(part: str) -> str:
    """Return how a part of the test cases is called."""
    if part in (ALL, MORE):
        return "all test cases" if part == ALL else "tail and cold beyond head and torso"
    name, _, group = part.partition("/")
    return f"{slice_label(name)}: {group}"


def _short_cell(finding: Finding) -> Cell:
    if isinstance(finding.test, str):
        return Cell(f"{finding.verdict} ({finding.test.partition(';')[0]})")
    _, interval = difference_texts(finding.test)
    told = f"{finding.verdict}: {_signed(finding)} {interval}, p {p_text(finding.test.p_holm)}"
    return Cell(told, mark=_worse(finding.test))


def _long_cells(finding: Finding) -> Sequence[Cell]:
    head = [Cell(f"{finding.num_users:,}"), Cell(_signed(finding))]
    test = finding.test
    if isinstance(test, str):
        return [*head, *[Cell(NONE)] * 3, Cell(f"{finding.verdict}: {test}")]
    _, interval = difference_texts(test)
    texts = [interval, p_text(test.p), p_text(test.p_holm)]
    return [*head, *map(Cell, texts), Cell(finding.verdict, mark=_worse(test))]


def _signed(finding: Finding) -> str:
    return NONE if finding.difference is None else f"{finding.difference:+.4f}"


def _worse(test: Comparison) -> str:
    return test.mark.strip("*")
