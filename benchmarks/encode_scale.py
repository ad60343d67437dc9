"""``encode --shards`` on a million made-up items: memory over time, a kill in the middle, a resume.

    uv run python benchmarks/encode_scale.py [--items 1000000] [--shards 64]

A tiny BERT with random weights is made, the command is killed (SIGKILL) when half of the shards are
there, and started again. Then every text must be there once, and a sample of vectors must be those
that the encoder gives. Writes results/encode_scale.json. ``--small`` shows that it runs,
and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

from recbole_llm.files import write_json
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import find
from sections.process import provenance

RESULT = Path(__file__).parents[1] / "results" / "encode_scale.json"
PROGRAM = "import sys; from recbole_llm.cli import main; sys.exit(main())"
KINDS = ("film", "book", "song", "game")
SAMPLE = 1000


def text(item: int) -> str:
    """Return the text of an item; no two are alike."""
    return f"{KINDS[item % 4]} number {item}" + " and more" * (item % 5)


def make(folder: Path, items: int) -> Path:
    """Write a dataset's items and a tiny BERT, and return the BERT's folder."""
    (folder / "made").mkdir()
    with (folder / "made" / "made.item").open("w", encoding="utf-8") as file:
        file.write("item_id:token\ttitle:token_seq\n")
        file.writelines(f"i{item}\t{text(item)}\n" for item in range(items))
    from transformers import BertConfig, BertModel, BertTokenizerFast

    digits = [f"{mark}{digit}" for mark in ("", "##") for digit in range(10)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *KINDS, "number", "and", "more", *digits]
    BertTokenizerFast(vocab={word: k for k, word in enumerate(words)}).save_pretrained(
        folder / "bert"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "bert")
    return folder / "bert"


def run(command: list[str], shelves: Path, *, until: int) -> dict[str, Any]:
    """Run the command until so many shards are there, and watch its memory.

    Returns:
        Its exit code, seconds, last line, and memory by the number of shards that were there.
    """
    begin, memory, shards = time.perf_counter(), {}, 0
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        shards = sum(path.is_file() for path in shelves.glob("*/*/manifest.json"))
        try:
            mib = watched.memory_info().rss / 2**20
        except psutil.Error:
            break
        memory[shards] = max(memory.get(shards, 0.0), mib)
        if shards >= until:
            process.kill()
        time.sleep(0.1)
    out, _ = process.communicate()
    seconds = time.perf_counter() - begin
    result = json.loads(out.splitlines()[-1]) if process.returncode == 0 else None
    return {
        "exit": process.returncode, "seconds": seconds, "shards": shards, "mib": memory,
        "result": result,
    }  # fmt: skip


def check(cache: Path, encoder: TextEncoder, items: int) -> float:
    """Require each text once, and return the least cosine of a sample to fresh vectors."""
    keys = [load_file(file)["keys"] for file in cache.glob("shelves/*/*/vectors.safetensors")]
    distinct = len(torch.cat(keys).unique(dim=0))
    if not distinct == sum(map(len, keys)) == items:
        raise SystemExit(f"{distinct} distinct texts in {sum(map(len, keys))} rows of {items}.")
    sample = [text(item) for item in range(0, items, items // SAMPLE)]
    found = find(cache, encoder.fingerprint(), sample)
    if found is None:
        raise SystemExit("The shelf lacks texts of the sample.")
    fresh = encoder.encode(sample).vectors
    return torch.cosine_similarity(found.vectors, fresh).min().item()


def measure(folder: Path, *, items: int, shards: int) -> dict[str, Any]:
    """Make the items, encode them with a kill in the middle, and check what came of it."""
    bert, cache = make(folder, items), folder / "cache"
    command = [
        sys.executable, "-c", PROGRAM, "encode", "--dataset=made", f"--data_path={folder}",
        f"--text_encoder={bert}", "--text_dtype=float32", "--use_gpu=false",
        f"--text_cache_dir={cache}", f"--shards={shards}", "--show_progress=false",
    ]  # fmt: skip
    killed = run(command, cache / "shelves", until=shards // 2)
    resumed = run(command, cache / "shelves", until=shards + 1)
    if killed["exit"] != -9 or resumed["exit"] != 0:
        raise SystemExit(f"exit codes {killed['exit']} and {resumed['exit']}, not -9 and 0.")
    encoder = TextEncoder(EncoderSpec(name=str(bert), dtype="float32"))
    least = check(cache, encoder, items)
    early, late = shards // 8, shards // 2 - 1
    return {
        "items": items,
        "shards": shards,
        "killed_at_shards": killed["shards"],
        "encoded_after_the_kill": resumed["result"]["encoded"],
        "texts_per_second": resumed["result"]["encoded"] / resumed["result"]["seconds"],
        "seconds": [killed["seconds"], resumed["seconds"]],
        "mib_before_shards": max(mib for at, mib in killed["mib"].items() if at == 0),
        "mib_of_the_first_eighth": max(mib for at, mib in killed["mib"].items() if at <= early),
        "mib_at_the_kill": max(mib for at, mib in killed["mib"].items() if at >= late),
        "mib_of_the_rest": max(resumed["mib"].values()),
        "min_cosine_of_a_sample": least,
    }


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--small", action="store_true", help="20,000 items, to see that it runs")
    request = parser.parse_args()
    items, shards = (20_000, 8) if request.small else (request.items, request.shards)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), items=items, shards=shards)
    print(json.dumps(found, indent=2))
    if not request.small:
        write_json(RESULT, provenance() | found)


if __name__ == "__main__":
    main()
