"""Rows that a suite makes of heads and encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_llm.bench.checks import check_suite
from recbole_llm.bench.specs import expand
from recbole_llm.bench.suite_file import read_suite
from recbole_llm.errors import RequestError

HEADS = {
    "linear": {"model": "LLMInterestLinear", "settings": {"item_features": "text", "epochs": 3}},
    "LSTM": {
        "model": "LLMInterestLSTM",
        "settings": {"item_features": "text"},
        "settings_on": {"toy": {"hidden_size": 8}},
    },
}
ENCODERS = {
    "raw": {"settings": {"whitening": "none", "epochs": 5}},
    "hashing": {"role": "baseline", "settings": {"text_encoder": "hashing"}},
}
BOTH: dict[str, Any] = {"heads": HEADS, "encoders": ENCODERS, "seeds": [1]}
BY_HAND = {
    "linear, raw": {
        "model": "LLMInterestLinear",
        "settings": {"item_features": "text", "whitening": "none", "epochs": 5},
    },
    "linear, hashing": {
        "model": "LLMInterestLinear",
        "role": "baseline",
        "settings": {"item_features": "text", "text_encoder": "hashing", "epochs": 3},
    },
    "LSTM, raw": {
        "model": "LLMInterestLSTM",
        "settings": {"item_features": "text", "whitening": "none", "epochs": 5},
        "settings_on": {"toy": {"hidden_size": 8}},
    },
    "LSTM, hashing": {
        "model": "LLMInterestLSTM",
        "role": "baseline",
        "settings": {"item_features": "text", "text_encoder": "hashing"},
        "settings_on": {"toy": {"hidden_size": 8}},
    },
}


def problems_of(path: Path) -> list[str]:
    """Return what reading finds wrong."""
    return read_suite(path)[1]


def test_every_head_has_a_row_of_every_encoder_before_the_other_rows(write_suite) -> None:
    """The same runs, under the same names, as when each row is written by hand."""
    own = {"Popularity": {"model": "Popularity", "role": "control"}}
    found = []
    for parts in (BOTH | {"models": own}, {"seeds": [1], "models": BY_HAND | own}):
        path = write_suite(**parts)
        suite, problems = read_suite(path)
        runs, wrong = expand(suite, path)
        assert problems + wrong == []
        found.append(runs)
    assert found[0] == found[1]
    assert [run.label for run in found[0]] == [*BY_HAND, "Popularity"]


def test_an_encoder_is_stronger_than_a_head_on_a_dataset(write_suite) -> None:
    head = {"model": "LLMInterestLinear", "settings_on": {"toy": {"whitening": "pca", "epochs": 9}}}
    suite, _ = read_suite(write_suite(**BOTH | {"heads": {"linear": head}}, models={}))
    assert suite is not None
    found = {run.label: run.settings for run in expand(suite, Path("toy.yaml"))[0]}
    assert found["linear, raw"].items() >= {"whitening": "none", "epochs": 5}.items()
    assert found["linear, hashing"].items() >= {"whitening": "pca", "epochs": 9}.items()


def test_rows_of_heads_are_rows_for_a_claim_and_for_a_row_that_re_ranks(write_suite) -> None:
    models = {"again": {"model": "LLMInterestClassifier", "rerank": "LSTM, raw"}}
    claim = {"row": "LSTM, raw", "against": ["LSTM, hashing"]}
    assert problems_of(write_suite(**BOTH, models=models, claim=claim)) == []
    (problem,) = problems_of(write_suite(**BOTH, models={}, claim=claim | {"row": "LSTM, rew"}))
    assert problem.startswith("claim.row: unknown row of the suite 'LSTM, rew'. Did you mean 'LSTM")


@pytest.mark.parametrize(
    ("parts", "problems"),
    [
        ({"heads": HEADS, "models": {}},
         ["heads: make rows with encoders, of which there are none. Write encoders, or a row in "
          "models."]),
        ({"encoders": ENCODERS},
         ["encoders: make rows with heads, of which there are none. Write heads, or a row in "
          "models."]),
        ({"models": {}}, ["models: must hold a row, or heads and encoders must make rows."]),
        ({**BOTH, "models": {"LSTM, raw": {"model": "BPR"}}},
         ["heads, encoders: two rows would be called 'LSTM, raw'. Change a label."]),
        ({"heads": {"a": HEADS["LSTM"], "a, b": HEADS["LSTM"]},
          "encoders": {"c": {}, "b, c": {}}},
         ["heads, encoders: two rows would be called 'a, b, c'. Change a label."]),
        ({"heads": {"a" * 60: HEADS["LSTM"]}, "encoders": {"b" * 39: {}, "b" * 38: {}}},
         [f"heads, encoders: a row would be called '{'a' * 60}, {'b' * 39}', 101 characters of at "
          "most 100. Shorten a label."]),
        ({**BOTH, "encoders": {**ENCODERS, "E5": {"text_encoder": "intfloat/e5-small-v2"}}},
         ["encoders.E5: unknown key 'text_encoder'. Known: role, settings."]),
        ({**BOTH, "heads": {**HEADS, "RNN": {"settings": {}}}},
         ["heads.RNN.model: is missing. Write it."]),
        ({**BOTH, "heads": {"RNN": {"model": "LLMInterestRNN", "settings_on": {"toi": {}}}}},
         ["heads.RNN.settings_on: unknown dataset of the suite 'toi'. Did you mean 'toy'? Known: "
          "toy."]),
        ({**BOTH, "encoders": {"E5": {"settings": {"data_path": "x"}}}},
         ["encoders.E5.settings: cannot hold data_path (it is of one machine, and changes no "
          "number), received {'data_path': 'x'}."]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(write_suite, parts, problems) -> None:
    assert problems_of(write_suite(**parts)) == problems


def test_a_wrong_setting_is_said_once_where_it_is_written(write_suite, toy_data) -> None:
    encoders = {"raw": {"settings": {"whitening": "zac"}}, "E5": {"settings": {"text_dmi": 2}}}
    heads = {"RNN": {"model": "LLMInterestRNN", "settings_on": {"toy": {"hiden_size": 8}}}}
    with pytest.raises(RequestError) as caught:
        check_suite(
            write_suite(**BOTH | {"encoders": encoders, "heads": heads}), data_path=toy_data
        )
    _, *lines = str(caught.value).splitlines()
    assert [line.partition(" or ")[0] for line in lines] == [
        "  - encoders.raw.settings: whitening: unknown choice 'zac'. Did you mean 'zca'? Known: "
        "none, pca, standard, zca.",
        "  - encoders.E5.settings: unknown setting 'text_dmi'. Did you mean 'text_dim'",
        "  - heads.RNN.settings_on.toy: unknown setting 'hiden_size'. Did you mean 'hidden_size'",
    ]
