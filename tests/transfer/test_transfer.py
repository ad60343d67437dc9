"""Weights of one catalogue begin a model of another."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from recbole_llm import fit_partial, load_run, run_recbole
from recbole_llm.build import create_dataset
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RequestError
from recbole_llm.recommend.catalogue import read_catalogue
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.run_dir import CATALOGUE, RESULT, SOURCE, WEIGHTS
from recbole_llm.train.checkpoints import WEIGHT, read_tensors

CHANCE = 1 / 12


def weights_of(run_dir: str | Path) -> dict[str, torch.Tensor]:
    path, cpu = Path(run_dir) / WEIGHTS, torch.device("cpu")
    tensors, _ = read_tensors(path, kind="recbole-llm checkpoint 1", fields={}, device=cpu)
    return {name: t for name, t in tensors.items() if name.startswith(WEIGHT)}


@pytest.mark.slow
def test_a_ring_that_was_never_seen_is_ranked_by_its_texts(run, source: Path) -> None:
    found = run("b", init_from=str(source), epochs=0)
    assert found["test_result"]["hit@1"] == found["best_valid_result"]["hit@1"] == 1.0
    assert (found["epochs"], found["best_epoch"], found["curve"]) == (0, -1, [])
    hits = [
        run("b", init_from=str(source), epochs=0, text_control=control, seed=seed)["test_result"]
        for control in ("shuffled", "random")
        for seed in (1, 2)
    ]
    assert sum(one["hit@1"] for one in hits) / len(hits) < 3 * CHANCE


def test_a_run_begins_with_the_sources_weights_and_says_whose(run, source: Path) -> None:
    found = run("b", init_from=str(source), epochs=0)
    theirs, ours = weights_of(source), weights_of(found["run_dir"])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    digest = read_catalogue(source).weights_sha256
    said = {"model": "LLMInterestLinear", "dataset": "a", "seed": 2020, "weights_sha256": digest}
    assert found["source"] == said
    assert run("b", epochs=1, eval_step=1)["source"] is None


@pytest.mark.parametrize(("theirs", "ours"), [(0.5, 0.0), (0.0, 0.5), (0.5, 0.25)])
def test_popularity_is_that_of_ones_own_catalogue(run, theirs: float, ours: float) -> None:
    begun = run("a", popularity_adjustment=theirs, epochs=1)["run_dir"]
    found = run("b", init_from=begun, popularity_adjustment=ours, epochs=0)
    plain = run("b", popularity_adjustment=ours, epochs=1)
    received, expected = (weights_of(one["run_dir"]) for one in (found, plain))
    assert received.keys() == expected.keys()
    offset = f"{WEIGHT}offset"
    assert (offset in received) == (ours != 0)
    assert ours == 0 or torch.equal(received[offset], expected[offset])


@pytest.mark.parametrize(("theirs", "ours"), [("CE", "BCE"), ("BCE", "CE"), ("BCE", "GBCE")])
def test_the_bias_of_a_loss_stays_behind(run, theirs: str, ours: str) -> None:
    begun = run("a", loss_type=theirs, epochs=1)["run_dir"]
    found = run("b", init_from=begun, loss_type=ours, epochs=0)
    bias = weights_of(found["run_dir"]).get(f"{WEIGHT}loss.bias")
    assert (bias is not None) == ("BCE" in ours)
    assert bias is None or bias.item() == pytest.approx(-math.log(256))  # so many negatives


def test_repeats_are_counted_anew(run, source: Path) -> None:
    learned = run("a", repeat_bias=True, learning_rate=0.1, epochs=1)["run_dir"]
    found = [
        weights_of(run("b", init_from=begun, repeat_bias=True, epochs=0)["run_dir"])
        for begun in (learned, str(source))
    ]
    begin, expected = (one[f"{WEIGHT}repeats.value"] for one in found)
    assert begin == expected != weights_of(learned)[f"{WEIGHT}repeats.value"]


def test_the_worth_of_similar_texts_is_taken_over(run, source: Path) -> None:
    both = {"repeat_bias": True, "similarity_bias": True}
    learned = run("a", **both, learning_rate=0.1, epochs=1)["run_dir"]
    name = f"{WEIGHT}items.similarity.weight"
    number = weights_of(learned)[name]
    found = weights_of(run("b", init_from=learned, **both, epochs=0)["run_dir"])
    assert found[name] == number != 1.0
    with pytest.raises(RequestError, match="similarity_bias: the source has False, received True"):
        run("b", init_from=str(source), **both, epochs=0)


def test_vectors_of_ids_stay_behind_and_begin_anew(run, source: Path) -> None:
    both = run("a", item_features=["text", "id"], epochs=1, eval_step=1)
    plain = run("b", init_from=both["run_dir"], epochs=0)
    theirs, ours = weights_of(both["run_dir"]), weights_of(plain["run_dir"])
    assert theirs.keys() - ours.keys() == {f"{WEIGHT}items.embedding.weight"}
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    anew = run("b", init_from=both["run_dir"], item_features=["text", "id"], epochs=0)
    table = weights_of(anew["run_dir"])[f"{WEIGHT}items.embedding.weight"]
    assert not torch.equal(table, theirs[f"{WEIGHT}items.embedding.weight"])


def test_popularity_stays_behind(run) -> None:
    first = run("a", epochs=1, eval_step=1, popularity_adjustment=0.5)
    second = run("b", init_from=first["run_dir"], epochs=0)
    theirs, ours = weights_of(first["run_dir"]), weights_of(second["run_dir"])
    assert theirs.keys() - ours.keys() == {f"{WEIGHT}offset"}
    third = run("b", init_from=second["run_dir"], epochs=0, popularity_adjustment=0.5)
    assert weights_of(third["run_dir"]).keys() == theirs.keys()


@pytest.mark.slow
@pytest.mark.parametrize("whitening", ["zca", "pca", "none"])
def test_texts_are_whitened_by_the_sources_matrix_about_their_own_mean(run, whitening) -> None:
    first = run("a", whitening=whitening, epochs=1, eval_step=1)
    second = run("b", init_from=first["run_dir"], whitening=whitening, epochs=1, eval_step=1)
    third = run("a", init_from=second["run_dir"], whitening=whitening, epochs=0)
    tables = [load_run(one["run_dir"])[1].item_vectors for one in (first, second, third)]
    torch.testing.assert_close(tables[2].table, tables[0].table)  # by way of another ring
    if whitening == "none":
        assert torch.equal(tables[1].table[1:], tables[1].raw)
    else:
        matrix = read_catalogue(Path(first["run_dir"])).text.matrix
        raw = tables[1].raw.double()
        treated = ((raw - raw.mean(0)) @ matrix.double()).float()
        torch.testing.assert_close(tables[1].table[1:], treated)
    texts = read_catalogue(Path(second["run_dir"])).text  # as new texts are treated too
    assert torch.equal(texts.whiten(tables[1].raw), tables[1].table[1:])


def test_random_text_is_white_by_its_own_statistics(run, source: Path) -> None:
    found = run("b", init_from=str(source), epochs=0, text_control="random")
    table = load_run(found["run_dir"])[1].item_vectors.table[1:].double()
    torch.testing.assert_close(table.mean(0), torch.zeros(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(table.T @ table / 12, torch.eye(2).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_run_needs_its_source_no_more(run, source: Path, tmp_path: Path, epochs: int) -> None:
    lost = shutil.copytree(source, tmp_path / "source")
    found = run("b", init_from=str(lost), epochs=epochs, eval_step=1)
    shutil.rmtree(lost)
    run_dir = Path(found["run_dir"])
    _, model, *_ = load_run(run_dir)
    assert torch.equal(model.items.table(), read_catalogue(run_dir).table)
    (best,) = Recommender.load(run_dir).for_history(["b2", "b3"], k=1)
    assert epochs or best.item == "b4"
    (new,) = Recommender.load(run_dir).for_texts(["wordb2", "wordb3"], k=1)
    assert new.score == pytest.approx(best.score, abs=1e-4)
    (run_dir / RESULT).unlink()  # as of a run that was stopped
    again = run_recbole(resume=run_dir)
    assert again["test_result"] == found["test_result"]


def test_a_run_goes_on_with_no_other_weights(run, source: Path) -> None:
    other = run("a", epochs=1, eval_step=1)["run_dir"]
    found = run("b", init_from=str(source), epochs=0)
    (Path(found["run_dir"]) / RESULT).unlink()
    for run_dir in (other, "nowhere"):
        with pytest.raises(RequestError, match="began with other weights"):
            run_recbole(resume=found["run_dir"], config_dict={"init_from": run_dir})
    run_recbole(resume=found["run_dir"], config_dict={"init_from": str(source)})


def refusal(run, *args, **settings) -> str:
    with pytest.raises(RequestError) as caught:
        run(*args, **settings)
    return str(caught.value)


def test_all_differences_are_said_at_once(run, source: Path) -> None:
    message = refusal(
        run, "b", model="LLMInterestLSTM", init_from=str(source), embedding_size=16,
        hidden_size=16, num_layers=2, whitening="pca", interest_combination="gate",
        adaptor="mlp", text_pooling="max",
    )  # fmt: skip
    assert message.startswith(f"init_from: {source}: 8 problems")
    assert "  - text_encoder: " in message
    assert (
        "model: the source is LLMInterestLinear, this is LLMInterestLSTM. Run LLMInterestLinear."
        in message
    )
    for name in ("embedding_size: the source has 8, received 16", "hidden_size", "num_layers",
                 "whitening: the source has 'zca', received 'pca'", "adaptor"):  # fmt: skip
        assert f"  - {name}" in message


def test_another_encoder_is_refused(run, source: Path) -> None:
    message = refusal(run, "b", init_from=str(source), text_encoder="all-MiniLM-L6-v2")
    assert "text_encoder: 'all-MiniLM-L6-v2', as set here, is not what read" in message


def test_another_commit_of_the_encoder_is_refused_by_name(
    run, rings: Path, tmp_path, monkeypatch
) -> None:
    folder, first, second = tmp_path / "models--somebody--rings", "a" * 40, "b" * 40
    for commit in (first, second):
        shutil.copytree(rings / "encoder", folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (folder / "refs" / "main").write_text(first)
    theirs = run("a", text_encoder="somebody/rings", epochs=1)["run_dir"]
    (folder / "refs" / "main").write_text(second)
    message = refusal(run, "b", init_from=theirs, text_encoder="somebody/rings")
    assert "'somebody/rings', as set here, is not what read the source's texts" in message
    assert f"(commit or digest: the source has '{first}', received '{second}')" in message
    pinned = {"text_encoder": "somebody/rings", "text_revision": first}
    assert run("b", init_from=theirs, epochs=0, **pinned)["text"]["encoder"]["weights"] == first


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("GRU4Rec", {"text_encoder": None}, "init_from: is for LLMInterestLinear, .*GRU4Rec"),
        ("LLMInterestLinear", {"item_features": "id"}, "items must be text.*not .'id'."),
        ("LLMInterestLinear", {"text_encoder": "tfidf"}, "init_from: text_encoder tfidf counts"),
    ],
)
def test_a_model_that_cannot_begin_with_weights_is_refused(
    run, source: Path, model: str, settings: dict, words: str
) -> None:
    given = {key: value for key, value in settings.items() if value is not None}
    with pytest.raises(RequestError, match=words):
        run("b", model=model, init_from=str(source), **given)


def test_a_source_that_others_cannot_begin_with_is_refused(run, tmp_path: Path) -> None:
    begun = {
        "the source's item_features: items must be": run(
            "a", item_features="id", epochs=1, eval_step=1
        ),
        "the source read random text": run("a", text_control="random", epochs=1, eval_step=1),
        "fusion gate has weights for": run(
            "a", item_features=["text", "id"], fusion="gate", epochs=1, eval_step=1
        ),
    }
    for words, result in begun.items():
        assert words in refusal(run, "b", init_from=result["run_dir"], epochs=0)


def test_a_run_that_is_not_finished_or_not_whole_is_refused(
    run, source: Path, tmp_path: Path
) -> None:
    assert "config.json: no such file" in refusal(run, "b", init_from=str(tmp_path))
    assert "nowhere: no such run directory" in refusal(run, "b", init_from="nowhere")
    copy = shutil.copytree(source, tmp_path / "copy")
    facts = json.loads((copy / "config.json").read_text())
    facts["model"] = "GRU4Rec"
    (copy / "config.json").write_text(json.dumps(facts))
    assert "the source's model: is for" in refusal(run, "b", init_from=str(copy))
    shutil.copy(source / "config.json", copy)
    (copy / WEIGHTS).write_bytes(b"other")
    assert "is not what catalogue.safetensors was made of" in refusal(run, "b", init_from=str(copy))
    (copy / CATALOGUE).unlink()
    assert "catalogue.safetensors: no such file" in refusal(run, "b", init_from=str(copy))
    (copy / RESULT).unlink()
    assert "is no finished run" in refusal(run, "b", init_from=str(copy))


def test_an_updated_run_is_no_source(run, source: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.inter"
    new.write_text("user_id:token\titem_id:token\ttimestamp:float\nu0\ta7\t7\n")
    updated = fit_partial(source, new, out=tmp_path / "updated", epochs=1)["run_dir"]
    assert f"init_from: {updated} was updated with" in refusal(run, "b", init_from=updated)


def test_a_lost_copy_of_the_source_is_said(run, source: Path) -> None:
    found = run("b", init_from=str(source), epochs=0)
    (Path(found["run_dir"]) / SOURCE).unlink()
    with pytest.raises(RequestError, match=r"source\.safetensors"):
        load_run(found["run_dir"])


def test_nothing_trains_without_epochs_or_weights(run) -> None:
    assert "epochs: 0 trains nothing" in refusal(run, "b", epochs=0)
    assert "epochs: 0 trains nothing" in refusal(run, "b", model="GRU4Rec", epochs=0)


def test_only_our_command_begins_with_weights(rings: Path, source: Path) -> None:
    own = {"data_path": str(rings / "data"), "init_from": str(source)}
    dataset = create_dataset(
        LLMConfig("LLMInterestLinear", "b", None, {"item_features": "text", **own})
    )
    with pytest.raises(RequestError, match="init_from: RecBole's own run_recbole cannot do it"):
        dataset.item_vectors()
