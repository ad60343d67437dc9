"""What an item is made of: adaptors and fusion by hand, and tables computed no more than needed."""

from __future__ import annotations

import copy
import json
import pickle
from math import erf, log, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from recbole_llm import load_run, run_recbole
from recbole_llm.errors import RequestError, RunDirError
from recbole_llm.model.adaptors import MixtureOfExperts, ParametricWhitening, build_adaptor
from recbole_llm.model.items import ByteDropout, Fusion, ItemRepresentation, VectorFeature
from recbole_llm.run_dir import RESULT

ADAPTORS = ("linear", "mlp", "whitening", "moe")
FUSIONS = ("sum", "concat", "gate")
MODELS = ("LLMInterestLinear", "LLMInterestLSTM")


def adaptor(kind: str, *, in_size: int = 2, size: int = 2) -> nn.Module:
    return build_adaptor(kind, in_size=in_size, size=size, hidden_size=4, num_experts=3)


def representation(*, fusion: str = "sum", use_id: bool = True) -> ItemRepresentation:
    text = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]])
    feature = VectorFeature(vectors=text, adaptor=adaptor("linear"), dropout=0.5)
    return ItemRepresentation(num_items=3, size=2, features=[feature], use_id=use_id, fusion=fusion)


def fill(module: nn.Module, **values: object) -> None:
    """Set parameters by name."""
    for name, value in values.items():
        parameter = module.get_parameter(name.replace("__", "."))
        parameter.data = torch.tensor(value, dtype=torch.float32).reshape(parameter.shape)


def test_linear_and_mlp_by_hand() -> None:
    linear, mlp = adaptor("linear", size=1), adaptor("mlp", size=1)
    fill(linear, weight=[2, 3], bias=1)
    assert linear(torch.tensor([[1.0, 10.0]])).tolist() == [[33.0]]
    fill(mlp, **{"0__weight": [[1, 0], [0, 1], [0, 0], [0, 0]], "0__bias": [0, 0, 0, 0]})
    fill(mlp, **{"2__weight": [5, 7, 1, 1], "2__bias": 2})
    gelu = 0.5 * (1 + erf(1 / sqrt(2)))  # of 1
    received = mlp(torch.tensor([[1.0, 0.0]])).item()
    assert received == pytest.approx(5 * gelu + 2)


def test_dropout_by_bytes_zeroes_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = ByteDropout(0.2)(torch.ones(20_001, 8))
    share = 51 / 256
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
    of_byte = (dropped == 0).float().mean(0)  # each byte of a word, its sign included
    assert of_byte.tolist() == pytest.approx([share] * 8, abs=0.012)  # four deviations
    assert (ByteDropout(0.2).eval()(torch.ones(3)) == 1).all()
    assert (ByteDropout(0.001)(torch.ones(9)) == 1).all()  # less than half of 1/256
    assert not ByteDropout(1.0)(torch.ones(3)).any()
    source = torch.ones(5, requires_grad=True)
    ByteDropout(0.5)(source).sum().backward()
    assert set(source.grad.tolist()) <= {0.0, 2.0}


def test_parametric_whitening_by_hand() -> None:
    layer = ParametricWhitening(in_size=2, size=1)
    assert not layer.shift.any()
    fill(layer, shift=[1, 2], map__weight=[10, 1])
    assert layer(torch.tensor([[3.0, 5.0]])).item() == 10 * (3 - 1) + (5 - 2)


def test_experts_are_mixed_by_their_gate() -> None:
    layer = MixtureOfExperts(in_size=1, size=1, num_experts=2)
    fill(layer, experts__0__map__weight=1, experts__1__map__weight=3, gate=[log(3), 0])
    one = torch.ones(1, 1)
    assert layer.eval()(one).item() == pytest.approx(3 / 4 * 1 + 1 / 4 * 3)
    torch.manual_seed(0)
    noise = torch.randn(1, 2) * (log(2) + 0.01)  # softplus(0) = log 2
    shares = (torch.tensor([[log(3), 0.0]]) + noise).softmax(-1)
    torch.manual_seed(0)
    expected = shares @ torch.tensor([[1.0], [3.0]])
    assert layer.train()(one).item() == pytest.approx(expected.item())


