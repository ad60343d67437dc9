"""What a reader needs to trust a result, or to get it again."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from recbole.utils import EvaluatorType, ModelType

import recbole_llm
from recbole_llm.config import LLMConfig
from recbole_llm.eval_checks import FILTERS
from recbole_llm.files import sha256
from recbole_llm.hardware import device_name
from recbole_llm.plugin import CLASSIFIERS

PACKAGES = (
    "recbole",
    "torch",
    "numpy",
    "pandas",
    "transformers",
    "sentence-transformers",
    "peft",
    "onnxruntime",
    "openvino",
    "nncf",
    "ray",
)


def provenance(config: LLMConfig, model: torch.nn.Module) -> dict[str, Any]:
    """Return protocol, item vectors, size, memory, versions, commit and settings of a run."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    text = getattr(model, "item_vectors", None) or getattr(model, "item_text", None)
    modalities = getattr(model, "modality_vectors", {})
    return {
        "protocol": {**protocol_rules(config), "data_sha256": data_sha256(config)},
        "parameters": {"trainable": trainable},
        "text": None if text is None else text.facts(),
        "modalities": {name: vectors.facts() for name, vectors in modalities.items()},
        "peak_memory_mib": peak_memory_mib(),
        "peak_gpu_memory_mib": peak_gpu_memory_mib(config["device"]),
        "device": str(config["device"]),
        "device_name": device_name(config["device"]),
        "versions": {"python": platform.python_version(), "recbole-llm": recbole_llm.__version__}
        | {name: version for name in PACKAGES if (version := _version(name))},
        "commit": commit(),
        "settings": config.resolved,
    }


def _version(package: str) -> str | None:
    """Return the version of a package, or None where it is not installed, as Ray need not be."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def data_sha256(config: LLMConfig) -> dict[str, str]:
    """Return the digests of a dataset's files of interactions and items."""
    folder, name = Path(config["data_path"]), config["dataset"]
    parts = [f"{name}.{part}.inter" for part in config["benchmark_filename"] or ()]
    files = [folder / file for file in (*(parts or [f"{name}.inter"]), f"{name}.item")]
    return {file.name: sha256(file) for file in files if file.is_file()}


def more_sha256(config: LLMConfig) -> dict[str, str]:
    """Return the digests of a dataset's other files that a run loads, as of users' columns."""
    folder, name = Path(config["data_path"]), config["dataset"]
    parts = config["load_col"] or ("user", "kg", "link", "net")  # RecBole loads all it finds
    files = [folder / f"{name}.{part}" for part in parts if part not in ("inter", "item")]
    return {file.name: sha256(file) for file in files if file.is_file()}


def vectors_sha256(config: LLMConfig) -> dict[str, str]:
    """Return the digests of the files of vectors that a run reads, and of their ids."""
    return {name: sha256(file) for name, file in vector_files(config["modalities"] or {}).items()}


def vector_files(modalities: Mapping[str, str]) -> dict[str, Path]:
    """Return the files of vectors that are there, and of their ids, by modality and suffix."""
    given = {name: Path(file) for name, file in modalities.items()}
    files = {
        f"{name}{one.suffix}": one
        for name, file in given.items()
        for one in (file, file.with_suffix(".ids"))
    }
    return {name: file for name, file in files.items() if file.is_file()}


def protocol_rules(config: LLMConfig) -> dict[str, Any]:
    """Return the rules under which results on the same data may be compared."""
    is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    has_history = is_sequential or config["model"] in CLASSIFIERS
    modes = config["eval_args"]["mode"]
    is_full = set(modes.values()) == {"full"}
    is_unlabeled = "labeled" not in modes.values()
    return {
        "eval_args": config["eval_args"],
        "time_precision": config["time_precision"] or "exact",
        "max_length": config["MAX_ITEM_LIST_LENGTH"] if has_history else None,
        "seen_items_filtered": bool(config["filter_seen"]) if is_sequential else is_unlabeled,
        "ties": _ties(config),
        "candidates": "all items" if is_full else modes,
        "filters": {key: config[key] for key in FILTERS},
    }


def _ties(config: LLMConfig) -> Any:
    """Return how equal scores are ranked; one answer for each part if they differ."""
    if config["eval_type"] != EvaluatorType.RANKING:
        return None
    is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    ties = {
        part: "expectation over their order"
        if is_sequential and mode == "full"
        else "as torch.topk leaves them"
        for part, mode in config["eval_args"]["mode"].items()
    }
    return ties["test"] if ties["valid"] == ties["test"] else ties


def peak_gpu_memory_mib(device: torch.device) -> float | None:
    """Return the most that this process's tensors have held of a GPU, or None without one."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def peak_memory_mib() -> float | None:
    """Return the most memory this process has held, or None on Windows, which does not say.

    Of the machine's, not of its GPU's.
    """
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def commit() -> str | None:
    """Return the commit of a source checkout, ``+`` behind it where files differ, else None.

    Files of results do not count: a suite writes them between its runs.
    """
    root = Path(recbole_llm.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    run = partial(subprocess.run, cwd=root, capture_output=True, text=True, check=False)
    try:
        found = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        differs = run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!results"]).returncode != 0
    except OSError:  # no git on this machine
        return None
    return found + "+" * differs if found else None
