"""Training that begins with the weights of another run, on another catalogue.

What an item is to a model of ours is its text, mapped by an adaptor, so that all that was learned
but the vectors of ids means the same of any catalogue whose texts the same encoder reads (ZESRec:
Ding et al., 2021, arXiv 2105.08318; UniSRec: Hou et al., 2022, arXiv 2206.05941; Recformer: Li et
al., 2023, arXiv 2305.13731). The adaptor knows white vectors; so that they are in one space, this
catalogue's are whitened by the source's statistics. A run keeps both, weights and statistics, in a
file of its own, and needs its source no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_llm.config import LLMConfig
from recbole_llm.data.encoders import encoder_spec
from recbole_llm.errors import RequestError, RunDirError, all_problems
from recbole_llm.files import sha256
from recbole_llm.recommend.catalogue import Catalogue, TextTreatment, read_catalogue
from recbole_llm.run_dir import CATALOGUE, CONFIG, RESULT, SOURCE, WEIGHTS, read_json
from recbole_llm.settings import Settings
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.store import content_digest
from recbole_llm.text.whiten import KeptWhitening
from recbole_llm.train.checkpoints import FORMAT as CHECKPOINT
from recbole_llm.train.checkpoints import WEIGHT, read_tensors, write_tensors
from recbole_llm.transfer_checks import source_problems

FORMAT = "recbole-llm source 1"
IDS = "items.embedding."  # what belongs to a catalogue
ENCODER = ".encoder.trained."  # begins as it is where the source's is frozen


@dataclass(frozen=True)
class Source:
    """What a run begins with.

    Attributes:
        weights: Weights by name, without those of ids.
        whitening: The statistics of the source's texts; None without whitening.
        facts: Model, dataset and seed of the source, and the digest of its weights.
    """

    weights: dict[str, Tensor]
    whitening: KeptWhitening | None
    facts: dict[str, Any]


def find_source(config: LLMConfig) -> Source | None:
    """Read what a configuration's ``init_from`` names, or return None where it names nothing.

    Raises:
        RequestError: If the run cannot be begun from; all that is wrong at once.
    """
    if config["init_from"] is None:
        return None
    run_dir, place = Path(config["init_from"]), f"init_from: {config['init_from']}"
    for name in (CONFIG, RESULT):
        if not (run_dir / name).is_file():
            raise RequestError(
                f"{place} holds no {name}, so that it is no finished run of ours. Name the run_dir "
                "of one, or finish it by --resume."
            )
    stored = read_json(run_dir / CONFIG)
    problems = source_problems(
        stored["settings"], config.resolved, source_model=stored["model"], model=config["model"]
    )
    if problems:
        raise RequestError(all_problems(place, problems))
    catalogue = read_catalogue(run_dir)
    if (digest := sha256(run_dir / WEIGHTS)) != catalogue.weights_sha256:
        raise RunDirError(f"{place}: {WEIGHTS} is not what {CATALOGUE} was made of.")
    text = _require_encoder(catalogue, config, place=place)
    about = {"model": stored["model"], "dataset": stored["dataset"]}
    facts = {**about, "seed": stored["settings"]["seed"], "weights_sha256": digest}
    return Source(_weights(run_dir / WEIGHTS), text.whitening, facts)


def _require_encoder(catalogue: Catalogue, config: LLMConfig, *, place: str) -> TextTreatment:
    """Return how the source treats texts, if this run's encoder is what read them."""
    text, settings = catalogue.text, Settings.from_config(config)
    texts = [] if text is None else [one for one in text.texts if one is not None]
    if text is None or not texts:
        raise RequestError(
            f"{place}: {CATALOGUE} keeps no texts; an older version wrote it. Train it again."
        )
    encoder = TextEncoder(
        encoder_spec(settings), device=str(config["device"]), cache=settings.text_cache_dir
    )
    if content_digest(encoder.fingerprint(), texts) != catalogue.digests["text"]:
        raise RequestError(
            f"{place}: text_encoder {settings.text_encoder!r}, as set here, is not what read the "
            "source's texts. Use the same model, revision and text_* settings."
        )
    return text


def _weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a checkpoint that belong to no catalogue."""
    cpu = torch.device("cpu")
    tensors, _ = read_tensors(path, kind=CHECKPOINT, fields={"epoch": int}, device=cpu)
    named = {name.removeprefix(WEIGHT): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(IDS)}


def keep_source(run_dir: Path, source: Source) -> None:
    """Write what a run begins with into its directory."""
    tensors = {WEIGHT + name: tensor for name, tensor in source.weights.items()}
    if source.whitening is not None:
        tensors |= {"mean": source.whitening.mean, "product": source.whitening.product}
    write_tensors(run_dir / SOURCE, tensors, about={"format": FORMAT, "facts": source.facts})


def source_of(config: Mapping[str, Any]) -> Source | None:
    """Return what a run keeps of its source, or None where it has none.

    Raises:
        RunDirError: If the file is missing or damaged.
    """
    if not config["init_from"]:
        return None
    path = Path(config["run_dir"]) / SOURCE
    tensors, about = read_tensors(
        path, kind=FORMAT, fields={"facts": dict}, device=torch.device("cpu")
    )
    weights = {
        name.removeprefix(WEIGHT): tensor
        for name, tensor in tensors.items()
        if name.startswith(WEIGHT)
    }
    has_statistics = {"mean", "product"} <= tensors.keys()
    whitening = KeptWhitening(tensors["mean"], tensors["product"]) if has_statistics else None
    return Source(weights, whitening, about["facts"])


def begin_with(model: Any, source: Source) -> None:
    """Load the weights of a source into a model, and say which of the model's begin anew.

    Raises:
        RunDirError: If they are not of such a model.
    """
    try:
        missing, unexpected = model.load_state_dict(source.weights, strict=False)
    except RuntimeError as error:
        raise RunDirError(f"init_from: the source's weights do not fit. {error}") from None
    odd = [name for name in missing if not name.startswith(IDS) and ENCODER not in name]
    if odd or unexpected:
        raise RunDirError(
            f"init_from: the source has no weights {', '.join(odd) or '–'}, and this model none of "
            f"{', '.join(unexpected) or '–'}. Train the source again."
        )
    facts = source.facts
    getLogger().info(
        f"init_from: {', '.join(source.weights)} begin as {facts['model']} learned them on "
        f"{facts['dataset']} (seed {facts['seed']}, weights {facts['weights_sha256'][:12]}); "
        f"anew: {', '.join(missing) or 'nothing'}."
    )
