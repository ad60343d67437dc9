"""Evaluates ensembles of a suite's runs: each of our rows over its seeds, and all rows together.

uv run python benchmarks/ensembles.py benchmarks/ml-1m.yaml [FOLDER of datasets]

Of each table, the runs whose directories ``recbole-llm bench`` left in saved/bench; writes
results/<suite>/ensembles.json. Weights are equal and nothing is chosen: no part of the data has a
say in an ensemble.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_llm.bench.checks import check_suite
from recbole_llm.bench.plan import Planned, plan
from recbole_llm.bench.runner import run_folder
from recbole_llm.ensemble import evaluate_ensemble
from recbole_llm.errors import in_one_line
from recbole_llm.files import write_json
from recbole_llm.provenance import commit
from recbole_llm.run_dir import WEIGHTS


def combinations(planned: Sequence[Planned]) -> Iterator[tuple[str, list[Planned]]]:
    """Yield a name and its runs: one table's rows of ours over seeds, and all of them."""
    runs = [
        one
        for one in planned
        if one.spec.role == "model"
        and one.state == "present"
        and (run_folder(one.record) / WEIGHTS).exists()
    ]
    for table in dict.fromkeys((one.spec.ruler, one.spec.dataset) for one in runs):
        here = [one for one in runs if (one.spec.ruler, one.spec.dataset) == table]
        labels = list(dict.fromkeys(one.spec.label for one in here))
        rows = {label: [one for one in here if one.spec.label == label] for label in labels}
        yield from ((label, some) for label, some in rows.items() if len(some) > 1)
        if len(rows) > 1:
            yield " + ".join(rows), here


def evaluated(name: str, runs: Sequence[Planned], *, by: str | None) -> dict[str, Any]:
    """Return what an ensemble reaches, its runs, and the commit that evaluates it."""
    found = evaluate_ensemble([run_folder(one.record) for one in runs])
    spec = runs[0].spec
    return {
        "ruler": spec.ruler,
        "dataset": spec.dataset,
        "label": name,
        "runs": [one.spec.path for one in runs],
        **{key: found[key] for key in ("filter_seen", "valid_result", "test_result")},
        "commit": by,
    }


@in_one_line()
def main() -> None:
    """Evaluate all, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("data_path", type=Path, nargs="?", help="folder of datasets")
    asked = parser.parse_args()
    _, specs = check_suite(asked.suite, data_path=asked.data_path)
    root = Path("results") / asked.suite.stem
    planned, _ = plan(specs, root)
    found, by = [], commit()  # before what is written here differs from it
    for name, runs in combinations(planned):
        found.append(evaluated(name, runs, by=by))
        print(f"{runs[0].spec.ruler or ''} {name}, {len(runs)} runs: {found[-1]['test_result']}")
        write_json(root / "ensembles.json", found)


if __name__ == "__main__":
    main()
