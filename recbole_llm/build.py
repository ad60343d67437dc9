"""From a configuration to its parts: dataset, loaders, model, trainer."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from typing import Any

import torch
from recbole.data import data_preparation
from recbole.data import dataset as dataset_module
from recbole.utils import EvaluatorType, ModelType, get_trainer, init_seed

from recbole_llm import compat
from recbole_llm.checks import learns_windows
from recbole_llm.config import LLMConfig
from recbole_llm.data.dataset import InterestDataset, with_exact_order
from recbole_llm.data.seen import with_events
from recbole_llm.errors import DataError, RequestError
from recbole_llm.model.all_positions import with_all_positions
from recbole_llm.model.known import KnownSoftmax
from recbole_llm.model.text_embedding import TextEmbedding
from recbole_llm.plugin import CONTROLS, OURS
from recbole_llm.settings import Settings
from recbole_llm.train.engine import Engine
from recbole_llm.train.trainer import InterestTrainer, safe_trainer
from recbole_llm.transfer import begin_with, source_of

ENGINE_SETTINGS = (
    "gradient_accumulation_steps", "lr_scheduler_type", "warmup_steps", "ema_decay", "min_delta",
)  # fmt: skip


def create_dataset(config: LLMConfig) -> Any:
    """Return RecBole's dataset for the model, in exact time order; never from a pickle."""
    if learns_windows(config["model"], config["training"]):
        return InterestDataset(config)
    name = config["model"] + "Dataset"
    default = {
        ModelType.SEQUENTIAL: "SequentialDataset",
        ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
    }.get(config["MODEL_TYPE"], "Dataset")
    dataset_class = getattr(dataset_module, name, None) or getattr(dataset_module, default)
    is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    if is_sequential and not issubclass(dataset_class, InterestDataset):
        dataset_class = with_events(dataset_class)
    return with_exact_order(dataset_class)(config)


def prepare(config: LLMConfig) -> tuple[Any, Any, Any, Any]:
    """Return the dataset and its training, validation and test loaders."""
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    dataset.source = source_of(config)
    getLogger().info(dataset)
    require_candidates(config, dataset)
    loaders = data_preparation(config, dataset)
    require_histories(config, loaders)
    return (dataset, *loaders)


def require_histories(config: LLMConfig, loaders: Sequence[Any]) -> None:
    """Refuse rows of benchmark files with nothing to read; ours may be ranked, but teach nothing.

    Raises:
        DataError: If there are such rows.
    """
    for number, name in enumerate(config["benchmark_filename"] or ()):
        rows = loaders[number].dataset.inter_feat.interaction
        lengths = rows.get(config["ITEM_LIST_LENGTH_FIELD"])
        is_scored = number > 0 and config["model"] in OURS
        if lengths is not None and not is_scored and (empty := int((lengths == 0).sum())):
            column = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
            raise DataError(
                f"{config['dataset']}.{name}.inter: {column} is empty in {empty} of {len(lengths)} "
                f"rows, and {config['model']} needs a history there. Take them out."
            )


def require_candidates(config: LLMConfig, dataset: Any) -> None:
    """Refuse a list that is longer than the catalogue; metrics of values need no lists.

    Raises:
        RequestError: If ``topk`` asks for one.
    """
    most = max(config["topk"])
    if most >= dataset.item_num and config["eval_type"] == EvaluatorType.RANKING:
        raise RequestError(
            f"topk: at most the number of items, {dataset.item_num - 1}; received {most}."
        )


def build_model(config: LLMConfig, train_data: Any) -> Any:
    """Return the model on its device, with text or windows where a model of RecBole's has them."""
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    has_windows = learns_windows(config["model"], config["training"])
    model_class = with_all_positions(config.model_class) if has_windows else config.model_class
    model = model_class(config, train_data.dataset)
    compat.adapt_relations(model)
    if (source := getattr(train_data.dataset, "source", None)) is not None:
        begin_with(model, source)
    if config["model"] not in OURS:
        if config["item_features"] is not None:
            _give_text(model, train_data.dataset, settings=Settings.from_config(config))
        if not has_windows:
            _hold_out(model, train_data.dataset)
    return model.to(config["device"])


def _hold_out(model: Any, dataset: Any) -> None:
    """Keep the items that training must not know from being candidates in it, if there are any."""
    known = getattr(dataset, "known_items", None)
    if known is None:
        return
    loss = getattr(model, "loss_fct", None)
    if not isinstance(loss, torch.nn.CrossEntropyLoss):
        raise RequestError(
            f"eval_args.split, train_share: {type(model).__name__} draws negatives, or has a loss "
            "of its own, from which held-out items cannot be kept. Use loss_type CE, or a model "
            "that has it."
        )
    model.loss_fct = KnownSoftmax(loss, ids=known, num_items=dataset.item_num)


def _give_text(model: Any, dataset: Any, *, settings: Settings) -> None:
    """Put text in place of the item embedding of one of RecBole's models, if asked to."""
    vectors = dataset.item_vectors()
    if vectors is None:  # item_features: id
        return
    found = _item_embeddings(model, num_items=len(vectors.table))
    if "item_embedding" not in found:
        raise RequestError(
            f"item_features: {type(model).__name__} has no item_embedding to put text into; "
            "docs/text_in_recbole.md lists the models that have."
        )
    model.item_vectors = vectors
    use_id = "id" in settings.features
    made = {
        embedding: TextEmbedding(embedding=embedding, text=vectors.table, use_id=use_id)
        for embedding in found.values()
    }
    for name, embedding in found.items():
        if hasattr(embedding, "bias"):  # GRU4RecCPR takes it for a linear layer too
            made[embedding].bias = embedding.bias
        setattr(model, name, made[embedding])


def _item_embeddings(model: torch.nn.Module, *, num_items: int) -> dict[str, torch.nn.Embedding]:
    """Return a model's embeddings of items by name: read, ranked, or one under two names."""
    return {
        name: module
        for name, module in model._modules.items()
        if isinstance(module, torch.nn.Embedding)
        and "item" in name
        and module.num_embeddings >= num_items
        and module.embedding_dim > 1
    }


def trainer_class(config: LLMConfig) -> type:
    """Return the trainer of the model, with safe checkpoints and guards.

    Raises:
        RequestError: If a setting is given that this trainer's own loop would not heed.
    """
    if learns_windows(config["model"], config["training"]):
        return InterestTrainer
    found = safe_trainer(get_trainer(config["MODEL_TYPE"], config["model"]))
    if not issubclass(found, Engine):
        plain = {key: Settings.model_fields[key].default for key in ENGINE_SETTINGS}
        if unheeded := [key for key in plain if config[key] not in (None, plain[key])]:
            name = config["model"]
            why = "trains nothing" if name in CONTROLS else "trains in a loop of its own"
            raise RequestError(f"{', '.join(unheeded)}: {name} {why}. Leave it out.")
    return found
