"""Training that begins with the weights of another run, on another catalogue.

What an item is to a model of ours is its text, mapped by an adaptor, so that all that was learned
but the vectors of ids means the same of any catalogue whose texts the same encoder reads (ZESRec:
Ding et al., 2021, arXiv 2105.08318; UniSRec: Hou et al., 2022, arXiv 2206.05941; Recformer: Li et
al., 2023, arXiv 2305.13731). The adaptor knows white vectors. So that its axes stay what they were,
this catalogue's are whitened by the source's matrix; they are centred on their own mean, since what
sets one shop's texts apart from another's is no difference between its items. A run keeps weights
and matrix in a file of its own, and needs its source no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from recbole_llm.config import LLMConfig
from recbole_llm.data.encoders import encoder_spec
from recbole_llm.errors import RequestError, RunDirError, all_problems
from recbole_llm.files import sha256
from recbole_llm.plugin import MODELS
from recbole_llm.recommend.catalogue import Catalogue, read_catalogue
from recbole_llm.resume import stored_run
from recbole_llm.run_dir import CATALOGUE, CONFIG, RESULT, SOURCE, UPDATES, WEIGHTS, read_json
from recbole_llm.settings import Settings
from recbole_llm.text.encoders import TextEncoder
from recbole_llm.text.store import content_digest
from recbole_llm.train.checkpoints import FORMAT as CHECKPOINT
from recbole_llm.train.checkpoints import WEIGHT, read_tensors, write_tensors
from recbole_llm.transfer_checks import source_problems

FORMAT = "recbole-llm source 1"
ANEW = ("items.embedding.", "offset", "loss.", "repeats.")  # of ids, popularity, a loss, repeats
ENCODER = ".encoder.trained."  # begins as it is where the source's is frozen


@dataclass(frozen=True)
class Source:
    """What a run begins with.

    Attributes:
        weights: Weights by name, without those that belong to a catalogue.
        matrix: What whitens the source's centred vectors, ``(D, W)``; None without whitening.
        facts: Model, dataset and seed of the source, and the digest of its weights.
    """

    weights: dict[str, Tensor]
    matrix: Tensor | None
    facts: dict[str, Any]


def find_source(config: LLMConfig) -> Source | None:
    """Read what a configuration's ``init_from`` names, or return None where it names nothing.

    Raises:
        RequestError: If the run cannot be begun from; all that is wrong at once.
    """
    if config["init_from"] is None:
        return None
    run_dir, place = Path(config["init_from"]), f"init_from: {config['init_from']}"
    stored = stored_run(run_dir)
    if stored.facts.get(UPDATES):
        raise RequestError(
            f"{place} was updated with new events, and only a run as it was trained can be begun "
            "with. Name the run that was updated."
        )
    if stored.result is None:
        raise RequestError(f"{place} is no finished run. Finish it by --resume, or name another.")
    model, settings = stored.facts["model"], stored.facts["settings"]
    try:
        problems = source_problems(
            settings, config.resolved, source_model=model, model=config["model"]
        )
    except ValidationError as error:
        raise RunDirError(f"{run_dir / CONFIG}: its settings are damaged ({error!r}).") from None
    has_texts = not problems or (model in MODELS and (run_dir / CATALOGUE).is_file())
    catalogue = read_catalogue(run_dir) if has_texts else None
    if catalogue is not None:
        read_by = (read_json(run_dir / RESULT).get("text") or {}).get("encoder")
        problems += _encoder_problems(catalogue, config, read_by=read_by)
    if problems or catalogue is None or catalogue.text is None:
        raise RequestError(all_problems(place, problems))
    if (digest := sha256(run_dir / WEIGHTS)) != catalogue.weights_sha256:
        raise RunDirError(f"{place}: {WEIGHTS} is not what {CATALOGUE} was made of.")
    about = {"model": model, "dataset": stored.facts["dataset"], "seed": settings.get("seed")}
    facts = {**about, "weights_sha256": digest}
    return Source(_weights(run_dir / WEIGHTS), catalogue.text.matrix, facts)


def _encoder_problems(
    catalogue: Catalogue, config: LLMConfig, *, read_by: Mapping[str, Any] | None
) -> list[str]:
    """Tell whether this run's encoder is not what read the texts of a catalogue.

    Args:
        catalogue: The source's.
        config: This run's.
        read_by: What identifies the encoder that did; None in a result of an older version.
    """
    settings = Settings.from_config(config)
    texts = [one for one in catalogue.text.texts if one is not None] if catalogue.text else []
    if not texts:
        return [f"{CATALOGUE} keeps no texts: the source reads none, or is of an older version."]
    encoder = TextEncoder(
        encoder_spec(settings), device=str(config["device"]), cache=settings.text_cache_dir
    )
    ours = encoder.fingerprint()
    if read_by and read_by.get("weights") == ours["weights"]:
        ours |= {"revision": read_by.get("revision")}  # two names of one commit
    if content_digest(ours, texts) == catalogue.digests["text"]:
        return []
    unlike = _unlike(read_by, ours) if read_by else ""
    return [
        f"text_encoder: {settings.text_encoder!r}, as set here, is not what read the source's "
        f"texts{unlike and f' ({unlike})'}. Use the same model, text_revision and text_* settings."
    ]


def _unlike(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return in what two encoders differ, but for a precision that machines choose."""
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    named = {"name": "model", "weights": "commit or digest"}
    return "; ".join(
        f"{named.get(key, key)}: the source has {theirs.get(key)!r}, received {ours.get(key)!r}"
        for key in keys
        if key != "dtype" or "int8" in (theirs.get(key), ours.get(key))
    )


def _weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a checkpoint that belong to no catalogue and no loss."""
    cpu = torch.device("cpu")
    tensors, _ = read_tensors(path, kind=CHECKPOINT, fields={"epoch": int}, device=cpu)
    named = {name.removeprefix(WEIGHT): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(ANEW)}


def keep_source(run_dir: Path, source: Source) -> None:
    """Write what a run begins with into its directory."""
    tensors = {WEIGHT + name: tensor for name, tensor in source.weights.items()}
    if source.matrix is not None:
        tensors["matrix"] = source.matrix
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
    return Source(weights, tensors.get("matrix"), about["facts"])


def begin_with(model: Any, source: Source) -> None:
    """Load the weights of a source into a model, and say which of the model's begin anew.

    Raises:
        RunDirError: If they are not of such a model.
    """
    try:
        missing, unexpected = model.load_state_dict(source.weights, strict=False)
    except RuntimeError as error:
        raise RunDirError(f"init_from: the source's weights do not fit. {error}") from None
    odd = [name for name in missing if not name.startswith(ANEW) and ENCODER not in name]
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
