"""A stored run: its configuration on this machine, and whether a request means the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_llm.config import LLMConfig
from recbole_llm.errors import RequestError, RunDirError, all_problems
from recbole_llm.files import sha256
from recbole_llm.parsing import load_yaml
from recbole_llm.provenance import data_sha256, more_sha256
from recbole_llm.run_dir import CONFIG, RESULT, UPDATES, WEIGHTS, read_json

# Settings that change where or how loudly a run runs, not its numbers.
FREE = frozenset(
    {"run_dir", "data_path", "checkpoint_dir", "text_cache_dir", "gpu_id", "show_progress",
     "state", "log_wandb", "wandb_project", "init_from", "text_diversity"}
)  # fmt: skip


@dataclass(frozen=True)
class StoredRun:
    """What a run's directory says of it.

    Attributes:
        run_dir: The directory.
        facts: Its ``config.json``.
        result: What ``run_recbole`` returned, or None if the run has not ended.
    """

    run_dir: Path
    facts: Mapping[str, Any]
    result: dict[str, Any] | None

    def config(self, *, trust_remote_code: bool = False, **changes: Any) -> LLMConfig:
        """Return the configuration for this machine, if the data is what it was.

        Args are those of :meth:`settings_here`.

        Raises:
            RunDirError: If the data has changed, or code would run that is not trusted.
        """
        if self.facts.get(UPDATES):
            raise RunDirError(
                f"{self.run_dir}: was updated with new events, so that no dataset is its own. "
                "recommend, trajectory, explain and update open it."
            )
        config = self.settings_here(trust_remote_code=trust_remote_code, **changes)
        self._require_same_data(config)
        config["run_dir"] = str(self.run_dir.resolve())
        return config

    def settings_here(self, *, trust_remote_code: bool = False, **changes: Any) -> LLMConfig:
        """Return the configuration for this machine, whatever became of the data.

        Args:
            trust_remote_code: Whether an encoder that runs code of its own may do so again.
            **changes: Settings that differ here.

        Raises:
            RunDirError: If code would run that is not trusted.
        """
        settings = dict(self.facts["settings"])
        if settings.get("trust_remote_code") and not trust_remote_code:
            raise RunDirError(
                f"{self.run_dir / CONFIG}: the text encoder {settings.get('text_encoder')!r} runs "
                "code of its own. Read it, then pass trust_remote_code=True (on a command line "
                "--trust_remote_code=True, or --trust_remote_code of recbole-llm update)."
            )
        if torch.cuda.device_count() <= 1:
            settings["gpu_id"] = "0"  # whichever of its GPUs that machine used
        return LLMConfig(self.facts["model"], self.facts["dataset"], None, settings | changes)

    def config_for(
        self,
        *,
        model: str | None,
        dataset: str | None,
        files: Sequence[str],
        values: Mapping[str, Any],
        arguments: Mapping[str, str],
    ) -> LLMConfig:
        """Return the configuration to go on with, if what was asked for is what it was.

        Args are those of ``run_recbole``; what is not given is as stored.

        Raises:
            RequestError: If a setting that can change the numbers differs; all that do.
            RunDirError: If the data has changed.
        """
        given: dict[str, Any] = {}
        for file in files:
            given |= load_yaml(Path(file))
        given |= values
        given.pop("about", None)
        words = dict(arguments)
        names = {"model": model, "dataset": dataset}
        for key, name in names.items():
            found = [name, words.pop(key, None), given.pop(key, None), self.facts[key]]
            names[key] = next(one for one in found if one is not None)
        unsaid = {key: value for key, value in self.facts["settings"].items() if key not in words}
        config = LLMConfig(names["model"], names["dataset"], None, unsaid | given, arguments=words)
        self._require_same_settings(config.resolved)
        if "init_from" in words or given.get("init_from") is not None:
            self._require_same_source(config.resolved["init_from"])
        is_said = "trust_remote_code" in words or "trust_remote_code" in given
        return self.config(
            trust_remote_code=is_said and bool(config.resolved.get("trust_remote_code")),
            **free(config),
        )

    def processes(self, nproc: int | None) -> int:
        """Return the number of processes to go on with.

        Raises:
            RequestError: If another number is asked for.
        """
        before = int(self.facts.get("processes", 1))
        if nproc not in (None, before):
            raise RequestError(
                f"nproc: {self.run_dir} was trained by {before}; received {nproc}. "
                "Resume with as many."
            )
        return before

    def _require_same_settings(self, asked: Mapping[str, Any]) -> None:
        stored = self.facts["settings"]
        problems = [
            f"{key}: the run has {stored.get(key)!r}, received {asked.get(key)!r}."
            for key in sorted(stored.keys() | asked.keys())
            if key not in FREE and stored.get(key) != asked.get(key)
        ]
        if problems:
            place = f"{self.run_dir} cannot go on with other settings. Start a new run"
            raise RequestError(all_problems(place, problems))

    def _require_same_source(self, named: str | None) -> None:
        weights = None if named is None else Path(named) / WEIGHTS
        digest = sha256(weights) if weights is not None and weights.is_file() else None
        kept = (self.facts.get("source") or {}).get("weights_sha256")
        if digest != kept or (digest is None and weights is not None):
            raise RequestError(
                f"init_from: {self.run_dir} began with other weights than {weights}. Leave it out, "
                "or start a new run."
            )

    def _require_same_data(self, config: LLMConfig) -> None:
        read, here = dict(self.facts["data_sha256"]), data_sha256(config)
        if "more_sha256" in self.facts:  # older runs do not say it
            read |= self.facts["more_sha256"]
            here |= more_sha256(config)
        for name in sorted(read.keys() | here.keys()):
            if read.get(name) != here.get(name):
                raise RunDirError(
                    f"{Path(config['data_path']) / name}: is not the file that the run read (its "
                    "sha256 differs), so that ids and texts may differ. Restore it, or train again."
                )


def free(config: LLMConfig) -> dict[str, Any]:
    """Return the settings that may be others when a run goes on, its directory apart."""
    return {key: config.resolved[key] for key in FREE & config.resolved.keys() - {"run_dir"}}


def stored_run(run_dir: Path) -> StoredRun:
    """Read what a run's directory says of it.

    Raises:
        RunDirError: If the directory does not hold a run of ours.
    """
    if not run_dir.is_dir():
        raise RunDirError(f"{run_dir}: no such run directory. Name the run_dir of a run.")
    path = run_dir / CONFIG
    facts = read_json(path)
    kinds = {"model": str, "dataset": str, "settings": dict, "data_sha256": dict}
    for key, kind in kinds.items():
        if not isinstance(facts.get(key), kind):
            raise RunDirError(
                f"{path}: {key} must be a {kind.__name__}, received {facts.get(key)!r}."
            )
    return StoredRun(run_dir.resolve(), facts, _result(run_dir / RESULT))


def _result(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    stored = read_json(path)
    keys = (
        "model", "dataset", "seed", "best_valid_score", "valid_score_bigger", "best_valid_result",
        "test_result", "seconds", "epochs", "best_epoch", "run_dir",
    )  # fmt: skip
    return {key: stored.get(key) for key in keys}
