"""The table of docs/transfer.md, of made-up records."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SCORES = {
    "clothing, 1 %": [0.03, 0.05],
    "clothing, zero-shot": [0.02],
    "scratch, 1 %": [0.01],
    "clothing, zero-shot, random text": [0.003, 0.005],
    "clothing, zero-shot, shuffled text": [0.006],
    "LastItemTextKNN": [0.015],
}
TABLE = """\
| begins with | zero-shot | 1 % |
|---|---|---|
| clothing | 0.0200 ± – | 0.0400 ± 0.0141 |
| scratch |  | 0.0100 ± – |

Mean ± standard deviation over seeds, of which there are at most 2.
Controls: LastItemTextKNN 0.0150 ± –; clothing, zero-shot, random text 0.0040 ± 0.0014; \
clothing, zero-shot, shuffled text 0.0060 ± –.
"""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return the function that writes the table of the records below a folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    transfer = runpy.run_path(str(BENCHMARKS / "pages.py"))["transfer"]
    monkeypatch.setitem(transfer.__globals__, "ROOT", tmp_path)
    return transfer


def test_shares_are_columns_and_controls_have_their_whole_label(
    made, make_results, page, tmp_path: Path
) -> None:
    results = make_results(tmp_path / "results" / "transfer", num_users=20)
    for label, values in SCORES.items():
        for seed, value in enumerate(values, 2020):
            row = made.lstm._replace(label=label)
            results.add(row, "amazon-beauty", seed, test_result={"ndcg@10": value})
    assert page() == TABLE


def test_without_controls_none_are_told(made, make_results, page, tmp_path: Path) -> None:
    assert page() == "Not measured yet.\n"
    results = make_results(tmp_path / "results" / "transfer", num_users=20)
    results.add(made.lstm._replace(label="scratch, 1 %"), "amazon-beauty", 2020)
    assert page().endswith("at most 1.\n")
