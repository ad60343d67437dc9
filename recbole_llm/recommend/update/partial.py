"""``fit_partial``: a finished run goes on with new events, and becomes a new run."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import init_seed

from recbole_llm.data.augment import training_augmenter, view_augmenter
from recbole_llm.data.replay import ReplaySampler
from recbole_llm.errors import DataError, RequestError
from recbole_llm.files import sha256, write_json
from recbole_llm.log import run_log
from recbole_llm.model.base import InterestModel
from recbole_llm.provenance import commit
from recbole_llm.recommend.catalogue import Catalogue, read_catalogue, write_catalogue
from recbole_llm.recommend.update.events import read_new_events, with_events
from recbole_llm.recommend.update.grown import (
    grown_model,
    require_complete,
    require_continuable,
    with_items,
)
from recbole_llm.resume import StoredRun, stored_run
from recbole_llm.run_dir import CONFIG, STATE, UPDATES, WEIGHTS, create_run_dir
from recbole_llm.settings import Settings
from recbole_llm.train.checkpoints import load_checkpoint, vector_digests
from recbole_llm.train.scorers import identical_items
from recbole_llm.train.trainer import InterestTrainer

UPDATE = "update.json"
EPOCHS = 5
FEW = 100  # new targets, of which a warning is given
FEW_TARGETS = (
    "%s: only %d targets are new. So few can move the lists of all users: keep the old run beside, "
    "or wait for more events, or set a lower learning_rate or a higher replay."
)
UNEVALUATED = {"metrics": ["NDCG"], "topk": [1], "valid_metric": "NDCG@1"}  # need no data
FROM_THE_FIRST = {"warmup_steps": 0}  # an update may have fewer steps than a run's warm-up


@dataclass(frozen=True)
class Update:
    """A run, what it was told, and what becomes of it.

    Attributes:
        stored: The run that goes on.
        before: What it kept.
        grown: The same with new events, users and items; the vectors are those of before.
        config: Its configuration with the settings of the update.
        replay: Old targets for each new one.
    """

    stored: StoredRun
    before: Catalogue
    grown: Catalogue
    config: Any
    replay: float

    def windows(self) -> ReplaySampler:
        """Return what is trained on."""
        settings, config = Settings.from_config(self.config), self.config
        ends = self.grown.ends.numpy()
        starts = np.concatenate([[0], ends[:-1]])
        counts, old = ends - starts, np.zeros_like(ends)
        old[: len(self.before.ends)] = np.diff(self.before.ends.numpy(), prepend=0)
        num_old = np.maximum(old - 1, 0)
        return ReplaySampler(
            items=self.grown.events.long(),
            starts=starts,
            num_old=num_old,
            num_new=np.maximum(counts - 1, 0) - num_old,
            replay=self.replay,
            max_length=config["MAX_ITEM_LIST_LENGTH"],
            overlap=settings.window_overlap,
            batch_size=config["train_batch_size"],
            seed=config["seed"],
            accumulation=settings.gradient_accumulation_steps,
            augmenter=training_augmenter(settings),
            view_augmenter=view_augmenter(settings),
        )


def fit_partial(
    run_dir: str | Path,
    inter: str | Path,
    *,
    items: str | Path | None = None,
    out: str | Path | None = None,
    epochs: int = EPOCHS,
    replay: float = 1.0,
    learning_rate: float | None = None,
    train_batch_size: int | None = None,
    seed: int | None = None,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Train a finished run on new events and on a sample of the old ones, into a new run directory.

    Each new event is a target once an epoch, with what its user did before as context; no old event
    is one but those that are replayed. Nothing is validated, and the last epoch is kept. The old
    run stays as it is, and its data is not read (docs/updating.md).

    Args:
        run_dir: Directory of a finished run of one of our models, or of one that was updated.
        inter: An ``.inter`` file of the events since, with the run's columns.
        items: An ``.item`` file of items that the run does not know, with the run's columns.
        out: The new directory; one beside the old run's by default.
        epochs: Passes over the new events.
        replay: Old targets for each new one, drawn anew each epoch; 0 replays none.
        learning_rate: As the run's was by default, with a new optimizer and no warm-up.
        train_batch_size: Windows a batch; as the run's by default.
        seed: Of dropout, order and replay; the run's by default.
        trust_remote_code: Whether a text encoder that runs code of its own may do so again.

    Returns:
        ``run_dir``, ``model``, ``dataset``, ``updates`` (the settings and files of this update,
        behind those of earlier ones), counts of new events, targets, users and items and of
        replayed targets an epoch, ``seconds`` and ``commit``; also in ``update.json``.

    Raises:
        RequestError: If the run cannot go on, or a file or a setting will not do.
        NonFiniteError: If a loss is not finite.
    """
    begin = time.perf_counter()
    is_number = isinstance(replay, int | float) and not isinstance(replay, bool)
    if not (is_number and 0 <= replay < math.inf):
        raise RequestError(f"replay: must be a number from 0 on, received {replay!r}.")
    if epochs == 0:
        raise RequestError("epochs: must be 1 or more, received 0.")
    stored = stored_run(Path(run_dir))
    require_continuable(stored)
    given = {"learning_rate": learning_rate, "train_batch_size": train_batch_size, "seed": seed}
    changes = {key: value for key, value in given.items() if value is not None}
    config = stored.settings_here(
        trust_remote_code=trust_remote_code, epochs=epochs, **changes, **UNEVALUATED,
        **FROM_THE_FIRST,
    )  # fmt: skip
    files = {"inter": Path(inter)} | ({} if items is None else {"items": Path(items)})
    update = _update(stored, files, config=config, replay=replay)
    windows = update.windows()
    if not windows.num_new.any():
        raise DataError(
            f"{inter}: every event is the first of its user, so that there is nothing to learn "
            "from. Wait for more events."
        )
    if (few := windows.num_new.sum()) < FEW:
        getLogger().warning(FEW_TARGETS, inter, few)
    init_seed(config["seed"], config["reproducibility"])
    model = grown_model(stored, update.before, update.grown, config=config)
    place = _new_directory(stored, out)
    facts = _facts(update, files)
    _train(update, model, windows, place=place, facts=facts)
    result = {
        "run_dir": str(place),
        **{key: facts[key] for key in ("model", "dataset", UPDATES)},
        **_counts(update, windows),
        "seconds": time.perf_counter() - begin,
        "commit": commit(),
    }
    write_json(place / UPDATE, result)
    return result


