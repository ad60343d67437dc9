"""``benchmarks/encoder_speed.py``: one measurement an encoder, which the leaderboard reads."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

from recbole_llm.bench.speeds import read_speeds

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "encoder_speed.py"
SUITE = """
datasets: {ml-100k: {}}
heads:
  linear: {model: LLMInterestLinear, settings: {item_features: text}}
  LSTM: {model: LLMInterestLSTM, settings: {item_features: text}}
encoders:
  tfidf: {settings: {text_encoder: tfidf}}
  hashing: {settings: {text_encoder: hashing}}
  hashing PCA: {settings: {text_encoder: hashing, whitening: pca}}
  short: {settings: {text_encoder: hashing, text_dim: 64}}
models:
  Popularity: {model: Popularity, role: control}
"""


def test_rows_of_equal_encoders_share_a_measurement(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(SUITE)
    words = [f"--suite={tmp_path / 'toy.yaml'}", f"--results={tmp_path}", "--rounds=1"]
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = read_speeds(tmp_path)["ml-100k"]
    rows = ("tfidf", "hashing", "hashing PCA", "short")
    assert list(found) == [f"{head}, {row}" for head in ("linear", "LSTM") for row in rows]
    assert found["linear, hashing"] == found["LSTM, hashing"] == found["LSTM, hashing PCA"]
    assert len(set(found.values())) == 3 and min(found.values()) > 0
    written = json.loads((tmp_path / "encoders.json").read_text())
    assert written["datasets"]["ml-100k"]["texts"] == 500 and written["machine"]["threads"] == 1
