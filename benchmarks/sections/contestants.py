"""A model with its data and its trainer, ours or as stock RecBole composes them.

``ours`` is what our command composes, ``stock`` what ``recbole.quick_start.run_recbole`` does: the
same steps, in which importing RecBole's models turns PyTorch's anomaly detection on for all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.config import LLMConfig
from recbole_llm.dataset_yaml import dataset_config_file
from recbole_llm.parsing import load_yaml

QUIET = {"show_progress": False, "state": "ERROR", "metric_decimal_place": 10}
WARM_UP = 2  # batches that are not timed where not all of an epoch's are


@dataclass(frozen=True)
class Contestant:
    """All that trains and evaluates.

    Attributes:
        prepare_seconds: Seconds of reading the data, encoding texts and building the model.
    """

    config: Any
    train: Any
    valid: Any
    test: Any
    model: Any
    trainer: Any
    prepare_seconds: float


def build(runner: str, model: str, dataset: str, settings: Mapping[str, Any]) -> Contestant:
    """Return a contestant; ``runner`` is ``ours`` or ``stock``."""
    begin = time.perf_counter()
    compose = {"ours": _ours, "stock": _stock}[runner]
    parts = compose(model, dataset, {**QUIET, **settings})
    return Contestant(*parts, prepare_seconds=time.perf_counter() - begin)


def _ours(model: str, dataset: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    config = LLMConfig(model, dataset, None, settings)
    _, train, valid, test = prepare(config)
    network = build_model(config, train)
    return config, train, valid, test, network, trainer_class(config)(config, network)


def _stock(model: str, dataset: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_logger, init_seed

    config = Config(model, dataset, None, same_data(dataset) | settings)
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = get_model(config["model"])(config, train.dataset).to(config["device"])
    return config, train, valid, test, network, Trainer(config, network)


def same_data(dataset: str) -> dict[str, Any]:
    """Return what our YAML of a dataset says that stock RecBole does not know of."""
    file = dataset_config_file(dataset)
    own = load_yaml(file) if file else {}
    own.pop("about", None)
    return own


def place(dataset: str, data_path: str) -> dict[str, Any]:
    """Return ``data_path`` as stock RecBole wants it: the parent of a folder named as the data."""
    if dataset == "ml-100k":  # it lies in RecBole's wheel
        return {}
    folder = Path(data_path).resolve()
    if (folder / f"{dataset}.inter").is_file():
        link = Path.cwd() / "data" / dataset  # a child's own folder
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(folder)
        folder = link.parent
    return {"data_path": str(folder)}


class FirstBatches:
    """The first batches of a loader, and the moments between them.

    Attributes:
        moments: When each batch was asked for, and when there were no more.
    """

    def __init__(self, loader: Any, number: int) -> None:
        self.loader, self.number = loader, min(number, len(loader))
        self.moments: list[float] = []

    def __len__(self) -> int:
        return self.number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        for _ in range(self.number):
            self.moments.append(time.perf_counter())
            yield next(batches)
        self.moments.append(time.perf_counter())

    def batch_seconds(self) -> float:
        """Return the seconds of a batch, those of the warm-up left out."""
        warm = self.moments[min(WARM_UP, self.number - 1) :]
        return (warm[-1] - warm[0]) / (len(warm) - 1)


@dataclass(frozen=True)
class Epoch:
    """What a training epoch took: its seconds, and how many batches it has."""

    seconds: float
    batches: int


def train(one: Contestant, batches: int | None = None) -> list[Epoch]:
    """Train for the epochs of the configuration and return what each took.

    Args:
        one: The contestant; it validates nothing and keeps nothing.
        batches: Batches trained an epoch, from which its seconds are extrapolated; None for all.
    """
    epochs = []
    train_epoch = one.trainer._train_epoch

    def timed(loader: Any, *args: Any, **kwargs: Any) -> Any:
        first = None if batches is None else FirstBatches(loader, batches)
        begin = time.perf_counter()
        losses = train_epoch(first or loader, *args, **kwargs)
        taken = time.perf_counter() - begin
        epochs.append(Epoch(first.batch_seconds() * len(loader) if first else taken, len(loader)))
        return losses

    one.trainer._train_epoch = timed
    one.trainer.fit(one.train, None, saved=False, verbose=False)
    return epochs
