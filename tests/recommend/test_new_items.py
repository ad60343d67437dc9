"""Items that a run has never seen, known by their texts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_llm.errors import RequestError, RunDirError
from recbole_llm.recommend.recommender import Recommender
from recbole_llm.run_dir import CONFIG


def test_a_new_item_is_ranked_by_its_text_alone(trained, write_items, caplog, shop) -> None:
    rows = [f"new\t{shop.title('i9')}\tgoods", "other\tw1 w1 w1\tgoods", "i3\tw0\tgoods"]
    file = write_items(rows)
    with caplog.at_level("WARNING"):
        recommender = Recommender.load(trained(), new_items=file)
    assert "1 of 3 items are the run's own" in caplog.text
    found = recommender.for_user("u2", k=shop.num_items + 2, filter_seen=False)
    score = {one.item: one.score for one in found}
    assert len(found) == shop.num_items + 2 and score["new"] == pytest.approx(score["i9"], abs=1e-4)
    assert score["other"] != pytest.approx(score["i9"], abs=1e-4)
    assert next(one.title for one in found if one.item == "new") == shop.title("i9")
    after = recommender.for_history(["new"], k=shop.num_items)
    assert "new" not in [one.item for one in after]
    same = recommender.for_history(["i9"], k=shop.num_items + 2, filter_seen=False)
    expected = {one.item: one.score for one in same}
    assert all(one.score == pytest.approx(expected[one.item], abs=1e-4) for one in after)


def test_a_new_item_of_a_run_with_ids_has_no_id(trained, write_items, shop) -> None:
    file = write_items([f"new\t{shop.title('i9')}\tgoods"])
    recommender = Recommender.load(
        trained("LLMInterestGRU", item_features=["text", "id"], fusion="gate"), new_items=file
    )
    items, known = recommender.model.items, recommender.table[recommender.items.index("i9")]
    with torch.no_grad():
        items.embedding.weight[recommender.items.index("i9")] = 0.0  # i9 as its text alone
    text = f"{shop.title('i9')}, goods"
    vector = recommender.texts.treatment.whiten(recommender.texts.encoder.encode([text]).vectors)
    part = items.features[0].adaptor(vector)
    expected = items.fusion([part, torch.zeros_like(part)])[0]
    assert torch.allclose(recommender.table[-1], expected, atol=1e-6)
    assert not torch.allclose(recommender.table[-1], known, atol=1e-3)


def test_a_control_has_no_vector_for_a_new_text(trained) -> None:
    recommender = Recommender.load(trained("LLMInterestLinear", text_control="random"))
    with pytest.raises(RequestError, match="text_control"):
        recommender.for_texts(["w1"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["i1\tw1\tgoods"], "holds no new item"),
        (["\tw1\tgoods"], "item:2: 1 rows have no item_id"),
        (["[PAD]\tw1\tgoods"], "'.PAD.' is RecBole's padding"),
        (["new\t\t", "other\tw1\t"], "1 new items have no text: 'new'"),
    ],
)
def test_new_items_without_use_are_refused(trained, write_items, rows, words) -> None:
    with pytest.raises(RequestError, match=words):
        Recommender.load(trained(), new_items=write_items(rows))


def test_another_encoder_is_not_the_runs(trained, tmp_path: Path, encoder: Path) -> None:
    from transformers import BertModel

    run_dir = shutil.copytree(trained(), tmp_path / "run")
    other = shutil.copytree(encoder, tmp_path / "encoder")
    model = BertModel.from_pretrained(other)
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight)
    model.save_pretrained(other)
    config = (run_dir / CONFIG).read_text()
    (run_dir / CONFIG).write_text(config.replace(str(encoder), str(other)))
    with pytest.raises(RunDirError, match="another vector here"):
        Recommender.load(run_dir).for_texts(["w1"])


def test_a_modality_is_missing_from_a_new_item(
    trained, write_items, tmp_path_factory, shop
) -> None:
    image = tmp_path_factory.mktemp("image") / "image.npy"
    np.save(image, np.random.default_rng(0).normal(size=(shop.num_items, 3)).astype(np.float32))
    image.with_suffix(".ids").write_text("\n".join(f"i{item}" for item in range(shop.num_items)))
    features = {"item_features": ["image", "text"], "modalities": {"image": str(image)}}
    run_dir = trained("LLMInterestLinear", **features)
    image.unlink()  # the run has what it needs of it
    file = write_items([f"new\t{shop.title('i9')}\tgoods"])
    recommender = Recommender.load(run_dir, new_items=file)
    items = recommender.model.items
    text = recommender.texts.encoder.encode([f"{shop.title('i9')}, goods"]).vectors
    text = items.features[0].adaptor(recommender.texts.treatment.whiten(text))
    expected = text + items.features[1].adaptor(torch.zeros(1, 3))
    assert torch.allclose(recommender.table[-1:], expected, atol=1e-6)
