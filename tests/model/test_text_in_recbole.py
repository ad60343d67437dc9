"""Text in RecBole's own sequence models: every row of the table in docs/text_in_recbole.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import RequestError
from recbole_llm.model.text_embedding import TextEmbedding
from recbole_llm.run_dir import WEIGHTS

PAGE = Path(__file__).parents[2] / "docs" / "text_in_recbole.md"
ROWS = re.findall(r"^\| (\w+) \| (yes|no|not tried) \|", PAGE.read_text("utf-8"), re.M)
PROJECTION = "weight/item_embedding.projection.weight"


@pytest.fixture
def films(write_dataset) -> dict:
    """Return settings for a small dataset with titles and classes."""
    events = [
        (f"u{user}", f"i{5 * user + step}", float(step)) for user in range(60) for step in range(7)
    ]
    folder = write_dataset(events)
    rows = [f"i{k}\ttitle {k}\tclass {k % 3}" for k in range(310)]
    header = "item_id:token\ttitle:token_seq\tclass:token_seq"
    (folder / "toy" / "toy.item").write_text("\n".join([header, *rows]) + "\n")
    return {
        "data_path": str(folder), "epochs": 1, "MAX_ITEM_LIST_LENGTH": 5, "show_progress": False,
        "text_fields": ["title"],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]},
    }  # fmt: skip


GRAPH = {
    "load_col": {
        "inter": ["user_id", "item_id", "timestamp"], "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"], "ent_feature": ["ent_id", "ent_vec"],
        "rel_feature": ["rel_id", "rel_vec"],
    },
    "additional_feat_suffix": ["ent_feature", "rel_feature"],
    "preload_weight": {"ent_id": "ent_vec", "rel_id": "rel_vec"},
    "alias_of_entity_id": ["ent_id"], "alias_of_relation_id": ["rel_id"],
}  # fmt: skip


def write_graph(folder: Path) -> None:
    """Write a knowledge graph of the films: each is of a genre, by one of two relations."""
    vectors = [" ".join(f"{(k * j) % 7 / 7:.2f}" for j in range(64)) for k in range(310)]
    rows = {
        "link": ["item_id:token\tentity_id:token"] + [f"i{k}\te{k}" for k in range(302)],
        "kg": ["head_id:token\trelation_id:token\ttail_id:token"]
        + [f"e{k}\tr{k % 2}\tg{k % 3}" for k in range(302)],
        "ent_feature": ["ent_id:token\tent_vec:float_seq"]
        + [f"e{k}\t{vectors[k]}" for k in range(302)]
        + [f"g{k}\t{vectors[k + 302]}" for k in range(3)],
        "rel_feature": ["rel_id:token\trel_vec:float_seq"]
        + [f"r{k}\t{vectors[k + 1]}" for k in range(2)],
    }
    for suffix, lines in rows.items():
        (folder / f"toy.{suffix}").write_text("\n".join(lines) + "\n")


def test_the_table_names_every_sequence_model() -> None:
    import recbole.model.sequential_recommender as package

    files = {file.stem for file in Path(package.__file__).parent.glob("[a-z]*.py")}
    assert {name.lower() for name, _ in ROWS} == files


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name, works in ROWS if works == "yes"])
def test_a_model_trains_and_tests_on_text(films, model: str) -> None:
    """No vector is left that is learned of an item's id, and a score changes with its text."""
    if model in ("GRU4RecKG", "KSR"):
        write_graph(Path(films["data_path"]) / "toy")
        films |= GRAPH
    result = run_recbole(model, "toy", config_dict={**films, "item_features": "text"})
    with safe_open(Path(result["run_dir"]) / WEIGHTS, "pt") as file:
        assert PROJECTION in set(file.keys())
        assert not [name for name in file.keys() if name.endswith(".text")]  # noqa: SIM118
    _, trained, dataset, _, _, test_data = load_run(result["run_dir"])
    rows = (dataset.item_num, dataset.item_num + 1)  # the last is a mask
    learned = [
        p.shape
        for name, p in trained.named_parameters()
        if p.dim() == 2 and p.shape[0] in rows and "entity" not in name  # of the graph, not of ids
    ]
    assert all(shape[1] == 1 for shape in learned)  # TransRec's bias
    cases = next(iter(test_data))[0][:1]
    before = scores_of(trained, cases)
    strange = next(item for item in range(1, rows[0]) if item not in cases["item_id_list"])
    texts = [one for one in trained.modules() if isinstance(one, TextEmbedding)]
    for one in texts:  # two tables share their texts
        one.text = one.text.clone()
        one.text[strange] *= -1
    assert scores_of(trained, cases)[strange] != before[strange]


