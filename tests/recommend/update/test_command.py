"""``recbole-llm update``, as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recbole_llm.cli import main
from recbole_llm.errors import RecBoleLLMError
from recbole_llm.recommend.catalogue import read_catalogue, write_catalogue
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.recommend.update.partial import EPOCHS, fit_partial

HEAD = "user_id:token\titem_id:token\ttimestamp:float\n"


def test_a_run_goes_on_and_recommends(ring_run, ring_world, write_events, capsys, tmp_path) -> None:
    file = write_events(ring_world.turns()[:6])
    words = [f"--run={ring_run}", f"--inter={file}", f"--out={tmp_path / 'new'}"]
    assert main(["update", *words, "--epochs=1", "--replay=0.5", "--seed=3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run_dir"] == str(tmp_path / "new") and told["new_events"] == 6
    assert told["updates"][0]["replay"] == 0.5 and told["updates"][0]["seed"] == 3
    assert main(["recommend", f"--run={tmp_path / 'new'}", "--user=u0", "-k=2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 2


def test_help_and_all_that_is_wrong_with_the_words(capsys) -> None:
    assert main(["update", "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: recbole-llm update") and f"--epochs={EPOCHS}]" in told
    assert main(["update", "--epoch=3", "--replay=much", "a", "b"]) == 2
    told = capsys.readouterr().err
    for words in (
        "Did you mean '--epochs'?",
        "name one run directory, as RUN or --run=RUN; received a b.",
        "--inter: name a file of new events.",
        "--replay: must be a number, received 'much'.",
    ):
        assert words in told
    assert main(["update", "--run=nowhere", "--inter=x.inter"]) == 2
    assert "nowhere: no such run directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("", "holds no event"),
        ("u1\ti0\t9.0\nu1\tx1\t9.0\nu2\tx2\t9.0\nu2\tx1\t9.0\n",
         "2 items are unknown to the run: 'x1', 'x2'. Name an .item file"),
        ("u1\ti0\t6.5\nu1\ti1\t9.0\nw1\ti1\t1.0\nu2\ti1\t0\n",
         "2 events are before the last that the run knows of their user (lines 2, 5)"),
        ("u1\ti0\t7.0\n\ti0\t9.0\n", "line 3 names no user"),
        ("u1\ti0\t\n", ":2: 1 rows have no finite time"),
        ("u1\ti0\tnoon\n", "column 'timestamp' must hold numbers, received 'noon'"),
        ("w1\ti0\t1.0\nw2\ti0\t1.0\n", "every event is the first of its user"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do(ring_run, tmp_path, rows, words) -> None:
    file = tmp_path / "new.inter"
    file.write_text(HEAD + rows)
    before = sorted(path.name for path in ring_run.parent.iterdir())
    with pytest.raises(RecBoleLLMError) as caught:
        fit_partial(ring_run, file)
    assert words in str(caught.value)
    assert sorted(path.name for path in ring_run.parent.iterdir()) == before


def test_a_missing_column_is_named(ring_run, tmp_path) -> None:
    file = tmp_path / "new.inter"
    file.write_text("user_id:token\titem:token\ttimestamp:float\nu1\ti0\t9\n")
    with pytest.raises(RecBoleLLMError, match="unknown column 'item_id'"):
        fit_partial(ring_run, file)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs: .*received 0"),
        ({"learning_rate": -1.0}, "learning_rate: .*received -1.0"),
        ({"train_batch_size": 0}, "train_batch_size: .*received 0"),
        ({"replay": -1}, "replay: must be a number from 0 on, received -1"),
        ({"replay": "x"}, "replay: must be a number from 0 on, received 'x'"),
        ({"replay": True}, "replay: must be a number from 0 on, received True"),
        ({"replay": float("nan")}, "replay: must be a number from 0 on, received nan"),
        ({"items": "new.item"}, "the run reads no text, without which a new item is nothing"),
    ],
)
def test_settings_that_will_not_do(ring_run, write_events, settings, words) -> None:
    with pytest.raises(RecBoleLLMError, match=words):
        fit_partial(ring_run, write_events([("u1", "i0", 9.0)]), **settings)


def test_a_directory_that_holds_something_is_left_alone(ring_run, write_events, tmp_path) -> None:
    file = write_events([("u1", "i0", 9.0)])
    with pytest.raises(RecBoleLLMError, match="holds files already"):
        fit_partial(ring_run, file, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RecBoleLLMError, match="cannot be made"):
        fit_partial(ring_run, file, out=tmp_path / "file")


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("LastItemTextKNN", {}, "LastItemTextKNN does not learn from events in a row"),
        ("LLMInterestClassifier", {"text_tuning": "full"}, "2 problems"),
        ("GRU4Rec", {}, "GRU4Rec does not learn"),
        ("LLMInterestGRU", {"text_tuning": "lora"}, "text_tuning is 'lora'"),
        ("LLMInterestGRU", {"text_control": "shuffled"}, "text_control is 'shuffled'"),
    ],
)
def test_a_run_that_cannot_go_on(ring_run, write_events, tmp_path, model, changes, words) -> None:
    """No such run is trained here: what its ``config.json`` says is enough."""
    config: dict[str, Any] = json.loads((ring_run / "config.json").read_text())
    config |= {"model": model, "settings": config["settings"] | changes}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecBoleLLMError, match="cannot be updated") as caught:
        fit_partial(tmp_path / "run", write_events([("u1", "i0", 9.0)]))
    assert words in str(caught.value)


def test_a_catalogue_that_lacks_what_is_needed(ring_run, trained, write_events, tmp_path) -> None:
    from dataclasses import replace

    def lacking(run_dir: Path, name: str, **changes: Any) -> Path:
        shutil.copytree(run_dir, tmp_path / name)
        write_catalogue(tmp_path / name, replace(read_catalogue(run_dir), **changes))
        return tmp_path / name

    file = write_events([("u1", "i0", 200.0)])
    with pytest.raises(RecBoleLLMError, match="keeps no users, for it read benchmark files"):
        fit_partial(lacking(ring_run, "users", users=[]), file)
    text = read_catalogue(trained()).text
    assert text is not None
    with pytest.raises(RecBoleLLMError, match="of an older version, without texts"):
        fit_partial(lacking(trained(), "texts", text=replace(text, texts=[])), file)
    with pytest.raises(RecBoleLLMError, match="another vector here than it gave the run"):
        other = replace(text, probe_vector=-text.probe_vector)
        fit_partial(lacking(trained(), "probe", text=other), file)


def test_an_update_that_did_not_end_is_to_be_made_again(tmp_path) -> None:
    facts = {"model": "LLMInterestGRU", "dataset": "ring", "settings": {}, "data_sha256": {}}
    (tmp_path / "config.json").write_text(json.dumps(facts | {"updates": [{"run": "old-run"}]}))
    with pytest.raises(RecBoleLLMError, match=r"update .* did not end\. Update old-run again\."):
        Recommender.load(tmp_path)
