"""``recbole-llm encode``: texts of a dataset, or of a catalogue of any size, here or on Ray."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_llm.build import create_dataset
from recbole_llm.cluster import cluster, in_words, is_share, require_room
from recbole_llm.config import LLMConfig
from recbole_llm.data.encoders import encoder_spec
from recbole_llm.errors import RecBoleLLMError, RequestError
from recbole_llm.files import sha256
from recbole_llm.parsing import whole_number
from recbole_llm.plugin import MODELS
from recbole_llm.settings import Settings
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.entries import cache_folder
from recbole_llm.text.models import EncoderSpec
from recbole_llm.text.shard_worker import ShardWorker, forget_tries
from recbole_llm.text.shelf import MOST_SHARDS, Shelf
from recbole_llm.text.stream import ItemFile

ON_RAY = ("address", "gpus", "cpus", "workers")
OPTIONS = ("shards", "items", *ON_RAY)
PLACE = "recbole-llm encode"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where on Ray shards are encoded.

    Attributes:
        address: A cluster's, ``auto`` for the one of this machine, or None to start one here.
        gpus: GPUs of a worker.
        cpus: Cores of a worker.
        most: How many workers there may be; one a shard by default.
    """

    address: str | None
    gpus: float
    cpus: float
    most: int | None


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
        RequestError: If the request is wrong, or the cluster is not there.
        StoreError: If the cache cannot be written.
        RecBoleLLMError: If a shard cannot be encoded on Ray.
    """
    begin = time.perf_counter()
    num_shards = _number("shards", options.get("shards"), least=1, most=MOST_SHARDS)
    config = LLMConfig(config_file_list=config_file_list, arguments=arguments)
    settings = Settings.from_config(config)
    items = item_file(config, settings, path=options.get("items"))
    workers = _workers(options)
    device = str(config["device"]) if workers is None else "cuda" if workers.gpus else "cpu"
    encoder = TextEncoder(encoder_spec(settings), device=device, cache=settings.text_cache_dir)
    source = {"sha256": sha256(items.path)} | {
        name: value for name, value in vars(items).items() if name != "path"
    }
    cache = cache_folder(settings.text_cache_dir).resolve()
    shelf = Shelf(cache, encoder.fingerprint(), source, num_shards)
    missing, encoded = shelf.missing(), 0
    if missing:
        with _ray(workers) as ray:  # before the texts are read, which may take an hour
            shelf.scatter(items.texts(), size=items.path.stat().st_size)
            counts = (
                _here(shelf, missing, encoder)
                if workers is None
                else _on_ray(ray, workers, shelf, missing, encoder)
            )
            is_quiet = not config["show_progress"]
            encoded = sum(tqdm(counts, desc="Shards", total=len(missing), disable=is_quiet))
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


def _workers(options: Mapping[str, str]) -> Workers | None:
    """Return what the options say of Ray, or None where they do not ask for it.

    Raises:
        RequestError: If they say it wrongly.
    """
    if set(ON_RAY).isdisjoint(options):
        return None
    return Workers(
        address=options.get("address"),
        gpus=_share("gpus", options.get("gpus", "0")),
        cpus=_share("cpus", options.get("cpus", "1")),
        most=_number("workers", options["workers"], least=1) if "workers" in options else None,
    )


@contextmanager
def _ray(workers: Workers | None) -> Iterator[Any]:
    """Yield Ray, connected to where the workers shall be, or None if there are to be none.

    Raises:
        RequestError: If the cluster is not there, or no node of it has what a worker needs.
    """
    if workers is None:
        yield None
        return
    with redirect_stdout(sys.stderr), cluster(workers.address) as ray:  # dead workers' messages
        require_room(ray, "GPU", workers.gpus, place="--gpus")
        require_room(ray, "CPU", workers.cpus, place="--cpus")
        yield ray


def _on_ray(
    ray: Any, workers: Workers, shelf: Shelf, missing: Sequence[int], encoder: TextEncoder
) -> Iterator[int]:
    """Yield the counts of texts of shards that actors encode; a dead one's shard begins again.

    Raises:
        RecBoleLLMError: If a shard cannot be encoded.
    """
    import ray.data as ray_data

    forget_tries(shelf)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what went wrong is told below
    ray_data.DataContext.get_current().enable_progress_bars = False
    most = min(workers.most or len(missing), len(missing))
    shards = ray_data.from_items([{"shard": k} for k in missing], override_num_blocks=len(missing))
    done = shards.map_batches(
        ShardWorker,
        fn_constructor_args=(shelf, _settled(encoder), encoder.device),
        batch_size=1,
        compute=ray_data.ActorPoolStrategy(min_size=1, max_size=most),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    try:
        for row in done.iter_rows():
            if row["problem"]:
                kind = (
                    RequestError if row["exit_code"] == RequestError.exit_code else RecBoleLLMError
                )
                raise kind(row["problem"])
            yield int(row["texts"])
    except ray.exceptions.RayError as error:
        raise RecBoleLLMError(
            f"Ray gave a shard up ({in_words(error)}). The shards that are done are kept: run "
            "again for the rest. Ray's logs hold what its worker said."
        ) from None


def _settled(encoder: TextEncoder) -> EncoderSpec:
    """Return the spec with what another machine might choose otherwise: precision and commit."""
    spec = encoder.spec
    revision = spec.commit() if spec.folder() is None else spec.revision
    return replace(spec, dtype=spec.precision(encoder.device), revision=revision)


def item_file(config: LLMConfig, settings: Settings, *, path: str | None = None) -> ItemFile:
    """Return a dataset's file of items, or another one that is read as the settings say.

    Raises:
        RequestError: If it is not there.
    """
    found = Path(path or Path(config["data_path"]) / f"{config['dataset']}.item")
    if not found.is_file():
        raise RequestError(
            f"--items: {found} is no file. Name an .item or Parquet file, or set data_path."
        )
    return ItemFile(
        path=found,
        id_field=config["ITEM_ID_FIELD"],
        text_fields=settings.text_fields,
        text_template=settings.text_template,
        empty_text=settings.empty_text,
        separator=config["field_separator"],
        encoding=config["encoding"],
    )


def _number(name: str, text: str | None, *, least: int, most: int = 10**6) -> int:
    number = None if text is None else whole_number(text, least=least)
    if number is not None and number <= most:
        return number
    raise RequestError(f"--{name}: must be a number from {least} to {most}, received {text!r}.")


def _share(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if is_share(number):
        return number
    raise RequestError(
        f"--{name}: must be a number of {name.upper()} a worker, whole above 1; received {text!r}."
    )
