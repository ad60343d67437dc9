"""States of population-based training, and what Ray says of a death."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_llm.sweep.failures import death
from recbole_llm.sweep.states import KEPT, States


def test_states_that_no_trial_stands_at_are_removed(tmp_path: Path) -> None:
    states = [tmp_path / "a" / f"checkpoint_{at:06}" for at in range(KEPT + 3)]
    for state in states:
        (state / "file").mkdir(parents=True)
    begun = SimpleNamespace(path=str(tmp_path / "b"), checkpoint=None)
    taken = SimpleNamespace(path=str(tmp_path / "b"), checkpoint=SimpleNamespace(path=states[1]))
    own = SimpleNamespace(path=str(tmp_path / "a"), checkpoint=SimpleNamespace(path=states[-1]))
    trials = [begun, taken, own]
    for trial in trials:
        States().on_trial_result(1, trials, trial, {})
    assert [one for one in states if one.exists()] == [states[1], *states[-KEPT:]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Failure # 1 (occurred at x)\nThe actor died.\n\tclass_name: X\n", "The actor died."),
        (
            "Failure # 1 (occurred at x)\nold\nFailure # 2 (occurred at y)\n"
            "\x1b[36mray::ImplicitFunc.restore()\x1b[39m (pid=1)\n  File x\nValueError: gone\n",
            "ValueError: gone",
        ),
        ("", "out of memory?"),
    ],
)
def test_a_death_is_told_by_the_line_that_says_why(text: str, message: str) -> None:
    assert death(text)["message"] == message
