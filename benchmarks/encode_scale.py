"""``encode --shards`` on a million made-up items: memory over time, a kill in the middle, a resume.

    uv run python benchmarks/encode_scale.py

A tiny BERT with random weights reads 250,000 and then 1,000,000 items, of an ``.item`` file and of
a Parquet file, as many a shard whatever their number. The command is killed (SIGKILL) when half of
the shards are there, and started again. Then every text must be there once, and a sample of
vectors must be those that the encoder gives. Each case is written to results/encode_scale.json when
it ends; one that is there is not measured again. ``--small`` shows in seconds that it runs, and
writes nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import torch
from pyarrow.parquet import ParquetWriter
from safetensors.torch import load_file

from recbole_llm.cli import main as recbole_llm
from recbole_llm.files import write_json
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import find
from sections.process import provenance

RESULT = Path(__file__).parents[1] / "results" / "encode_scale.json"
KINDS = ("film", "book", "song", "game")
SIZES, SUFFIXES = (250_000, 1_000_000), ("item", "parquet")
ITEMS_A_SHARD = 15_625
BLOCK = 50_000  # items that are written at once
SAMPLE = 1000


def text(item: int) -> str:
    """Return the text of an item; no two are alike."""
    return f"{KINDS[item % 4]} number {item}" + " and more" * (item % 5)


def write_items(path: Path, items: int) -> None:
    """Write an ``.item`` or a Parquet file of so many items."""
    blocks = [range(at, min(at + BLOCK, items)) for at in range(0, items, BLOCK)]
    if path.suffix == ".item":
        with path.open("w", encoding="utf-8") as file:
            file.write("item_id:token\ttitle:token_seq\n")
            for block in blocks:
                file.writelines(f"i{item}\t{text(item)}\n" for item in block)
        return
    columns = pyarrow.schema({"item_id": pyarrow.int64(), "title": pyarrow.string()})
    with ParquetWriter(path, columns) as writer:
        for block in blocks:
            rows = {"item_id": list(block), "title": list(map(text, block))}
            writer.write_table(pyarrow.table(rows, schema=columns))


def write_bert(folder: Path) -> None:
    """Write a tiny BERT with random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    digits = [f"{mark}{digit}" for mark in ("", "##") for digit in range(10)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *KINDS, "number", "and", "more", *digits]
    BertTokenizerFast(vocab={word: k for k, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def command(arguments: list[str], out: Path) -> None:
    """Run ``recbole-llm`` in a process of its own; its result goes to a file."""
    with out.open("w", encoding="utf-8") as file, redirect_stdout(file):
        code = recbole_llm(arguments)
    sys.exit(code)


def run(arguments: list[str], folder: Path, *, until: int, method: str) -> dict[str, Any]:
    """Run the command until so many shards are there, and watch its memory.

    Returns:
        Its exit code, seconds, result, and the most memory by the number of shards there were.
    """
    out, begin, memory, shards = folder / "out.json", time.perf_counter(), {0: 0.0}, 0
    process = multiprocessing.get_context(method).Process(target=command, args=(arguments, out))
    process.start()
    watched = psutil.Process(process.pid)
    while process.is_alive():
        shards = sum(path.is_file() for path in folder.glob("cache/shelves/*/*/manifest.json"))
        try:
            mib = watched.memory_info().rss / 2**20
        except psutil.Error:
            break
        memory[shards] = max(memory.get(shards, 0.0), mib)
        if shards >= until:
            process.kill()
        time.sleep(0.02)
    process.join()
    return {
        "exit": process.exitcode,
        "seconds": time.perf_counter() - begin,
        "shards": shards,
        "mib": memory,
        "result": json.loads(out.read_text(encoding="utf-8")) if process.exitcode == 0 else None,
    }


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


def case(suffix: str, items: int, shards: int, *, is_forked: bool) -> dict[str, Any]:
    """Make items, encode them with a kill in the middle, and check what came of it.

    Args:
        suffix: ``item`` or ``parquet``.
        items: How many.
        shards: K.
        is_forked: Whether the command's process begins with what this one has loaded, which is
            quick, and no measure of its memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _case(Path(folder), suffix, items, shards, method="fork" if is_forked else "spawn")


def _case(folder: Path, suffix: str, items: int, shards: int, *, method: str) -> dict[str, Any]:
    file, bert, cache = folder / f"made.{suffix}", folder / "bert", folder / "cache"
    write_items(file, items)
    write_bert(bert)
    arguments = [
        "encode", "--dataset=made", f"--items={file}", f"--text_encoder={bert}",
        "--text_dtype=float32", "--use_gpu=false", f"--text_cache_dir={cache}",
        f"--shards={shards}", "--show_progress=false",
    ]  # fmt: skip
    killed = run(arguments, folder, until=shards // 2, method=method)
    resumed = run(arguments, folder, until=shards + 1, method=method)
    if killed["exit"] != -9 or resumed["exit"] != 0:
        raise SystemExit(f"exit codes {killed['exit']} and {resumed['exit']}, not -9 and 0.")
    least = check(cache, TextEncoder(EncoderSpec(name=str(bert), dtype="float32")), items)
    early, late = shards // 8, shards // 2 - 1
    return {
        "file": suffix,
        "items": items,
        "shards": shards,
        "killed_at_shards": killed["shards"],
        "encoded_after_the_kill": resumed["result"]["encoded"],
        "texts_per_second": resumed["result"]["encoded"] / resumed["result"]["seconds"],
        "seconds": [killed["seconds"], resumed["seconds"]],
        "mib_before_shards": killed["mib"][0],
        "mib_of_the_first_eighth": max(mib for at, mib in killed["mib"].items() if at <= early),
        "mib_at_the_kill": max(mib for at, mib in killed["mib"].items() if at >= late),
        "mib_of_the_rest": max(resumed["mib"].values()),
        "min_cosine_of_a_sample": least,
    }


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="12,000 items, to see that it runs")
    is_small = parser.parse_args().small
    if is_small:
        print(json.dumps(case("parquet", 12_000, 8, is_forked=True), indent=2))
        return
    for items in SIZES:
        for suffix in SUFFIXES:
            found = json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {}
            if (name := f"{items} of .{suffix}") not in found:
                one = provenance() | case(suffix, items, items // ITEMS_A_SHARD, is_forked=False)
                print(json.dumps(one, indent=2), flush=True)
                write_json(RESULT, found | {name: one})


if __name__ == "__main__":
    main()
