"""``recbole-llm encode``: texts of a dataset, or of a catalogue of any size, here or on Ray."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_llm.build import create_dataset
from recbole_llm.cluster import cluster, require_room
from recbole_llm.config import LLMConfig
from recbole_llm.data.encoders import encoder_spec
from recbole_llm.errors import RequestError, StoreError
from recbole_llm.files import sha256
from recbole_llm.plugin import MODELS
from recbole_llm.settings import Settings
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.entries import cache_folder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shelf import MOST_SHARDS, ShardWorker, Shelf
from recbole_llm.text.stream import ItemFile

OPTIONS = ("shards", "items", "address", "gpus", "cpus", "workers")
PLACE = "recbole-llm encode"


def encode(
    config_file_list: Sequence[str] | None = None, arguments: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Encode a dataset's item texts into the cache and train nothing.

    Args:
        config_file_list: YAML files of settings.
        arguments: Settings as raw strings; ``dataset`` and ``model`` among them.

    Returns:
        Shape, cache key, seconds and coverage of the vectors.

    Raises:
        RequestError: If the request is wrong.
    """
    config = LLMConfig(config_file_list=config_file_list, arguments=arguments)
    if config["item_features"] is None:
        raise RequestError(
            f"model: {config['model']} takes no vectors of text. Use one of "
            f"{', '.join(MODELS)}, or set item_features."
        )
    vectors = create_dataset(config).item_vectors()
    if vectors is None:
        raise RequestError(f"item_features: must name text, received {config['item_features']!r}.")
    return {
        "dataset": config["dataset"],
        "shape": list(vectors.table.shape),
        "seconds": vectors.seconds,
        **vectors.facts(),
    }


def encode_shards(
    options: Mapping[str, str],
    config_file_list: Sequence[str] | None = None,
    arguments: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Encode all texts of an item file in shards; what was done before is kept.

    Args:
        options: Raw values of ``OPTIONS``.
        config_file_list: YAML files of settings.
        arguments: Settings as raw strings; ``dataset`` and ``model`` among them.

    Returns:
        Number of distinct texts, of those encoded now, and of those longer than the encoder reads.

    Raises:
        RequestError: If the request is wrong.
        StoreError: If the cache cannot be written.
    """
    begin = time.perf_counter()
    num_shards = _number("shards", options.get("shards"), least=1, most=MOST_SHARDS)
    on_ray = {"address", "gpus", "cpus", "workers"} & options.keys()
    config = LLMConfig(config_file_list=config_file_list, arguments=arguments)
    settings = Settings.from_config(config)
    items = _items(options, config, settings)
    gpus = _share("gpus", options.get("gpus", "0"))
    device = ("cuda" if gpus else "cpu") if on_ray else str(config["device"])
    encoder = TextEncoder(encoder_spec(settings), device=device, cache=settings.text_cache_dir)
    source = {"sha256": sha256(items.path)} | {
        name: value for name, value in vars(items).items() if name != "path"
    }
    cache = cache_folder(settings.text_cache_dir).resolve()
    shelf = Shelf(cache, encoder.fingerprint(), source, num_shards)
    missing, encoded = shelf.missing(), 0
    if missing:
        shelf.scatter(items.texts(), size=items.path.stat().st_size)
        counts = (
            _on_ray(shelf, missing, encoder, options, gpus=gpus)
            if on_ray
            else _here(shelf, missing, encoder)
        )
        progress = tqdm(total=len(missing), desc="Shards", disable=not config["show_progress"])
        with progress:
            for count in counts:
                encoded += count
                progress.update()
    facts = shelf.finish()
    return {
        "dataset": config["dataset"],
        "shards": num_shards,
        "shape": [facts["texts"], facts["dim"]],
        "encoded": encoded,
        "truncated": facts["truncated"],
        "from_cache": not missing,
        "seconds": time.perf_counter() - begin,
        "shelf": str(shelf.folder),
    }


def _here(shelf: Shelf, missing: Sequence[int], encoder: TextEncoder) -> Iterator[int]:
    """Yield the counts of texts of shards; those that another process is at come last."""
    held = []
    for shard in missing:
        count = shelf.encode_free(shard, encoder)
        if count is None:
            held.append(shard)
        else:
            yield count
    for shard in held:
        yield shelf.encode(shard, encoder)


def _on_ray(
    shelf: Shelf,
    missing: Sequence[int],
    encoder: TextEncoder,
    options: Mapping[str, str],
    *,
    gpus: float,
) -> Iterator[int]:
    """Yield the counts of texts of shards that actors encode; a dead one's shard begins again."""
    address, cpus = options.get("address"), _share("cpus", options.get("cpus", "1"))
    most = _number("workers", options.get("workers", str(len(missing))), least=1)
    with (
        redirect_stdout(sys.stderr),
        cluster(address) as ray,
    ):  # Ray tells of dead workers on stdout
        import ray.data as ray_data

        if address is None:
            require_room(ray, "GPU", gpus, place="--gpus")
            require_room(ray, "CPU", cpus, place="--cpus")
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray_data.DataContext.get_current().enable_progress_bars = False
        shards = ray_data.from_items(
            [{"shard": k} for k in missing], override_num_blocks=len(missing)
        )
        done = shards.map_batches(
            ShardWorker,
            fn_constructor_args=(shelf, _settled(encoder), encoder.device),
            batch_size=1,
            compute=ray_data.ActorPoolStrategy(min_size=1, max_size=min(most, len(missing))),
            num_cpus=cpus,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            if row["problem"]:
                kind = RequestError if row["exit_code"] == RequestError.exit_code else StoreError
                raise kind(row["problem"])
            yield int(row["texts"])


def _settled(encoder: TextEncoder) -> EncoderSpec:
    """Return the spec with what another machine might choose otherwise: precision and commit."""
    spec = encoder.spec
    revision = spec.commit() if spec.folder() is None else spec.revision
    return replace(spec, dtype=spec.precision(encoder.device), revision=revision)


def _items(options: Mapping[str, str], config: LLMConfig, settings: Settings) -> ItemFile:
    default = Path(config["data_path"]) / f"{config['dataset']}.item"
    path = Path(options["items"]) if "items" in options else default
    if not path.is_file():
        raise RequestError(
            f"--items: {path} is no file. Name an .item or Parquet file, or set data_path."
        )
    return ItemFile(
        path=path,
        id_field=config["ITEM_ID_FIELD"],
        text_fields=settings.text_fields,
        text_template=settings.text_template,
        empty_text=settings.empty_text,
        separator=config["field_separator"],
        encoding=config["encoding"],
    )


def _number(name: str, text: str | None, *, least: int, most: int = 10**6) -> int:
    if text is not None and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise RequestError(f"--{name}: must be a number from {least} to {most}, received {text!r}.")


def _share(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if 0 <= number < 10**6:
        return number
    raise RequestError(f"--{name}: must be a number of {name.upper()} a worker, received {text!r}.")