def test_fusions_by_hand() -> None:
    parts = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 6.0]])]
    made = {kind: Fusion(kind=kind, size=2, num_features=2) for kind in FUSIONS}
    assert made["sum"](parts).tolist() == [[4.0, 8.0]]
    fill(made["concat"], map__weight=[[1, 10, 100, 1000], [0, 0, 0, 1]], map__bias=[0, 5])
    assert made["concat"](parts).tolist() == [[6321.0, 11.0]]
    fill(made["gate"], map__weight=[0] * 16, map__bias=[log(3), 0, 0, 0])  # 3 : 1 and 1 : 1
    received = made["gate"](parts).flatten().tolist()
    assert received == pytest.approx([3 / 4 * 1 + 1 / 4 * 3, (2 + 6) / 2])


def test_text_and_id_are_summed_and_drawn_as_ever() -> None:
    torch.manual_seed(0)
    items = representation().eval()
    torch.manual_seed(0)
    projection, embedding = nn.Linear(2, 2), nn.Embedding(3, 2, padding_idx=0)
    nn.init.normal_(embedding.weight, std=2**-0.5)
    expected = projection(items.features[0].vectors) + embedding.weight
    assert torch.equal(items.table()[1:], expected[1:])
    assert not items.table()[0].any()


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", ADAPTORS)
def test_gradients_reach_every_parameter_in_mixed_precision_too(kind, fusion, ring) -> None:
    world = ring("LLMInterestLinear", item_features=["text", "id"], adaptor=kind, fusion=fusion)
    for is_mixed in (False, True):
        world.model.zero_grad()
        with torch.autocast("cpu", enabled=is_mixed):
            world.model.calculate_loss(next(iter(world.train))).backward()
        items = world.model.items
        missing = [n for n, p in items.named_parameters() if p.grad is None or not p.grad.any()]
        assert missing == []
        assert all(p.grad.isfinite().all() for p in items.parameters())


def hits(world) -> float:
    """Return the share of test cases of known items whose target is ranked first."""
    dataset = world.test.dataset
    cases = dataset[np.arange(len(dataset))]
    is_new = torch.tensor([t in ("i10", "i11") for t in dataset.field2id_token["item_id"]])
    world.model.eval()
    scores = world.model.full_sort_predict(cases)
    scores[:, is_new] = -torch.inf
    scores[:, 0] = -torch.inf
    known = ~is_new[cases["item_id"]]
    return float((scores.argmax(1) == cases["item_id"])[known].float().mean())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ADAPTORS[1:])
def test_learns_the_ring_by_each_adaptor(name, kind, ring) -> None:
    world = ring(name, adaptor=kind, epochs=40)
    world.fit()
    assert hits(world) == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fusion", FUSIONS[1:])
def test_learns_the_ring_by_each_fusion(name, fusion, ring) -> None:
    world = ring(name, fusion=fusion, item_features=["text", "id"], epochs=40)
    world.fit()
    assert hits(world) > 0.95


def write_circle(folder: Path, count: int = 12) -> Path:
    """Write places on a circle, out of order, as the images of i0 to i11, two of them far off."""
    order = [(5 * k) % count for k in range(count)]
    angles = 2 * np.pi * np.array([k if k < 10 else k + 0.5 for k in order]) / 10
    np.save(folder / "image.npy", np.stack([np.cos(angles), np.sin(angles)], 1))
    (folder / "image.ids").write_text("".join(f"i{k}\n" for k in order))
    return folder / "image.npy"


@pytest.mark.parametrize("name", MODELS)
def test_learns_the_ring_by_a_modality(name, ring, tmp_path) -> None:
    files = {"image": str(write_circle(tmp_path))}
    world = ring(name, item_features="image", modalities=files, whitening="none", epochs=40)
    assert world.model.item_vectors is None
    world.fit()
    assert hits(world) == 1


