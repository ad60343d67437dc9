"""Models of the Hugging Face hub: what this machine has of one, and why one cannot be had."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recbole_llm.errors import first_line
from recbole_llm.hardware import is_out_of_memory

logger = logging.getLogger(__name__)

BROKEN = (ImportError, KeyError, AttributeError, TypeError, MemoryError)
"""With which loading a model may end that needs another package or more memory, or is broken."""
LOGIN = "Accept its terms on the hub, if it has any, and run `hf auth login`."
UNREACHABLE = ("offline", "connect", "timeout", "timed out")


def failures() -> tuple[Any, ...]:
    """Return the errors with which asking the hub, or loading a model, may end."""
    from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
    from safetensors import SafetensorError

    # RuntimeError: sizes that do not match. The hub's bases are its HTTP library's own errors.
    broken = (ValueError, RuntimeError, SafetensorError, StrictDataclassError)
    return (OSError, *broken, *HfHubHTTPError.__bases__)


def cached_commit(name: str, revision: str | None) -> str | None:
    """Return the commit of a model id's files on this machine, or None without any."""
    folder = _cached_folder(name, revision)
    return folder.name if folder else None


def _cached_folder(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    cache = os.environ.get("SENTENCE_TRANSFORMERS_HOME")  # None is the hub's own cache
    for repository in (name, f"sentence-transformers/{name}"):
        for file in ("config.json", "modules.json"):  # models without a transformer lack the first
            try:
                found = try_to_load_from_cache(repository, file, cache_dir=cache, revision=revision)
            except HFValidationError:  # it is a path
                continue
            if isinstance(found, str):
                return Path(found).parent
    return None


def locate(name: str, revision: str | None) -> tuple[str, str | None]:
    """Return what to load of a model id: the id and a revision, or a folder of this machine.

    A commit that is here stays the one in use, whatever the hub has newer. One request tells
    whether the hub answers: to load from one that does not would take minutes.
    """
    folder = _cached_folder(name, revision)
    commit = folder and folder.name
    try:
        _ask(name, commit or revision)
    except failures() as error:
        if folder is None:
            raise
        reason = type(error).__name__
        logger.warning("The hub cannot be asked (%s): %s is read from the cache.", reason, name)
        return str(folder), None  # by its id, peft would ask the hub after all
    return name, commit or revision


def _ask(name: str, revision: str | None) -> None:
    from huggingface_hub import HfApi, constants
    from sentence_transformers.util import ORIGINAL_TRANSFORMER_MODELS

    is_short = "/" not in name and name.lower() not in ORIGINAL_TRANSFORMER_MODELS
    repository = f"sentence-transformers/{name}" if is_short else name
    HfApi().model_info(repository, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)


def why_not(name: str, error: Exception, *, revision: str | None, known: str) -> str:
    """Return one line on why a model did not load, and what to do.

    Args:
        name: Id or path of the model.
        error: What loading it ended with.
        revision: The revision asked for.
        known: A name that does load.
    """
    from huggingface_hub import errors

    causes = list(_causes(error))
    words = " ".join(f"{type(cause).__name__} {cause}" for cause in causes).lower()

    def is_a(kind: type[Exception]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    if "trust_remote_code" in words:
        reason = "It runs code of its own; read it, then set trust_remote_code: true."
    elif is_a(errors.GatedRepoError):
        reason = f"It is gated. {LOGIN}"
    elif is_a(errors.RevisionNotFoundError):
        reason = f"text_revision: the hub has no {revision!r} of it. Give a branch, tag or commit."
    elif is_a(errors.RepositoryNotFoundError):
        reason = (
            "There is no such folder here, and the hub has no such model or hides it. Check the "
            "name; for a private model run `hf auth login`."
        )
    elif is_a(errors.HFValidationError):
        reason = (
            f"There is no such folder here, and it is no id of the hub. Give one, or {known!r}."
        )
    elif is_a(errors.OfflineModeIsEnabled):
        reason = (
            "It is not in this machine's cache, and the hub may not be asked (HF_HUB_OFFLINE). "
            f"Run `hf download {name}` where there is a network, or give a local path."
        )
    elif is_out_of_memory(error):
        reason = "Memory does not hold it. Give a smaller model."
    elif is_a(ImportError):
        reason = f"{first_line(error)} Install what it needs, or give another model."
    else:
        codes = [c.response.status_code for c in causes if isinstance(c, errors.HfHubHTTPError)]
        reason = f"{first_line(error)} {_hint(words, codes=codes, known=known)}"
    return f"text_encoder {name!r} cannot be loaded: {reason}"


def _hint(words: str, *, codes: Sequence[int], known: str) -> str:
    if "gated" in words or {401, 403} & set(codes):
        return f"It is gated or private. {LOGIN}"
    if 429 in codes:
        return "The hub refuses so many requests: wait and run again."
    if codes and max(codes) >= 500:
        return "The hub is out of order: wait and run again, or give a local path."
    if any(word in words for word in UNREACHABLE):
        return "The hub cannot be reached: give a local path, or encode where there is a network."
    return f"Give a Hugging Face id, a local path, or {known!r}."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what lies behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
