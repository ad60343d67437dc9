"""A finished run goes on with new events."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_llm import LLMConfig, Recommender, fit_partial, load_run, run_recbole
from recbole_llm.data.replay import ReplaySampler
from recbole_llm.errors import RequestError, RunDirError
from recbole_llm.recommend.catalogue import Catalogue, read_catalogue
from recbole_llm.recommend.requests import Request
from recbole_llm.recommend.trajectory.atlas import Atlas
from recbole_llm.recommend.update.grown import with_items
from recbole_llm.run_dir import CONFIG, WEIGHTS

NEW_ITEM = "item_id:token\ttitle:token_seq\tkind:token_seq\nj1\tw1 w2 the w3\tgoods\n"


def right(run_dir: Path, ring_world, *, way: int) -> float:
    """Return the share of walks of four items whose next step a run puts first."""
    recommender = Recommender.load(run_dir)
    walks = [ring_world.walk(begin, steps=5, way=way) for begin in range(10)]
    lists = [recommender.for_history(walk[:4], k=1, filter_seen=False) for walk in walks]
    return float(np.mean([f[0].item == w[4] for f, w in zip(lists, walks, strict=True)]))


def histories(catalogue: Catalogue) -> dict[str, list[str]]:
    ends = [0, *catalogue.ends.tolist()]
    return {
        user: [catalogue.items[row] for row in catalogue.events[begin:end]]
        for user, begin, end in zip(catalogue.users, ends, ends[1:], strict=False)
    }


def digests(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def bought(shop) -> list[tuple[str, str, float]]:
    """Return what happens next in the shop: two known users and two new ones, some at once."""
    events = [("u3", "i1", 200.0), ("v1", "i2", 150.0), ("u3", "i2", 100.0), ("u5", "i7", 200.0)]
    events += [("v1", "j1", 160.0), ("v2", "i4", 160.0), ("v1", "i3", 160.0), ("u3", "j1", 200.0)]
    assert not {"v1", "v2"} & {f"u{user}" for user in range(shop.num_users)}
    return events


@pytest.fixture
def new_item(tmp_path: Path) -> Path:
    path = tmp_path / "new.item"
    path.write_text(NEW_ITEM)
    return path


@pytest.mark.slow
def test_users_turn_round_and_replay_keeps_what_was_known(
    ring_run, ring_world, write_events, tmp_path
) -> None:
    assert right(ring_run, ring_world, way=1) == 1 and right(ring_run, ring_world, way=-1) < 0.3
    file = write_events(ring_world.turns())
    for name, replay in (("replayed", 1), ("not", 0)):
        fit_partial(ring_run, file, out=tmp_path / name, epochs=25, replay=replay)
        assert right(tmp_path / name, ring_world, way=-1) > 0.9
    kept, lost = (right(tmp_path / name, ring_world, way=1) for name in ("replayed", "not"))
    assert kept == 1 and lost < 0.5


def test_the_old_run_is_untouched_and_the_new_one_is_the_same_each_time(
    ring_run, ring_world, write_events, tmp_path
) -> None:
    before, file = digests(ring_run), write_events(ring_world.turns()[:30])
    weights = {}
    for name, seed in (("a", None), ("b", None), ("c", 7)):
        found = fit_partial(ring_run, file, out=tmp_path / name, epochs=2, seed=seed)
        weights[name] = (tmp_path / name / WEIGHTS).read_bytes()
        counts = [found[f"new_{what}"] for what in ("events", "targets", "users", "items")]
        assert counts == [30, 30, 0, 0] and 30 <= found["replayed_targets"] < 34
    assert weights["a"] == weights["b"] != weights["c"]
    assert digests(ring_run) == before
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"a.log", "config.json", WEIGHTS, "catalogue.safetensors", "update.json"}


def test_of_few_events_there_is_a_warning(
    ring_run, ring_world, write_events, tmp_path, caplog
) -> None:
    fit_partial(ring_run, write_events(ring_world.turns()), out=tmp_path / "many", epochs=1)
    assert "targets are new" not in caplog.text
    fit_partial(ring_run, write_events(ring_world.turns()[:30]), out=tmp_path / "few", epochs=1)
    assert "only 30 targets are new" in caplog.text and "keep the old run" in caplog.text


def test_an_update_begins_with_the_whole_learning_rate(
    ring_run, write_events, ring_world, tmp_path, caplog
) -> None:
    shutil.copytree(ring_run, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / CONFIG).read_text())
    facts["settings"]["warmup_steps"] = 1000
    (tmp_path / "run" / CONFIG).write_text(json.dumps(facts))
    file = write_events(ring_world.turns()[:30])
    for run, name in ((ring_run, "plain"), (tmp_path / "run", "warm")):
        fit_partial(run, file, out=tmp_path / name, epochs=1)
    plain, warm = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("plain", "warm"))
    assert plain == warm and "never reaches" not in caplog.text


def test_accumulated_windows_of_an_update_weigh_as_in_training(
    ring_run, write_events, ring_world, tmp_path, monkeypatch
) -> None:
    shutil.copytree(ring_run, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / CONFIG).read_text())
    facts["settings"] |= {"propensity_weighting": "snips", "gradient_accumulation_steps": 4}
    (tmp_path / "run" / CONFIG).write_text(json.dumps(facts))
    seen: list[torch.Tensor] = []
    weight = ReplaySampler._weight
    monkeypatch.setattr(
        ReplaySampler,
        "_weight",
        lambda self, t: seen.append(self.target_weights) or weight(self, t),
    )
    fit_partial(tmp_path / "run", write_events(ring_world.turns()), out=tmp_path / "out", epochs=1)
    assert seen and all(one is not None and len(one) == 11 for one in seen)


def test_without_a_name_the_new_run_is_beside_the_old(ring_run, ring_world, write_events) -> None:
    found = fit_partial(ring_run, write_events(ring_world.turns()[:6]), epochs=1)
    assert Path(found["run_dir"]).parent == ring_run.parent
    assert json.loads((Path(found["run_dir"]) / "update.json").read_text()) == found


@pytest.fixture
def shop_run(trained) -> Path:
    """Return a run on texts and ids, of averaged weights; its data lies beside it."""
    run_dir: Path = trained(item_features=["text", "id"], ema_decay=0.5, keep_data=True)
    return run_dir


def test_the_catalogue_is_what_a_run_on_all_of_it_keeps(
    shop_run, shop, write_events, new_item, tmp_path
) -> None:
    file = write_events(bought(shop))
    found = fit_partial(shop_run, file, items=new_item, out=tmp_path / "new", epochs=1)
    counts = [found[f"new_{what}"] for what in ("events", "targets", "users", "items")]
    assert counts == [8, 6, 2, 1]  # the first events of new users are no targets

    shutil.copytree(shop_run.parent / "data", tmp_path / "data")
    for name, content in (("shop.inter", file), ("shop.item", new_item)):
        with (tmp_path / "data" / name).open("a") as data:
            data.write(content.read_text().partition("\n")[2])
    settings = json.loads((shop_run / "config.json").read_text())["settings"]
    own = {"data_path": str(tmp_path / "data"), "run_dir": str(tmp_path / "whole"), "epochs": 1}
    run_recbole("LLMInterestLSTM", "shop", config_dict=settings | own)
    here, whole = read_catalogue(tmp_path / "new"), read_catalogue(tmp_path / "whole")
    assert histories(here) == histories(whole) and here.users == whole.users
    assert torch.equal(here.lasts, whole.lasts)
    assert about_items(here) == about_items(whole)
    assert here.digests == whole.digests


def test_new_items_need_no_setting_to_be_written(shop_run, new_item) -> None:
    config = LLMConfig("LLMInterestLSTM", "shop")  # at the default encoder, which no file names
    grown = with_items(read_catalogue(shop_run), new_item, config=config, place="run")
    assert grown.items[-1] == "j1" and grown.genres[-1] == ["goods"]


def about_items(catalogue: Catalogue) -> dict[str, tuple]:
    """Return title, genres and text of each item; two runs may number items otherwise."""
    assert catalogue.text is not None
    parts = (catalogue.titles, catalogue.genres, catalogue.text.texts)
    return dict(zip(catalogue.items, zip(*parts, strict=True), strict=True))


def test_the_new_run_recommends_explains_itself_and_goes_on(
    shop_run, shop, write_events, new_item, tmp_path
) -> None:
    events = write_events(bought(shop))
    fit_partial(shop_run, events, items=new_item, out=tmp_path / "one", epochs=1)
    recommender = Recommender.load(tmp_path / "one")
    left = {one.item for one in recommender.for_user("u3", k=shop.num_items + 1)}
    seen = {*shop.history("u3"), "i1", "i2", "j1"}
    assert not left & seen and len(left) == shop.num_items + 1 - len(seen)
    assert recommender.for_user("v2", k=1) and recommender.start(user="v1").count == 3
    Atlas(recommender).trajectory(Request(user="v1"), name="v1")
    more = write_events([("v2", "j1", 170.0), ("v3", "i9", 171.0)])
    found = fit_partial(tmp_path / "one", more, out=tmp_path / "two", epochs=1, learning_rate=0.1)
    assert [one["learning_rate"] for one in found["updates"]] == [0.002, 0.1]
    assert histories(read_catalogue(tmp_path / "two"))["v2"] == ["i4", "j1"]
    assert Recommender.load(tmp_path / "two").for_user("v3", k=1)
    with pytest.raises(RunDirError, match="was updated with new events"):
        load_run(tmp_path / "two")


def test_scores_are_adjusted_by_popularity_as_it_is_now(
    trained, shop, write_events, new_item, tmp_path
) -> None:
    run_dir = trained(popularity_adjustment=0.5, propensity_weighting="snips")
    fit_partial(run_dir, write_events(bought(shop)), items=new_item, out=tmp_path / "new", epochs=1)
    recommender = Recommender.load(tmp_path / "new")
    walks = histories(read_catalogue(tmp_path / "new")).values()
    targets = Counter(item for walk in walks for item in walk[1:])  # as in training, no first event
    counts = torch.tensor([targets[item] for item in recommender.items])
    torch.testing.assert_close(recommender.model.offset, -0.5 * torch.log1p(counts.float()))


def test_words_counted_over_the_catalogue_take_no_new_items(
    trained, write_events, new_item, tmp_path
) -> None:
    run_dir = trained(text_encoder="tfidf", text_dim=4)
    events = write_events([("u3", "i1", 200.0), ("u3", "i2", 201.0)])
    with pytest.raises(RequestError, match=r"tfidf, is fitted to the run's own texts.*--items"):
        fit_partial(run_dir, events, items=new_item, out=tmp_path / "new", epochs=1)
    fit_partial(run_dir, events, out=tmp_path / "new", epochs=1)
    assert Recommender.load(tmp_path / "new").for_texts(["w1 w2"], k=1)


def test_a_file_of_vectors_must_be_what_it_was(trained, shop, write_events, tmp_path) -> None:
    file = tmp_path / "image.npy"
    np.save(file, np.random.default_rng(0).normal(size=(45, 3)).astype(np.float32))
    file.with_suffix(".ids").write_text("\n".join(f"i{item}" for item in range(45)) + "\n")
    run_dir = trained(item_features=["text", "image"], modalities={"image": str(file)})
    events = write_events([("u3", "i1", 200.0)])
    fit_partial(run_dir, events, out=tmp_path / "one", epochs=1)
    np.save(file, np.zeros((45, 3), dtype=np.float32))
    with pytest.raises(RunDirError, match="other vectors than the file of image holds now"):
        fit_partial(run_dir, events, out=tmp_path / "two", epochs=1)


def test_a_catalogue_without_times_takes_all_events_as_later(
    ring_run, write_events, tmp_path
) -> None:
    from recbole_llm.recommend.update.events import read_new_events, with_events

    old = replace(read_catalogue(ring_run), lasts=torch.zeros(0))
    config = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp",
              "field_separator": "\t", "encoding": None, "val_interval": None,
              "rm_dup_inter": None}  # fmt: skip
    new = read_new_events(write_events([("u1", "i0", -5.0)]), old, config=config)
    grown = with_events(old, new)
    assert histories(grown)["u1"][-1] == "i0" and len(grown.lasts) == 0
