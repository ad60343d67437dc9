"""What a suite claims of one of its rows, and what users' scores say to it.

The claim is that the row is better than each of some others on all test cases, better on items of
the tail and on cold ones, and by more on those than on other items. All test cases are the first
question, Holm's correction over the others; the groups of one comparison are a family of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from recbole_llm.bench.stats import (
    Comparison,
    UserScores,
    compare,
    compare_groups,
    paired_differences,
    tested_together,
)
from recbole_llm.slices import FEWEST_CASES

ALL, TAIL, COLD = "", "item_popularity/tail", "item_popularity/cold"
MORE = "more"
CLAIMED = (ALL, TAIL, COLD, MORE)
SIDES = {MORE: ((TAIL, COLD), ("item_popularity/head", "item_popularity/torso"))}


@dataclass(frozen=True)
class Finding:
    """What is found on some of the test cases.

    Attributes:
        num_users: Users that both rows have with such a case.
        difference: Mean over these users of the claim's row minus the other, or, of ``MORE``, how
            much it is beyond that of other users; None where a mean is of nothing.
        test: The test of it, or why there is none.
    """

    num_users: int
    difference: float | None
    test: Comparison | str

    @property
    def verdict(self) -> str:
        """Whether the claim holds here, as far as it can be said."""
        if isinstance(self.test, str):
            return "cannot be said"
        return "holds" if self.test.mark == "*" else "does not hold"


@dataclass(frozen=True)
class Claim:
    """A claim, and what was found.

    Attributes:
        row: The label that is said to be better.
        parts: The parts of the test cases: ``CLAIMED``, then each slice's groups as
            ``slice/group``.
        findings: By the other row's label and part.
    """

    row: str
    parts: Sequence[str]
    findings: Mapping[tuple[str, str], Finding]

    @property
    def against(self) -> list[str]:
        """The labels of the other rows."""
        return list(dict.fromkeys(label for label, _ in self.findings))

    def of(self, label: str) -> dict[str, Finding]:
        """Return what was found against one of the other rows, by part."""
        return {part: one for (other, part), one in self.findings.items() if other == label}


def examine(
    row: str, against: Sequence[str], scores: Mapping[str, UserScores], *, metric: str
) -> Claim:
    """Test a claim.

    Args:
        row: The label that is said to be better.
        against: The labels of the others.
        scores: Users' scores by label and seed, as ``scores_of`` returns them; a label without any
            is one of which nothing can be said.
        metric: The metric.
    """
    own = scores.get(row, {})
    columns = next(iter(own.values()), pd.DataFrame()).columns
    groups = [name for name in columns if "/" in name and name not in CLAIMED]
    parts = [*CLAIMED, *groups]
    found = {
        (label, part): _finding(own, scores.get(label, {}), part, metric=metric)
        for label in against
        for part in parts
    }
    families = [[(label, ALL) for label in against]]
    families += [[(label, part) for part in parts if part != ALL] for label in against]
    for family in families:
        tests = tested_together({key: found[key].test for key in family})
        found |= {key: replace(found[key], test=test) for key, test in tests.items()}
    return Claim(row, parts, found)


def _finding(own: UserScores, other: UserScores, part: str, *, metric: str) -> Finding:
    sides = [_differences(own, other, names) for names in SIDES.get(part, ((part or metric,),))]
    sizes = [len(side) for side in sides]
    num_seeds = len(own.keys() & other.keys())
    test: Comparison | str
    if num_seeds < 2:
        test = f"seeds with ranks in common: {num_seeds}; a test needs two"
    elif min(sizes) < FEWEST_CASES:
        each = " of each" if part == MORE else ""
        test = f"users: {' and '.join(map(str, sizes))}; a test needs {FEWEST_CASES}{each}"
    elif pd.concat(sides).index.has_duplicates:
        test = "users with cases on both sides; a test needs others"
    else:
        values = [side.to_numpy() for side in sides]
        how = compare if len(sides) == 1 else compare_groups
        test = how(*values, num_seeds=num_seeds)
    means = [float(side.mean()) for side in sides if len(side)]
    difference = means[0] - sum(means[1:]) if len(means) == len(sides) else None
    return Finding(sizes[0], difference, test)


def _differences(own: UserScores, other: UserScores, names: Sequence[str]) -> pd.Series:
    """Return the differences of the users with a case in one of some parts, ``(U,)``."""
    seeds = own.keys() & other.keys()
    tables = [scores[seed] for scores in (own, other) for seed in seeds]
    there = [name for name in names if tables and all(name in table for table in tables)]
    found = [paired_differences(own, other, name) for name in there]
    return pd.concat(found) if found else pd.Series(dtype=float)