def test_each_feature_has_an_adaptor_of_its_own(ring, tmp_path) -> None:
    settings = {"modalities": {"image": str(write_circle(tmp_path))}, "adaptor_hidden_size": 5}
    world = ring(
        "LLMInterestLinear",
        item_features=["id", "image", "text"],
        adaptor={"image": "mlp"},
        **settings,
    )
    text, image = world.model.items.features
    assert isinstance(text.adaptor, nn.Linear) and isinstance(image.adaptor, nn.Sequential)
    assert image.adaptor[0].out_features == 5
    both = ring("LLMInterestLinear", adaptor="moe", adaptor_experts=2)
    assert len(both.model.items.features[0].adaptor.experts) == 2
    default = ring("LLMInterestLinear", adaptor="mlp")
    assert default.model.items.features[0].adaptor[0].out_features == 2 * 16


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets a word for each computation of a table: whether it trains."""
    calls: list[bool] = []
    fused = ItemRepresentation._fused

    def spy(self: ItemRepresentation, parts: list[torch.Tensor]) -> torch.Tensor:
        calls.append(self.training)
        return fused(self, parts)

    monkeypatch.setattr(ItemRepresentation, "_fused", spy)
    return calls


@pytest.fixture
def toy(write_dataset) -> dict:
    """Return settings that train a small model on a small dataset, in several batches."""
    events = [(f"u{user}", f"i{(user + k) % 9}", float(k)) for user in range(12) for k in range(7)]
    return {
        "data_path": str(write_dataset(events, {f"i{k}": f"title {k}" for k in range(9)})),
        "embedding_size": 8, "hidden_size": 8, "epochs": 3, "train_batch_size": 4,
        "eval_batch_size": 9, "show_progress": False, "topk": [3], "valid_metric": "NDCG@3",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["full", "uni5"])
def test_a_run_computes_its_table_once_a_step_and_once_an_evaluation(toy, count, mode) -> None:
    settings = {"eval_args": {"mode": mode}, "item_features": "id", "epochs": 3}
    run_recbole("LLMInterestLSTM", "toy", config_dict=toy | settings)
    assert count.count(True) == 3 * 3  # 12 windows, 4 a batch, 3 epochs
    assert count.count(False) == 3 + 1  # validations and the test, of two batches or more each


def changed(items: ItemRepresentation, how: str) -> None:
    if how == "mode":
        items.eval()
    elif how == "loading":
        items.load_state_dict({name: value + 1 for name, value in items.state_dict().items()})
    elif how == "assigning":
        state = {name: value + 1 for name, value in items.state_dict().items()}
        items.load_state_dict(state, assign=True)
    elif how == "moving":
        items.half().float()
    elif how == "vectors":
        items.features[0].vectors.add_(1)


@pytest.mark.parametrize("how", ["mode", "loading", "assigning", "moving", "vectors"])
@torch.no_grad()
def test_a_kept_table_is_computed_anew_after_a_change(how, count) -> None:
    items = representation().eval()
    assert items.table() is items.table() and len(count) == 1
    changed(items, how)
    assert torch.equal(items.table(), ItemRepresentation.compute(items))
    assert len(count) == 3


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {}])
@pytest.mark.parametrize("trains", [True, False])
def test_a_step_of_the_optimizer_is_a_change(options, trains, count) -> None:
    items = representation().eval()
    optimizer = torch.optim.Adam(items.parameters(), lr=0.1, **options)
    with torch.no_grad():
        before = items.table()
    items.train(trains)
    items.table().sum().backward()
    optimizer.step()
    items.eval()
    with torch.no_grad():
        assert not torch.equal(items.table(), before)


def test_a_table_with_gradients_or_dropout_is_never_kept(count) -> None:
    items = representation()
    assert not torch.equal(items.table(), items.table())
    with torch.no_grad():
        assert items.table() is not items.table()
    items.eval()
    assert items.table() is not items.table()
    assert len(count) == 6


def test_nothing_that_is_kept_is_in_a_state_or_a_copy() -> None:
    items = representation().eval()
    names = set(items.state_dict())
    with torch.no_grad():
        table = items.table()
        copies = [copy.deepcopy(items), pickle.loads(pickle.dumps(items))]
    assert set(items.state_dict()) == names
    assert names == {"features.0.adaptor.weight", "features.0.adaptor.bias", "embedding.weight"}
    for made in copies:
        assert made._kept is None and torch.equal(made.table(), table)


def test_a_run_with_a_modality_loads_again_from_anywhere(toy, tmp_path, monkeypatch) -> None:
    file = write_circle(tmp_path)
    settings = {"item_features": ["id", "image"], "modalities": {"image": file.name}, "epochs": 2}
    run = run_recbole("LLMInterestLSTM", "toy", config_dict=toy | settings)
    stored = json.loads((Path(run["run_dir"]) / RESULT).read_text())
    about = stored["modalities"]["image"]
    assert (about["items"], about["missing"], about["unused"]) == (9, 0, 3)
    assert stored["text"] is None and len(about["sha256"]) == 64
    monkeypatch.chdir(tmp_path.parent)
    _, model, *_ = load_run(run["run_dir"])
    assert model.items.features[0].vectors.shape == (10, 2)
    np.save(file, np.load(file)[::-1])
    with pytest.raises(RunDirError, match=r"the files of modalities \(image\)"):
        load_run(run["run_dir"])
    file.unlink()
    with pytest.raises(RequestError, match=r"modalities\.image: .*image\.npy is no file"):
        load_run(run["run_dir"])
