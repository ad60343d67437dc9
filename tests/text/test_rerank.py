"""A run's lists in the order of a purchase classifier: ranks, what is refused, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_llm import run_recbole
from recbole_llm.bench.results import record_problems
from recbole_llm.cli import main
from recbole_llm.errors import RequestError
from recbole_llm.job import Job
from recbole_llm.job_child import CLASSIFIER, train_and_rerank
from recbole_llm.model.classifier import LLMInterestClassifier
from recbole_llm.ranking_metrics import Ranking, reordered
from recbole_llm.ranks import read_ranks
from recbole_llm.rerank import RerankedRun, write_reranked

TITLES = [
    f"{one} {other}" for one in ("toy", "golden", "four") for other in ("story", "eye", "film")
]
LISTS = {
    "embedding_size": 8, "epochs": 1, "topk": [2, 5], "valid_metric": "NDCG@5",
    "item_features": "id", "metrics": ["NDCG", "Recall", "MRR"],
}  # fmt: skip
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO"}
PURCHASES = {
    "threshold": None, "eval_args": {**LEAVE_ONE_OUT, "mode": "uni1"}, "epochs": 1,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}, "text_max_length": 16,
    "text_dtype": "float32", "enable_amp": False, "classifier_layers": 0,
}  # fmt: skip

OF_A_SUITE = {
    "suite": "s", "label": "a", "role": "model", "spec_id": "0", "command": "c",
    "spec": {"model": "LLMInterestClassifier", "dataset": "shop", "seed": 2020, "settings": {}},
}  # fmt: skip


def test_a_target_among_the_first_stands_where_the_other_scores_put_it() -> None:
    ranking = Ranking(
        above=np.array([2, 0, 5, 1]),
        ties=np.array([0, 0, 1, 3]),
        candidates=np.full(4, 9),
        lists=np.array([[7, 8, 9, 4], [3, 5, 6, 1], [1, 2, 3, 4], [6, 7, 8, 2]]),
    )
    scores = np.array([[0.1, 0.5, 0.3], [0.2, 0.2, 0.9], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    # Targets: 9, third, is second now; 3, first, shares the second place; 9 is in no list and keeps
    # its place; 9 again, equal to items 7 and 8, which are in the list, and to one behind it.
    found = reordered(ranking, scores, targets=np.array([9, 3, 9, 9]))
    assert found.above.tolist() == [1, 1, 5, 3]
    assert found.ties.tolist() == [0, 1, 1, 1]
    assert found.lists.tolist() == [[8, 9, 7, 4], [6, 3, 5, 1], [3, 2, 1, 4], [6, 8, 7, 2]]


@pytest.fixture(scope="module")
def train(tiny_bert, tmp_path_factory):
    """Return a function that trains a small model, once, and returns its directory."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop").mkdir()
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    rows += [
        f"u{user}\ti{(user * user + step * (1 + user % 2)) % 9}\t{1 + step % 5}\t{step * 1.0}"
        for user in range(30)
        for step in range(6)
    ]
    rows += [f"u30\ti{8 - step}\t3\t{step * 1.0}" for step in range(5)]
    rows.append(rows[-1])  # a case of the test is an event of the validation once more
    (folder / "shop" / "shop.inter").write_text("\n".join(rows) + "\n")
    rows = ["item_id:token\ttitle:token_seq", *(f"i{k}\t{title}" for k, title in enumerate(TITLES))]
    rows.append("alone\tnobody met it")
    (folder / "shop" / "shop.item").write_text("\n".join(rows) + "\n")
    done: dict[str, Path] = {}

    def run(model: str, **settings: Any) -> Path:
        key = repr((model, settings))
        if key not in done:
            own = LISTS if model == "LLMInterestLinear" else PURCHASES
            own = own | {"data_path": str(folder), "show_progress": False}
            own |= {"text_encoder": str(tiny_bert), "run_dir": str(folder / f"run{len(done)}")}
            done[key] = Path(run_recbole(model, "shop", config_dict=own | settings)["run_dir"])
        return done[key]

    return run


def stored(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "result.json").read_text())


def test_the_order_of_the_lists_themselves_changes_no_metric(train, monkeypatch) -> None:
    lists = train("LLMInterestLinear")
    monkeypatch.setattr(
        RerankedRun, "_logits", lambda self, cases, lists: -np.indices(lists.shape)[1].astype(float)
    )
    pair = RerankedRun.load(lists, by=train("LLMInterestClassifier"), top=4)
    assert pair.metrics(pair.ranking(pair.test), pair.test) == stored(lists)["test_result"]
    assert pair.metrics(pair.ranking(pair.valid), pair.valid) == stored(lists)["best_valid_result"]


