"""Vectors a second of every backend and precision against ``SentenceTransformer.encode``'s default.

    uv run python benchmarks/encoding.py [--rounds 3]

Short texts are ml-100k's titles with year and genres; long ones are 25 of them joined. All encoders
are loaded and warm, rounds alternate them, ratios are taken round by round, and each vector is
compared by cosine with the default's, which is float32. Writes results/encoding.json.
``--small`` shows in seconds, by few texts and PyTorch alone, that it runs, and writes nothing.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import recbole
import torch
from torch.nn.functional import cosine_similarity

from recbole_llm.atomic import read_atomic
from recbole_llm.files import write_json
from recbole_llm.hardware import cpu_has_bf16
from recbole_llm.text.backends import BACKENDS
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.items import read_item_texts
from recbole_llm.text.models import EncoderSpec, load_model
from sections.process import provenance

RESULT = Path(__file__).parents[1] / "results" / "encoding.json"
ITEMS = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.item"
STOCK = "sentence-transformers float32"
Encode = Callable[[list[str]], torch.Tensor]


def texts() -> dict[str, list[str]]:
    """Return the distinct short texts, and long ones made of them."""
    catalogue = read_atomic(ITEMS, columns=["item_id"]).columns["item_id"]
    template = "{movie_title} ({release_year}), {class}"
    read = read_item_texts(ITEMS, catalogue=catalogue, text_template=template)
    short = list(dict.fromkeys(text for text in read.texts if text))
    draw = random.Random(0)
    return {"short": short, "long": [" ".join(draw.sample(short, 25)) for _ in range(200)]}


def contestants(cache: Path, backends: Iterable[str]) -> dict[str, Encode]:
    """Return every encoder, loaded, by backend and precision; exports go to ``cache``."""
    stock = load_model(EncoderSpec(dtype="float32"), device="cpu")
    found: dict[str, Encode] = {STOCK: lambda chosen: torch.as_tensor(stock.encode(chosen))}
    for name in backends:
        for precision in BACKENDS[name].precisions:
            if precision == "bf16" and not cpu_has_bf16():
                continue
            begin = time.perf_counter()
            encoder = TextEncoder(EncoderSpec(backend=name, dtype=precision), cache=cache)
            found[f"{name} {precision}"] = lambda chosen, one=encoder: one.encode(chosen).vectors
            found[f"{name} {precision}"](["toy story"])
            print(f"{name} {precision}: ready in {time.perf_counter() - begin:.0f}s", flush=True)
    return found


def compare(
    chosen: list[str], encoders: Mapping[str, Encode], *, rounds: int
) -> dict[str, dict[str, Any]]:
    """Measure all encoders in turn on the same texts."""
    for encode in encoders.values():
        encode(chosen[:64])
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    vectors = {}
    for _ in range(rounds):
        for name, encode in encoders.items():
            begin = time.perf_counter()
            vectors[name] = encode(chosen)
            seconds[name].append(time.perf_counter() - begin)
    found = {}
    for name, own in seconds.items():
        cosine = cosine_similarity(vectors[STOCK], vectors[name])
        ratios = [stock / mine for stock, mine in zip(seconds[STOCK], own, strict=True)]
        found[name] = {
            "vectors_per_second": len(chosen) / statistics.median(own),
            "median_ratio": statistics.median(ratios),
            "ratios": ratios,
            "min_cosine": cosine.min().item(),
            "mean_cosine": cosine.mean().item(),
        }
    return found


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line an encoder."""
    return [
        f"  {name:30} {one['vectors_per_second']:8.1f}/s  {one['median_ratio']:5.2f} times  "
        f"cosine {one['mean_cosine']:.5f}, at least {one['min_cosine']:.5f}"
        for name, one in found.items()
    ]


def main() -> None:
    """Run both lengths, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="few texts, to see that it runs")
    request = parser.parse_args()
    backends = ("torch",) if request.small else tuple(BACKENDS)
    step, rounds = (100, 1) if request.small else (1, request.rounds)
    result: dict[str, Any] = provenance()
    with tempfile.TemporaryDirectory() as cache:
        encoders = contestants(Path(cache), backends)
        for name, chosen in texts().items():
            chosen = chosen[::step]
            found = compare(chosen, encoders, rounds=rounds)
            print(f"{name}, {len(chosen)} texts:", *lines(found), sep="\n", flush=True)
            result[name] = {"texts": len(chosen), "encoders": found}
    if not request.small:
        write_json(RESULT, result)


if __name__ == "__main__":
    main()
