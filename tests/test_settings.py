"""Strings become values in one place, and every wrong setting is found before data is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_llm.errors import RequestError
from recbole_llm.parsing import load_yaml, parse_value, split_arguments
from recbole_llm.settings import Settings, find_problems

HOSTILE = ['__import__("os").system("touch canary")', "1/0", "sys.exit()", "open('canary','w')"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("learning_rate", "1e-3", 0.001),
        ("epochs", "30", 30),
        ("topk", "[5, 10]", [5, 10]),
        ("item_features", "[text, id]", ["text", "id"]),
        ("eval_args", "{'split': {'LS': 'valid_and_test'}}", {"split": {"LS": "valid_and_test"}}),
        ("shuffle", "False", False),
        ("train_neg_sample_args", "None", None),
        ("text_revision", "12345678", "12345678"),
        ("text_revision", "1e10", "1e10"),
        ("text_prompt", "a=b 'c' \"d\" é", "a=b 'c' \"d\" é"),
        ("text_template", "{title} ({year})", "{title} ({year})"),
        ("dataset", "100", "100"),
        ("val_interval", "{not yaml", "{not yaml"),
    ],
)
def test_words_become_values(key: str, text: str, value) -> None:
    received = parse_value(key, text)
    assert received == value and type(received) is type(value)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_string_is_evaluated(tmp_path: Path, text: str) -> None:
    assert parse_value("learning_rate", text) == text
    path = tmp_path / "a.yaml"
    path.write_text(f"learner: '{text.replace(chr(39), chr(39) * 2)}'\n")
    assert load_yaml(path) == {"learner": text}
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--lr", "0.1"], {"lr": "0.1"}),
        (["--lr=0.1"], {"lr": "0.1"}),
        (["--lr", "-1"], {"lr": "-1"}),
        (["--a=b=c d", "--e", "f g"], {"a": "b=c d", "e": "f g"}),
        (["--eval_args.mode=full"], {"eval_args.mode": "full"}),
        (["--a=1", "--a", "1"], {"a": "1"}),
        (["--a="], {"a": ""}),
        (["--t=é '\"→"], {"t": "é '\"→"}),
    ],
)
def test_arguments(argv, expected) -> None:
    assert split_arguments(argv) == expected


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--a=1", "--a=2"], "--a is given twice, as '1' and '2'"),
        (["--a"], "--a has no value"),
        (["--a", "--b=1"], "--a has no value"),
        (["stray"], "'stray' belongs to no setting"),
        (["stray", "--a"], "2 problems"),
    ],
)
def test_arguments_that_are_refused(argv, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        split_arguments(argv)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 1\n\tb: 2\n", ":2: "),
        (b"a: 1\nb: 2\na: 3\n", ":3: key 'a' is given twice"),
        (b"a:\n  b: 1\n  b: 2\n", ":3: key 'b' is given twice"),
        (b"", ":1: the file is empty"),
        (b"# only a comment\n", ":1: the file is empty"),
        (b"- a\n- b\n", ":1: must be a mapping"),
        (b"\xef\xbb\xbfa: 1\n", ":1: begins with a byte order mark"),
        (b"a: 1\nb: caf\xe9\n", ":2: is not UTF-8"),
        (b"a: [1, 2\n", r"a\.yaml:2"),
        (b"a: !!python/object/apply:os.system ['touch canary']\n", ":1: could not determine"),
    ],
)
def test_yaml_that_is_refused_is_named_by_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=words) as caught:
        load_yaml(path)
    assert "\n" not in str(caught.value)
    assert not Path("canary").exists()


def test_a_yaml_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.yaml: cannot be read"):
        load_yaml(tmp_path / "none.yaml")


def test_yaml_numbers_are_recboles(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1e-3\nb: 2.5\nc: 7\nd: '7'\ne: 2020-01-01\n")
    assert load_yaml(tmp_path / "a.yaml") == {
        "a": 0.001, "b": 2.5, "c": 7, "d": "7", "e": "2020-01-01",
    }  # fmt: skip


def test_the_text_settings_of_a_yaml_file_stay_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("text_revision: 12345678\ndataset: 1e10\nepochs: 3\n")
    received = load_yaml(tmp_path / "a.yaml")
    assert received == {"text_revision": "12345678", "dataset": "1e10", "epochs": 3}


def test_yaml_merges_mappings(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\n")
    assert load_yaml(tmp_path / "a.yaml")["other"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rat": 1.0}, "Did you mean 'learning_rate'"),
        ({"learning_rate": 0}, "learning_rate: must be greater than 0, received 0"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": 1e10}, "learning_rate: must be less than or equal to 10"),
        ({"learning_rate": "0.1"}, "learning_rate: must be a valid number, received '0.1'"),
        ({"train_batch_size": 0}, "train_batch_size"),
        ({"eval_batch_size": -4}, "eval_batch_size"),
        ({"epochs": -1}, "epochs: must be greater than or equal to 0"),
        ({"epochs": 2.5}, "epochs"),
        ({"dropout_prob": 1.0}, "dropout_prob"),
        ({"topk": 0}, "topk"),
        ({"topk": -1}, "topk"),
        ({"topk": [10, 0]}, "topk"),
        ({"topk": "10"}, "topk"),
        ({"topk": []}, "topk"),
        ({"topk": True}, "topk"),
        ({"seed": -1}, "seed"),
        ({"item_features": []}, "item_features"),
        ({"modalities": {"image": 3}}, "modalities: must be a valid string, received 3"),
        ({"modalities": "image.npy"}, "modalities: must be a valid dictionary"),
        ({"adaptor": "mpl"}, "adaptor: unknown choice 'mpl'. Did you mean 'mlp'"),
        ({"adaptor": {"image": "mpl"}}, "adaptor: unknown choice 'mpl'. Did you mean 'mlp'"),
        ({"adaptor_experts": 1}, "adaptor_experts"),
        ({"adaptor_hidden_size": 0}, "adaptor_hidden_size"),
        ({"fusion": "cat"}, "fusion: unknown choice 'cat'. Did you mean 'concat'"),
        ({"whitening": "zac"}, "Did you mean 'zca'"),
        ({"temperature": 0}, "temperature"),
        ({"window_overlap": -1}, "window_overlap"),
        ({"item_noise": -0.1}, "item_noise"),
        ({"augmentation": ["crob"]}, "Did you mean 'crop'"),
        ({"augmentation_rate": 1.0}, "augmentation_rate: must be less than 1"),
        ({"adversarial_weight": float("inf")}, "adversarial_weight"),
        ({"adversarial_epsilon": 0}, "adversarial_epsilon: must be greater than 0"),
        ({"contrastive_views": "same_item"}, "Did you mean 'same_target'"),
        ({"contrastive_temperature": 0.0}, "contrastive_temperature"),
        ({"trust_remote_code": "yes"}, "trust_remote_code"),
    ],
)
def test_a_wrong_setting_is_one_clear_problem(settings, words: str) -> None:
    known = {*Settings.model_fields, *settings} - {"learning_rat"} | {"learning_rate"}
    problems = find_problems(settings, known_keys=known)
    assert any(words in problem for problem in problems), problems


def test_all_problems_come_at_once() -> None:
    settings = {"epochs": -1, "whitening": "x", "colour": 1}
    assert len(find_problems(settings, known_keys={"epochs", "whitening"})) == 3
