"""A run is a directory: configuration, log, weights, and ``result.json`` written last."""

from __future__ import annotations

import datetime
import json
import secrets
from pathlib import Path
from typing import Any

from recbole_llm.errors import RunDirError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
RESULT = "result.json"
STATE = "training.safetensors"
CATALOGUE = "catalogue.safetensors"
SOURCE = "source.safetensors"
UPDATES = "updates"  # key of config.json: what a run was updated with, if it was


def create_run_dir(root: Path, *, model: str, dataset: str) -> Path:
    """Make a directory of its own for a run; two runs started in one second get two.

    Raises:
        RunDirError: If the directory cannot be made.
    """
    moment = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    run_dir = root / f"{model}-{dataset}-{moment}-{secrets.token_hex(3)}"
    try:
        run_dir.mkdir(parents=True)
    except OSError as error:
        raise RunDirError(
            f"{run_dir}: cannot make the run's directory ({error.strerror}). "
            "Set checkpoint_dir to a folder that can be written."
        ) from None
    return run_dir.resolve()


def unfinished(run_dir: str | Path) -> list[str]:
    """Return why a directory holds no finished run as it was trained, if it holds none."""
    path = Path(run_dir)
    if (path / RESULT).is_file():
        return []
    if not path.is_dir():
        return [f"{run_dir}: no such run directory. Name the run_dir of a run."]
    if (path / CONFIG).is_file() and read_json(path / CONFIG).get(UPDATES):
        return [
            f"{run_dir} was updated with new events, so that no dataset is its own. Name the run "
            "that was updated."
        ]
    return [
        f"{run_dir} holds no finished run ({RESULT} is missing). Finish it by --resume, or name "
        "another."
    ]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run.

    Raises:
        RunDirError: If the file is missing, cut off, or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunDirError(
            f"{path}: no such file. A run's directory holds {CONFIG} and {WEIGHTS}: name one of a "
            "run that was not stopped before its first checkpoint."
        ) from None
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path}: not a readable JSON file ({error}).") from None
    if not isinstance(content, dict):
        raise RunDirError(f"{path}: must be a JSON object, received a {type(content).__name__}.")
    return content