def _update(stored: StoredRun, files: Mapping[str, Path], *, config: Any, replay: float) -> Update:
    """Read what the run kept and the new files."""
    place = str(stored.run_dir)
    before = read_catalogue(stored.run_dir)
    require_complete(before, Settings.from_config(config), place=place)
    grown = before
    if "items" in files:
        grown = with_items(before, files["items"], config=config, place=place)
    new = read_new_events(files["inter"], grown, config=config)
    return Update(stored, before, with_events(grown, new), config, replay)


def _new_directory(stored: StoredRun, out: str | Path | None) -> Path:
    """Make the new run's directory.

    Raises:
        RequestError: If it cannot be made, or holds something.
    """
    names = {key: stored.facts[key] for key in ("model", "dataset")}
    if out is None:
        return create_run_dir(stored.run_dir.parent, **names)
    place = Path(out).resolve()
    try:
        place.mkdir(parents=True, exist_ok=True)
        is_empty = not any(place.iterdir())
    except OSError as error:
        raise RequestError(f"out: {place} cannot be made ({error.strerror}).") from None
    if not is_empty:
        raise RequestError(f"out: {place} holds files already. Name a new directory.")
    return place


def _facts(update: Update, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the new run's ``config.json``; the settings stay those of the first training."""
    stored, config = update.stored, update.config
    names = ("epochs", "learning_rate", "train_batch_size", "seed")
    own = {
        "run": stored.run_dir.name,
        "weights_sha256": update.before.weights_sha256,
        **{f"{name}_sha256": sha256(path) for name, path in files.items()},
        **{name: config[name] for name in names},
        "replay": update.replay,
    }
    return {**stored.facts, UPDATES: [*stored.facts.get(UPDATES, []), own]}


def _train(
    update: Update,
    model: InterestModel,
    windows: ReplaySampler,
    *,
    place: Path,
    facts: Mapping[str, Any],
) -> None:
    """Train, and write what a run directory holds."""
    config = update.config
    config["run_dir"], config["checkpoint_dir"] = str(place), str(place.parent)
    write_json(place / CONFIG, {**facts, "settings": {**facts["settings"], "run_dir": str(place)}})
    with run_log(place / f"{place.name}.log", level=config["state"]):
        getLogger().info(f"Update of {update.stored.run_dir}: {facts[UPDATES][-1]}")
        trainer = InterestTrainer(config, model)
        trainer.fit(windows, show_progress=config["show_progress"])
        trainer.tensorboard.close()
    load_checkpoint(place / WEIGHTS, model, device=config["device"])  # the average, if there is one
    (place / STATE).unlink()
    write_catalogue(place, _kept(update.grown, model, place=place))


@torch.no_grad()
def _kept(grown: Catalogue, model: InterestModel, *, place: Path) -> Catalogue:
    """Return the catalogue with the vectors of the trained model."""
    model.eval()
    twins, firsts = identical_items(model)
    return replace(
        grown,
        table=model.items.table(),
        twins=twins,
        firsts=firsts,
        digests=vector_digests(model),
        weights_sha256=sha256(place / WEIGHTS),
    )


def _counts(update: Update, windows: ReplaySampler) -> dict[str, int]:
    before, grown = update.before, update.grown
    targets = windows.windows.length - windows.windows.context  # of the last epoch
    new = int(windows.num_new.sum())
    return {
        "new_events": len(grown.events) - len(before.events),
        "new_targets": new,
        "replayed_targets": int(targets.sum()) - new,
        "new_users": len(grown.users) - len(before.users),
        "new_items": len(grown.items) - len(before.items),
    }