def test_a_perfect_classifier_puts_each_target_of_a_list_first(
    train, monkeypatch, tmp_path
) -> None:
    lists, classifier = train("LLMInterestLinear"), train("LLMInterestClassifier")
    pair = RerankedRun.load(lists, by=classifier, top=4)
    wanted = pair.items[pair.test.dataset.inter_feat["item_id"]].tolist()
    of_history = {
        (tuple(pair.items[case[case > 0]].tolist())): target
        for case, target in zip(pair.test.dataset[:]["item_id_list"], wanted, strict=True)
    }
    seen = []

    def forward(self, batch):
        rows = zip(batch["item_id_list"].tolist(), batch["item_length"].tolist(), strict=True)
        targets = [of_history.get(tuple(row[:length])) for row, length in rows]
        seen.extend(targets)
        return (batch["item_id"] == batch["item_id"].new_tensor([t or -1 for t in targets])).float()

    monkeypatch.setattr(LLMInterestClassifier, "forward", forward)
    write_reranked(lists, by=classifier, top=4, out=tmp_path)
    assert seen.count(None) == 4 * 31  # the validation's; of the test all histories are the cases'
    before, after = read_ranks(lists), read_ranks(tmp_path)
    is_in = before.above < 4
    assert 5 < is_in.sum() < 30
    assert (after.above[is_in] == 0).all()
    assert (after.above[~is_in] == before.above[~is_in]).all()
    found, base = stored(tmp_path), stored(lists)
    assert found["test_result"]["ndcg@5"] > base["test_result"]["ndcg@5"]
    assert found["test_result"]["recall@5"] == base["test_result"]["recall@5"]
    assert found["protocol"] == base["protocol"] and found["model"] == "LLMInterestClassifier"
    assert (
        found["slices"].keys() == base["slices"].keys()
        and found["lists"].keys() == base["lists"].keys()
    )


def test_the_command(train, capsys) -> None:
    lists, classifier = train("LLMInterestLinear"), train("LLMInterestClassifier")
    capsys.readouterr()
    assert main(["rerank", str(lists), f"--by={classifier}", "--top=3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["before"]["test_result"] == stored(lists)["test_result"]
    assert found["test_result"].keys() == stored(lists)["test_result"].keys()
    assert found["top"] == 3 and found["dataset"] == "shop"
    assert main(["rerank", str(lists), "--top=1"]) == 2
    error = capsys.readouterr().err
    assert "--top: must be a number of items from 2 on" in error and "--by: is missing" in error
    assert main(["rerank", str(lists), f"--by={lists}"]) == 2
    assert "LLMInterestLinear, which is no classifier" in capsys.readouterr().err
    assert main(["rerank", str(lists), f"--by={classifier}", "--top=10"]) == 2
    assert "at most 9 items" in capsys.readouterr().err


def test_a_job_trains_a_classifier_and_re_ranks(train, tmp_path) -> None:
    lists, classifier = train("LLMInterestLinear"), train("LLMInterestClassifier")
    settings = stored(classifier)["settings"]
    keys = {*PURCHASES, "text_encoder"}
    job = Job(
        model="LLMInterestClassifier", dataset="shop", seed=settings["seed"],
        settings={key: settings.get(key) for key in keys}, run_dir=str(tmp_path / "run"),
        data_path=settings["data_path"], folder=str(tmp_path), is_fresh=False, top=3,
    )  # fmt: skip
    with pytest.raises(RequestError, match="holds no finished run on this machine"):
        train_and_rerank(job, tmp_path)
    train_and_rerank(job, lists)
    pair = RerankedRun.load(lists, by=tmp_path / "run" / CLASSIFIER, top=3)
    found = stored(tmp_path / "run")
    assert found["test_result"] == pair.metrics(pair.ranking(pair.test), pair.test)
    assert found["reranked"]["model"] == "LLMInterestLinear"
    assert record_problems(found | OF_A_SUITE) == []


def test_a_classifier_that_may_know_the_test_is_refused(train) -> None:
    lists = train("LLMInterestLinear")
    shares = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "uni1"}
    other = train("LLMInterestClassifier", eval_args=shares, user_inter_num_interval="[2,inf)")
    with pytest.raises(RequestError) as refusal:
        RerankedRun.load(lists, by=other, top=4)
    assert "must not have learnt from the test" in str(refusal.value)
    assert "user_inter_num_interval: is '[2,inf)', and" in str(refusal.value)


def test_a_catalogue_that_the_classifier_lacks_is_refused(train) -> None:
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]}
    lists = train("LLMInterestLinear", load_col=columns)
    with pytest.raises(RequestError, match=r"lacks 1 items of .*, as .alone.\. Train"):
        RerankedRun.load(lists, by=train("LLMInterestClassifier"), top=4)


def test_the_events_are_compared_whatever_the_settings_say(train) -> None:
    lists = train("LLMInterestLinear")
    shares = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "mode": "uni1"}
    other = train("LLMInterestClassifier", eval_args=shares)
    result = stored(other)
    result["settings"]["eval_args"] = stored(train("LLMInterestClassifier"))["settings"][
        "eval_args"
    ]
    before = (other / "result.json").read_text()
    (other / "result.json").write_text(json.dumps(result))
    try:
        with pytest.raises(RequestError, match=r"has learnt from \d+ of 31 validation cases"):
            RerankedRun.load(lists, by=other, top=4)
    finally:
        (other / "result.json").write_text(before)
