"""The script that measures speed: its formulas, its data, and that it runs."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "speed.py"


@pytest.fixture(autouse=True)
def _sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def counted(call: Callable[[], torch.Tensor]) -> int:
    """Return the operations of a call and its backward pass that PyTorch counts."""
    with FlopCounterMode(display=False) as counter:
        call().sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_the_operations_of_a_recurrent_layer_are_those_counted_unfused(
    cell: type, gates: int
) -> None:
    from sections.share import recurrent_flops

    network, inputs = cell(6, 5, batch_first=True), torch.randn(3, 7, 6, requires_grad=True)
    with torch.backends.mkldnn.flags(enabled=False):  # the fused LSTM is not counted
        received = counted(lambda: network(inputs)[0])
    assert received == recurrent_flops(rows=3, length=7, in_size=6, hidden_size=5, gates=gates)


def test_the_operations_of_a_softmax_are_those_counted_of_a_plain_one() -> None:
    from sections.share import softmax_flops

    interest, table = torch.randn(4, 3, requires_grad=True), torch.randn(9, 3, requires_grad=True)
    received = counted(
        lambda: functional.cross_entropy(interest @ table.T, torch.tensor([0, 1, 2, 3]))
    )
    assert received == softmax_flops(positions=4, num_items=9, size=3)


def test_synthetic_data_has_the_sizes_asked_for(tmp_path: Path, monkeypatch) -> None:
    from recbole_llm.atomic import read_atomic
    from sections import synthetic

    monkeypatch.setattr(synthetic, "CHUNK", 7)
    folder = synthetic.write(tmp_path, name="made", events=60, items=20, per_user=6)
    log = read_atomic(folder / "made" / "made.inter")
    assert log.num_rows == 60
    users = log.columns["user_id"]
    assert [users.count(f"u{user}") for user in range(10)] == [6] * 10
    assert set(log.columns["item_id"]) == {f"i{item}" for item in range(20)}
    assert log.columns["timestamp"] == sorted(log.columns["timestamp"])
    assert read_atomic(folder / "made" / "made.item").num_rows == 20


def test_only_the_first_batches_are_trained_and_the_warm_up_is_not_timed(monkeypatch) -> None:
    from sections import contestants

    moments = iter([0.0, 100.0, 200.0, 203.0, 206.0])  # begins of four batches, and the end
    monkeypatch.setattr(contestants.time, "perf_counter", lambda: next(moments))
    first = contestants.FirstBatches(list("abcdefgh"), 4)
    assert list(first) == list("abcd")
    assert first.batch_seconds() == 3.0


def record(score: float, *, epoch: int, seed: int = 1, **settings: object) -> dict:
    from sections.passing import PROTOCOL

    return {
        "model": "GRU4Rec", "seed": seed, "best_epoch": epoch, "settings": settings,
        "best_valid_result": {"ndcg@10": score}, "protocol": PROTOCOL | {"eval_args": {}},
    }  # fmt: skip


def test_the_goal_is_the_best_of_stock_records(tmp_path: Path) -> None:
    from sections.passing import goal_of

    records = [
        record(0.06, epoch=8),
        record(0.07, epoch=19, seed=2),
        record(0.09, epoch=3, training="all_positions"),
        record(0.08, epoch=3, item_features="text"),
        record(0.08, epoch=3) | {"model": "SASRec"},
    ]
    other = record(0.08, epoch=3)
    other["protocol"]["time_precision"] = "recbole"
    for at, one in enumerate([*records, other]):
        (tmp_path / f"{at}.json").write_text(json.dumps(one), encoding="utf-8")
    assert goal_of("GRU4Rec", tmp_path) == {"score": 0.07, "epochs": 20, "seed": 2, "seeds": [1, 2]}
    with pytest.raises(SystemExit, match="no record of stock NARM"):
        goal_of("NARM", tmp_path)


def test_the_seconds_to_a_goal_are_its_epochs_times_those_of_an_epoch() -> None:
    from sections.passing import compare

    stock = {"prepare_seconds": 20.0, "seconds": 60.0, "curve": [[0, 30.0, 0.1], [1, 60.0, 0.2]]}
    ours = {"prepare_seconds": 5.0, "seconds": 10.0, "curve": [[0, 10.0, 0.3]]}
    found = compare({"score": 0.3, "epochs": 20}, [{"stock": stock, "ours": ours}])
    assert found["stock_seconds"] == 600.0
    assert found["median_ratio"] == 60.0
    assert found["median_ratio_with_preparation"] == pytest.approx(620 / 15)
    never = {"stock": stock, "ours": ours | {"seconds": None}}
    assert compare({"score": 0.3, "epochs": 20}, [never])["median_ratio"] is None


def test_a_small_pass_trains_one_epoch_of_one_stock_model(monkeypatch) -> None:
    """An epoch of stock SASRec alone takes minutes."""
    from sections import passing

    asked: list[dict] = []

    def in_child(_: str, task: dict) -> dict:
        asked.append(task)
        return {"prepare_seconds": 1.0, "seconds": 1.0, "curve": [[0, 1.0, 0.1]]}

    monkeypatch.setattr(passing, "in_child", in_child)
    small = argparse.Namespace(small=True, rounds=1, against=["GRU4Rec", "SASRec"])
    before = {"commit": "earlier", "against": {"SASRec": {"goal": {}}}}
    (part, *_) = [*passing.run(small, before)][::-1]
    assert list(part["against"]) == ["SASRec", "GRU4Rec"] and len(asked) == 2
    assert part["against"]["SASRec"]["commit"] == "earlier" != part["against"]["GRU4Rec"]["commit"]
    assert asked[0]["settings"]["epochs"] == 1 and asked[1]["goal"]["score"] == 0.0


@pytest.mark.slow
def test_a_section_writes_its_part_and_keeps_the_others(tmp_path: Path) -> None:
    result = tmp_path / "speed.json"
    result.write_text('{"growth": {"cases": []}}', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, SCRIPT, "share", "softmax", "--small", "--rounds=1", "--result", result],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads(result.read_text(encoding="utf-8"))
    assert set(parts) == {"growth", "share", "softmax"}
    assert 0 < parts["share"]["median"]["share"] < 1.5
    assert parts["share"]["machine"]["threads"] >= 1
    measured = parts["share"]["rounds"][0]["LLMInterestLSTM"]
    assert sum(measured["stage_seconds"].values()) == pytest.approx(measured["step_seconds"])


MEASURE = """
import json, sys
from torch.nn import functional
if {is_old}:
    vars(functional).pop("linear_cross_entropy", None)
sys.path.insert(0, {folder!r})
from sections.softmax import measure
print(json.dumps([measure(task) for task in json.load(sys.stdin)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_old", [False, True], ids=["this PyTorch", "before 2.14"])
def test_memory_of_a_softmax_of_a_million_items_does_not_grow_with_the_positions(is_old) -> None:
    """So that the 12,800 of ``speed.py softmax`` need no more; a byte a score were 64 MiB here."""
    task = {"num_items": 1_000_000, "size": 64, "loss": "ours"}
    tasks = [task | {"positions": positions} for positions in (134, 201)]  # two and three parts
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(is_old=is_old, folder=str(SCRIPT.parent))],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    few, many = json.loads(done.stdout)
    assert abs(many["mib"] - few["mib"]) < 32
    assert many["process_mib"] < 4e9 / 2**20
