"""Vectors a second of our encoder against ``SentenceTransformer.encode`` at its defaults.

    uv run python benchmarks/encoding.py [--rounds 3]

Short texts are ml-100k's titles with year and genres; long ones are 25 of them joined. Both
encoders are loaded and warm, rounds alternate them, and each vector is compared by cosine. Writes
results/encoding.json.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import recbole
import torch
from torch.nn.functional import cosine_similarity

from recbole_llm.atomic import read_atomic
from recbole_llm.files import write_json
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.items import read_item_texts
from recbole_llm.text.models import EncoderSpec, load_model

RESULT = Path(__file__).parents[1] / "results" / "encoding.json"
ITEMS = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.item"


def texts() -> dict[str, list[str]]:
    """Return the distinct short texts, and long ones made of them."""
    catalogue = read_atomic(ITEMS, columns=["item_id"]).columns["item_id"]
    template = "{movie_title} ({release_year}), {class}"
    read = read_item_texts(ITEMS, catalogue=catalogue, text_template=template)
    short = list(dict.fromkeys(text for text in read.texts if text))
    draw = random.Random(0)
    return {"short": short, "long": [" ".join(draw.sample(short, 25)) for _ in range(200)]}


def timed(encode: Callable[[], Any]) -> tuple[float, torch.Tensor]:
    """Return the seconds of a call and its vectors."""
    begin = time.perf_counter()
    vectors = encode()
    return time.perf_counter() - begin, torch.as_tensor(vectors)


def compare(chosen: list[str], *, ours: TextEncoder, theirs: Any, rounds: int) -> dict[str, Any]:
    """Measure both encoders in turn on the same texts."""
    ours.encode(chosen[:64]), theirs.encode(chosen[:64])
    ratios, rates = [], []
    for _ in range(rounds):
        stock_seconds, stock = timed(lambda: theirs.encode(chosen))
        seconds, vectors = timed(lambda: ours.encode(chosen).vectors)
        ratios.append(stock_seconds / seconds)
        rates.append(len(chosen) / seconds)
    cosine = cosine_similarity(stock, vectors)
    return {
        "texts": len(chosen),
        "median_ratio": statistics.median(ratios),
        "ratios": ratios,
        "vectors_per_second": statistics.median(rates),
        "min_cosine": cosine.min().item(),
        "mean_cosine": cosine.mean().item(),
    }


def main() -> None:
    """Run both lengths, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    request = parser.parse_args()
    ours, theirs = TextEncoder(EncoderSpec()), load_model(EncoderSpec(), device="cpu")
    result: dict[str, Any] = {}
    for name, chosen in texts().items():
        result[name] = compare(chosen, ours=ours, theirs=theirs, rounds=request.rounds)
        print(
            f"{name}: {result[name]['median_ratio']:.2f} times as fast, "
            f"{result[name]['vectors_per_second']:.0f} vectors/s, "
            f"cosine at least {result[name]['min_cosine']:.5f}",
            flush=True,
        )
    precision = ours.spec.precision("cpu")
    write_json(RESULT, result | {"precision": precision, "threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()
