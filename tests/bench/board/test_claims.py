"""Claims on numbers that can be checked by hand, and in tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_llm.bench.claim_grids import claim_grids, claim_notes
from recbole_llm.bench.claims import ALL, COLD, MORE, TAIL, Claim, examine
from recbole_llm.bench.collect import read_boards
from recbole_llm.bench.grids import grids
from recbole_llm.bench.scores import popularity_labels
from recbole_llm.bench.stats import Comparison, UserScores, compare_groups, holm
from recbole_llm.bench.tables import csv_text, markdown
from recbole_llm.errors import RequestError

HEAD, SHORT = "item_popularity/head", "history_length/1-4"
CLAIM = {"row": "LLMInterestLSTM", "against": ["GRU4Rec", "Popularity"]}


def scores(*, head: float, tail: float, seeds: int = 2, num_users: int = 40) -> UserScores:
    """Return users of whom every other one has a case of the tail; no two users are alike."""
    is_tail = np.arange(num_users) % 2 == 1
    spread = np.linspace(-0.1, 0.1, num_users // 2).repeat(2)  # alike on both sides
    values = np.where(is_tail, tail, head) + spread
    users = [f"u{user}" for user in range(num_users)]
    table = pd.DataFrame({"ndcg@10": values}, index=users)
    table[HEAD], table[TAIL] = (np.where(own, values, np.nan) for own in (~is_tail, is_tail))
    return {seed: table for seed in range(seeds)}


def claimed(own: UserScores, **others: UserScores) -> Claim:
    return examine("ours", list(others), {"ours": own, **others}, metric="ndcg@10")


def zero(**changes: Any) -> UserScores:
    return {seed: table * 0 for seed, table in scores(head=0, tail=0, **changes).items()}


def test_a_claim_is_judged_part_by_part() -> None:
    claim = claimed(scores(head=0, tail=0.5), other=zero())
    verdicts = {part: claim.findings["other", part].verdict for part in claim.parts}
    assert verdicts == {
        ALL: "holds", TAIL: "holds", COLD: "cannot be said", MORE: "holds",
        HEAD: "does not hold",
    }  # fmt: skip
    differences = [claim.findings["other", part].difference for part in (ALL, TAIL, MORE, HEAD)]
    assert differences == pytest.approx([0.25, 0.5, 0.5, 0.0])
    assert claim.findings["other", TAIL].num_users == 20
    assert claim.findings["other", COLD].difference is None


def test_better_by_as_much_everywhere_is_not_more_on_rare_items() -> None:
    claim = claimed(scores(head=0.5, tail=0.5), other=zero())
    verdicts = [claim.findings["other", part].verdict for part in (ALL, TAIL, HEAD, MORE)]
    assert verdicts == ["holds", "holds", "holds", "does not hold"]


def test_a_worse_row_does_not_hold_and_says_so() -> None:
    claim = claimed(scores(head=-0.5, tail=-0.5), other=zero())
    assert claim.findings["other", ALL].verdict == "does not hold"
    short, long = claim_grids(claim, "ndcg@10")
    assert short.rows[0][1].mark == "†" and long.rows[0][-1].mark == "†"


def test_rows_are_one_family_and_the_groups_of_a_comparison_another() -> None:
    chance = np.random.default_rng(3).normal(0, 0.4, 40)
    own = {seed: table.add(chance, axis=0) for seed, table in scores(head=0, tail=0.2).items()}
    claim = claimed(own, one=zero(), two=scores(head=-0.1, tail=0.1))
    tests = {key: finding.test for key, finding in claim.findings.items()}
    families = [[("one", ALL), ("two", ALL)]]
    families += [[(label, part) for part in (TAIL, MORE, HEAD)] for label in ("one", "two")]
    for family in families:
        members = [tests[key] for key in family]
        assert [one.p_holm for one in members] == holm([one.p for one in members])
        assert any(one.p_holm != one.p for one in members)


def test_few_users_and_one_seed_are_said_instead_of_a_p() -> None:
    few = claimed(scores(head=0, tail=0.5, num_users=38), other=zero(num_users=38))
    tail = few.findings["other", TAIL]
    assert tail.test == "users: 19; a test needs 20"
    assert tail.difference == pytest.approx(0.5)
    assert few.findings["other", MORE].test == "users: 19 and 19; a test needs 20 of each"
    assert few.findings["other", ALL].verdict == "holds"
    one = claimed(scores(head=0, tail=0.5), other=zero(seeds=1))
    assert {finding.test for finding in one.findings.values()} == {
        "seeds with ranks in common: 1; a test needs two"
    }
    none = claimed(scores(head=0, tail=0.5), other={})
    assert {finding.verdict for finding in none.findings.values()} == {"cannot be said"}
    assert none.findings["other", ALL].difference is None
    short, _ = claim_grids(one, "ndcg@10")
    assert short.rows[0][1].text == "cannot be said (seeds with ranks in common: 1)"


def test_users_on_both_sides_are_not_compared_with_themselves() -> None:
    own = {seed: table.assign(**{HEAD: table["ndcg@10"]}) for seed, table in
           scores(head=0, tail=0.5).items()}  # fmt: skip
    other = {seed: table * 0 for seed, table in own.items()}
    finding = claimed(own, other=other).findings["other", MORE]
    assert finding.test == "users with cases on both sides; a test needs others"


def test_groups_are_compared_by_all_their_permutations() -> None:
    found = compare_groups(np.array([3.0, 4.0]), np.array([1.0, 2.0]), num_seeds=2)
    assert (found.difference, found.p) == (2.0, pytest.approx(1 / 6))  # of 6 divisions of four
    assert found.low == 1.0 and found.high == 3.0
    equal = compare_groups(np.ones(5), np.ones(4), num_seeds=2)
    assert (equal.difference, equal.p, equal.mark) == (0.0, 1.0, "")
    worse = compare_groups(np.arange(9.0), np.arange(9.0) + 20, num_seeds=2)
    assert worse.p == 1.0 and worse.mark == "†"


def test_the_detectable_excess_is_that_of_two_samples() -> None:
    one, other = np.array([0.0, 2.0] * 50), np.array([0.0, 4.0] * 25)
    error = np.sqrt(one.var(ddof=1) / 100 + other.var(ddof=1) / 50)
    found = compare_groups(one, other, num_seeds=2)
    assert found.detectable == pytest.approx(2.80158 * error, rel=1e-4)


def test_a_groups_cases_tell_where_it_ends() -> None:
    popularity = np.array([0, 9, 5, 5, 2, 7])
    found = popularity_labels(popularity, {"head": 2, "torso": 2, "tail": 1, "cold": 1})
    assert found.tolist() == ["cold", "head", "torso", "torso", "tail", "head"]
    assert popularity_labels(popularity, {"tail": 5, "cold": 1}).tolist() == ["cold"] + 5 * ["tail"]
    assert popularity_labels(np.zeros(2), {"cold": 2}).tolist() == ["cold", "cold"]


def claimed_results(made: Any, make_results: Any, folder: Any) -> Any:
    """Return three rows of two seeds, and a claim."""
    results = make_results(folder / "quick", num_users=100)
    for one in (made.lstm, made.gru4rec, made.popularity):
        for seed in (2020, 2021):
            results.add(one, "ml-100k", seed)
    results.write_plan(claim=CLAIM)
    return results


def test_tables_say_what_was_claimed_and_found(made, make_results, tmp_path) -> None:
    results = claimed_results(made, make_results, tmp_path)
    boards = read_boards(results.folder)
    (board,) = boards.boards
    short, long = [grid for grid in grids(board) if "laim" in grid.title]
    assert short.title == "Claim: LLMInterestLSTM is better in NDCG@10"
    assert [row[0].text for row in short.rows] == CLAIM["against"]
    assert short.rows[1][1].text.startswith("holds: +")  # Popularity is far behind
    assert len(long.rows) == 2 * (2 + 4 + 5)  # all, more, popularity, history
    assert [line for line in claim_notes(board.claim, "ndcg@10") if line.startswith("All")] == [
        f"All test cases: {sum_of(board.claim, ALL)}."
    ]
    assert "### Claim: LLMInterestLSTM is better in NDCG@10" in markdown(boards)
    rows = [row for row in csv.DictReader(io.StringIO(csv_text(boards))) if row["slice"] == "claim"]
    assert len(rows) == len(long.rows)
    by_part = {(row["label"], row["group"]): row for row in rows}
    test = board.claim.findings["Popularity", TAIL].test
    assert isinstance(test, Comparison)
    line = by_part["Popularity", TAIL]
    assert float(line["p_holm"]) == pytest.approx(test.p_holm)
    assert (line["reference"], line["users"]) == ("LLMInterestLSTM", "25")


def sum_of(claim: Claim, part: str) -> str:
    verdicts = [claim.findings[label, part].verdict for label in claim.against]
    words = ("holds", "does not hold", "cannot be said")
    return ", ".join(f"{word} against {verdicts.count(word)}" for word in words if word in verdicts)


def test_the_groups_differences_are_those_of_the_records_slices(
    made, make_results, tmp_path
) -> None:
    """With a case a user, the mean of paired differences is the difference of the means."""
    results = claimed_results(made, make_results, tmp_path)
    (board,) = read_boards(results.folder).boards
    rows = {row.label: row for row in board.rows}
    for part in (TAIL, COLD, HEAD, SHORT):
        keys = ("slices", *part.split("/"), "metrics", "ndcg@10")
        ours, other = (rows[label].mean(*keys) for label in ("LLMInterestLSTM", "GRU4Rec"))
        difference = board.claim.findings["GRU4Rec", part].difference
        assert difference == pytest.approx(ours - other)


def test_rows_that_a_board_lacks_are_left_out_of_its_claim(made, make_results, tmp_path) -> None:
    results = claimed_results(made, make_results, tmp_path)
    results.add(made.lstm, "ml-1m", 2020)
    results.add(made.popularity, "steam", 2020)
    results.add(made.lstm, "food", 2020)
    results.absent(made.gru4rec, "food", 2020, skip="too slow")
    results.write_plan(claim=CLAIM)
    claims = {board.dataset: board.claim for board in read_boards(results.folder).boards}
    assert claims["ml-1m"] is None and claims["steam"] is None
    assert claims["food"].against == ["GRU4Rec"]
    assert claims["food"].findings["GRU4Rec", ALL].verdict == "cannot be said"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda groups: groups["tail"].update(cases=24), "ranks give cases of item_popularity"),
        (lambda groups: groups["tail"]["metrics"].update({"ndcg@10": 0.9}),
         "give ndcg@10 of item_popularity/tail"),
    ],
)  # fmt: skip
def test_ranks_that_do_not_give_the_slices_are_refused(
    made, make_results, tmp_path, change, words
) -> None:
    results = make_results(tmp_path / "quick", num_users=100)
    path = results.add(made.lstm, "ml-100k", 2020)
    facts = json.loads(path.read_text("utf-8"))
    change(facts["slices"]["item_popularity"])
    path.write_text(json.dumps(facts), "utf-8")
    with pytest.raises(RequestError, match=words):
        read_boards(results.folder)
