"""The tables of our models and controls, and how plain RecBole finds them.

RecBole looks models, datasets and trainers up by name inside its own packages. One import hook
answers for ours, lazily: ``import recbole_llm`` imports neither RecBole nor torch.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

MODEL_PACKAGE = "recbole.model.sequential_recommender"


@dataclass(frozen=True)
class ModelEntry:
    """Where the parts of a model are, as ``module:name``."""

    model: str
    dataset: str = "recbole_llm.data.dataset:InterestDataset"
    trainer: str = "recbole_llm.train.trainer:InterestTrainer"


MODELS: Mapping[str, ModelEntry] = {
    f"LLMInterest{kind}": ModelEntry(f"recbole_llm.model.{kind.lower()}:LLMInterest{kind}")
    for kind in ("Linear", "RNN", "GRU", "LSTM", "Transformer")
}
UNTRAINED = "recbole_llm.train.untrained:UntrainedTrainer"
CONTROLS: Mapping[str, ModelEntry] = {  # nothing is trained: what a model must beat
    "LastItemTextKNN": ModelEntry("recbole_llm.model.text_knn:LastItemTextKNN", trainer=UNTRAINED),
    "Popularity": ModelEntry("recbole_llm.model.popularity:Popularity", trainer=UNTRAINED),
}
CLASSIFIERS: Mapping[str, ModelEntry] = {  # they tell whether an item is bought: context models
    "LLMInterestClassifier": ModelEntry(
        "recbole_llm.model.classifier:LLMInterestClassifier",
        dataset="recbole_llm.data.purchases:PurchaseDataset",
    )
}
OURS: Mapping[str, ModelEntry] = {**MODELS, **CONTROLS, **CLASSIFIERS}


def load(place: str) -> Any:
    """Import and return what ``module:name`` names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def properties_file(model: str) -> Path:
    """Return the file of a model's default settings."""
    return Path(__file__).parent / "properties" / "model" / f"{model}.yaml"


def run_recboles(rank: int, *args: Any) -> None:
    """Run RecBole in a spawned child; unpickling this function imports the plugin there."""
    import recbole.quick_start.quick_start

    recbole.quick_start.quick_start.recboles_own(rank, *args)


def _answer_for(suffix: str, part: str) -> Callable[[str], Any]:
    """Return a module ``__getattr__`` (PEP 562) that resolves ``<our model><suffix>``."""

    def resolve(name: str) -> Any:
        entry = OURS.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if entry is None:
            raise AttributeError(name)
        return load(getattr(entry, part))

    return resolve


def _answer_datasets(module: Any) -> None:
    module.__getattr__ = _answer_for("Dataset", "dataset")


def _answer_trainers(module: Any) -> None:
    module.__getattr__ = _answer_for("Trainer", "trainer")


def _mend_config(module: Any) -> None:
    from recbole_llm import compat

    compat.require_recbole()
    module.Config.compatibility_settings = lambda self: compat.apply()
    load_recboles = module.Config._load_internal_config_dict

    def load_defaults(self: Any, model: str, *args: Any) -> None:
        load_recboles(self, model, *args)
        if model in OURS:
            from recbole_llm.parsing import load_yaml

            self.internal_config_dict |= load_yaml(properties_file(model))

    module.Config._load_internal_config_dict = load_defaults


def _mend_spawn(module: Any) -> None:
    module.recboles_own = module.run_recboles
    module.run_recboles = run_recboles


AFTER_IMPORT: Mapping[str, Callable[[ModuleType], None]] = {
    "recbole.data.dataset": _answer_datasets,
    "recbole.trainer": _answer_trainers,
    "recbole.config.configurator": _mend_config,
    "recbole.quick_start.quick_start": _mend_spawn,
}


class _ModelLoader(importlib.abc.Loader):
    """Loads a module of RecBole's that holds one of our models."""

    def __init__(self, name: str, entry: ModelEntry) -> None:
        self.name, self.entry = name, entry

    def exec_module(self, module: ModuleType) -> None:
        """Put the model where RecBole looks for it; the class keeps its own module."""
        from recbole_llm import compat

        model_class = load(self.entry.model)
        compat.adapt_model(model_class)
        setattr(module, self.name, model_class)


class _ThenLoader(importlib.abc.Loader):
    """Loads a module as its own loader does, and then does something to it."""

    def __init__(self, own: Any, then: Callable[[ModuleType], None]) -> None:
        self.own, self.then = own, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module that the own loader makes."""
        module: ModuleType | None = self.own.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then the action."""
        self.own.exec_module(module)
        self.then(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)  # get_source and the like, for tracebacks


class PluginFinder(importlib.abc.MetaPathFinder):
    """Finds our models under RecBole's names and tends RecBole's modules as they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for the few names that concern us, None for all others."""
        package, _, last = fullname.rpartition(".")
        if package == MODEL_PACKAGE:
            for name, entry in OURS.items():
                if name.lower() == last:
                    return importlib.util.spec_from_loader(fullname, _ModelLoader(name, entry))
        if fullname in AFTER_IMPORT:
            spec = PathFinder.find_spec(fullname, path)
            if spec is not None:
                spec.loader = _ThenLoader(spec.loader, AFTER_IMPORT[fullname])
            return spec
        return None


def register() -> None:
    """Let plain RecBole find our models; more than once is as good as once."""
    if any(isinstance(finder, PluginFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, PluginFinder())
    for name, then in AFTER_IMPORT.items():
        if name in sys.modules:
            then(sys.modules[name])
