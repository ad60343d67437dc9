"""Vectors a second of every text encoder of a suite, side by side, for the suite's leaderboard.

    uv run python benchmarks/encoder_speed.py --data_path FOLDER [--suite benchmarks/encoders.yaml]

Texts are those of each dataset's items, at most 500 of them, drawn at random. Rows of equal
encoders, such as those of several treatments, share a measurement. All encoders are loaded and
warm, rounds alternate them on one core, and the median counts; a fit of ``tfidf`` is part of its
time. Seconds are the processor's for this process, which other work on the machine hardly moves.
Writes results/SUITE/encoders.json, which ``recbole-llm leaderboard results/SUITE`` shows.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_llm.bench.checks import check_suite
from recbole_llm.bench.sources import data_folder
from recbole_llm.bench.specs import RunSpec
from recbole_llm.bench.speeds import NAME, SPEEDS
from recbole_llm.config import LLMConfig
from recbole_llm.data.encoders import text_encoder
from recbole_llm.encode_command import item_file
from recbole_llm.errors import in_one_line
from recbole_llm.files import write_json
from recbole_llm.settings import WORD_COUNTS, Settings
from sections.process import provenance

ROOT = Path(__file__).parents[1]
MOST = 500  # texts of a dataset
WARM = 64
Encode = Callable[[], Any]


def config_of(run: RunSpec, data_path: Path) -> LLMConfig:
    """Return the settings of a run."""
    folder = data_folder(run.dataset, data_path)
    place = {} if folder is None else {"data_path": folder}
    return LLMConfig(run.model, run.dataset, None, {**run.settings, **place, "use_gpu": False})


def texts_of(config: LLMConfig) -> list[str]:
    """Return distinct texts of a dataset's items, in an order that chance chose."""
    blocks = item_file(config, Settings.from_config(config)).texts()
    distinct = sorted({text for block in blocks for text in block})
    return random.Random(0).sample(distinct, min(MOST, len(distinct)))


def contestants(
    configs: Mapping[str, LLMConfig], texts: Sequence[str]
) -> tuple[dict[str, Encode], dict[str, str]]:
    """Return what encodes the texts, by the encoder's fingerprint, and each row's fingerprint."""
    encoders: dict[str, Encode] = {}
    rows = {}
    for label, config in configs.items():
        settings, device = Settings.from_config(config), str(config["device"])
        encoder = text_encoder(settings, texts, device=device)
        rows[label] = json.dumps(encoder.fingerprint(), sort_keys=True)
        if rows[label] in encoders:
            continue
        if settings.text_encoder in WORD_COUNTS:  # which is fitted anew each time
            encoders[rows[label]] = lambda own=settings, on=device: text_encoder(
                own, texts, device=on
            ).encode(texts)
        else:
            encoder.encode(texts[:WARM])
            encoders[rows[label]] = lambda one=encoder: one.encode(texts)
    return encoders, rows


def measure(encoders: Mapping[str, Encode], *, rounds: int) -> dict[str, float]:
    """Return the median seconds of processor time of each, measured in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encode in encoders.items():
            begin = time.process_time()
            encode()
            seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(own) for name, own in seconds.items()}


@in_one_line()
def main() -> None:
    """Measure each dataset's encoders, print them, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, default=ROOT / "benchmarks" / "encoders.yaml")
    parser.add_argument("--data_path", type=Path, default=Path("dataset"))
    parser.add_argument("--results", type=Path, help="results/SUITE by default")
    parser.add_argument("--rounds", type=int, default=3)
    request = parser.parse_args()
    torch.set_num_threads(1)
    suite, runs = check_suite(request.suite, data_path=request.data_path)
    found: dict[str, Any] = {}
    for dataset in suite.datasets:
        configs = {
            run.label: config_of(run, request.data_path) for run in runs if run.dataset == dataset
        }
        configs = {
            label: one for label, one in configs.items() if "text" in (one["item_features"] or ())
        }
        texts = texts_of(next(iter(configs.values())))
        encoders, rows = contestants(configs, texts)
        seconds = measure(encoders, rounds=request.rounds)
        speeds = {label: len(texts) / seconds[name] for label, name in rows.items()}
        found[dataset] = {"texts": len(texts), NAME: speeds}
        print(dataset, json.dumps(found[dataset], indent=2), flush=True)
    folder = request.results or ROOT / "results" / request.suite.stem
    write_json(folder / SPEEDS, {**provenance(), "rounds": request.rounds, "datasets": found})


if __name__ == "__main__":
    main()