@torch.no_grad()
def scores_of(model, cases) -> torch.Tensor:
    """Return the scores of all items for a case; of a mode set anew tables are made anew."""
    return model.eval().full_sort_predict(cases).view(-1)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name, works in ROWS if works == "no"])
def test_a_model_without_an_item_embedding_says_so(films, model: str) -> None:
    settings = {**films, "item_features": "text"}
    if model in ("DIN", "DIEN"):
        settings["eval_args"] = {"mode": "uni5"}
    with pytest.raises(RequestError, match=f"{model} has no item_embedding"):
        run_recbole(model, "toy", config_dict=settings)


@pytest.mark.slow
def test_a_run_on_text_loads_again_and_ids_stay_untouched(films) -> None:
    run = run_recbole("SASRec", "toy", config_dict={**films, "item_features": "text"})
    _, model, _, _, _, test_data = load_run(run["run_dir"])
    assert isinstance(model.item_embedding, TextEmbedding)
    plain = run_recbole("SASRec", "toy", config_dict=films)
    assert isinstance(load_run(plain["run_dir"])[1].item_embedding, nn.Embedding)
    assert len(test_data.dataset) == 60


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
def test_models_without_sequences_are_refused(films, model: str) -> None:
    with pytest.raises(RequestError, match="item_features: is for sequence models"):
        run_recbole(model, "toy", config_dict={**films, "item_features": "text"})


def embedding(*, rows: int, use_id: bool) -> TextEmbedding:
    text = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return TextEmbedding(embedding=nn.Embedding(rows, 4, padding_idx=0), text=text, use_id=use_id)


def test_rows_are_projected_text_and_ids() -> None:
    text_only, both = embedding(rows=3, use_id=False), embedding(rows=3, use_id=True)
    for made in (text_only, both):
        expected = made.text @ made.projection.weight.T + (made.learned if made is both else 0)
        assert torch.allclose(made.weight, expected)
        assert torch.equal(made(torch.tensor([2, 0])), made.weight[[2, 0]])
        assert not made.weight[0].any()


@pytest.mark.parametrize("use_id", [True, False])
def test_a_row_beyond_the_items_stays_learned(use_id: bool) -> None:
    made = embedding(rows=4, use_id=use_id)
    assert made.weight.shape == (4, 4)
    made(torch.tensor([1, 3])).sum().backward()
    assert made.learned.grad[-1].tolist() == [1.0] * 4
    assert made.projection.weight.grad.any()


def test_rows_are_computed_once_a_step(monkeypatch) -> None:
    made = embedding(rows=3, use_id=True)
    calls = []
    compute = TextEmbedding.compute
    monkeypatch.setattr(TextEmbedding, "compute", lambda self: (calls.append(1), compute(self))[1])
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (
            made(torch.tensor([1])).sum() + made.weight.sum() + made(torch.tensor([2])).sum()
        ).backward()
        optimizer.step()
    assert len(calls) == 2
    with torch.no_grad():
        before = [made.weight, made(torch.tensor([1])), made.weight]
    assert len(calls) == 3 and torch.equal(before[0], before[2])


def test_two_backward_passes_without_a_step_are_fine() -> None:
    made = embedding(rows=3, use_id=True)
    for _ in range(2):
        made.weight.sum().backward()
    assert made.learned.grad[1].tolist() == [2.0] * 4
