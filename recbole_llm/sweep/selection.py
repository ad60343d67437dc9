"""What a trial may see: the training and the validation part of the data, prepared once.

There is no test part here, and nothing in this package makes a loader of one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import init_seed

from recbole_llm.build import create_dataset, require_candidates
from recbole_llm.config import LLMConfig
from recbole_llm.data.events import EVENT
from recbole_llm.data.features import ItemVectors
from recbole_llm.data.modalities import ModalityVectors

SHAPES = (
    "item_features", "modalities", "empty_text", "min_text_coverage", "training", "train_share",
    "train_share_seed",
)  # fmt: skip
LEARNS = ("text_tuning", "text_learning_rate", "text_warmup_steps", "text_checkpointing")


@dataclass(frozen=True)
class SelectionData:
    """The parts of a dataset that selection needs, without any configuration.

    Attributes:
        train: The training part, a RecBole dataset.
        valid: The validation part.
        vectors: The text vectors of the catalogue, or None where no item feature is text.
        modalities: The vectors of other item features, which come in files.
    """

    train: Any
    valid: Any
    vectors: ItemVectors | None
    modalities: dict[str, ModalityVectors] | None

    @classmethod
    def prepare(cls, config: LLMConfig) -> SelectionData:
        """Read, split and encode a dataset, and drop the test part.

        Raises:
            RequestError: If the data, or a setting about it, is wrong.
        """
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        require_candidates(config, dataset)
        train, valid, test = dataset.build()
        _forget(train, valid, test)
        vectors = modalities = None
        if config["item_features"] is not None:
            modalities = train.modality_vectors()  # first: texts may take long
            vectors = train.item_vectors()
        for part in (train, valid):
            part.config = None
        return cls(train, valid, vectors, modalities)

    def loaders(self, config: LLMConfig) -> tuple[Any, Any]:
        """Return the loaders of training and validation under a trial's configuration."""
        train, valid = copy.copy(self.train), copy.copy(self.valid)
        for part in (train, valid):
            part.config = config
            part.given_vectors, part.given_modalities = self.vectors, self.modalities
        nothing = valid.copy(valid.inter_feat[:0])  # RecBole's samplers want three parts
        samplers = create_samplers(config, train, [train, valid, nothing])
        make_train, make_valid = (get_dataloader(config, phase) for phase in ("train", "valid"))
        return (
            make_train(config, train, samplers[0], shuffle=config["shuffle"]),
            make_valid(config, valid, samplers[1], shuffle=False),
        )


def _forget(train: Any, valid: Any, test: Any) -> None:
    """Take the targets of the test out of the events that flat datasets share."""
    if not hasattr(train, "events") or EVENT not in test.inter_feat:
        return
    columns = {name: values.clone() for name, values in train.events.interaction.items()}
    columns[train.iid_field][test.inter_feat[EVENT]] = 0
    train.events = valid.events = Interaction(columns)


def shapes_data(key: str) -> bool:
    """Tell whether each value of a setting needs data of its own."""
    if key.startswith(LEARNS):
        return False
    return key.startswith(("text_", "whitening")) or key in SHAPES
