"""A suite checked in seconds: every model, dataset and setting, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from glob import escape as glob_escape
from pathlib import Path
from typing import Any

from recbole_llm.bench.specs import RunSpec, expand
from recbole_llm.bench.suite import Head, ModelRow, Suite
from recbole_llm.bench.suite_file import read_suite
from recbole_llm.checks import problems_of
from recbole_llm.config import LLMConfig
from recbole_llm.dataset_yaml import dataset_config_file
from recbole_llm.errors import RequestError, all_problems, problems_in, unknown_name
from recbole_llm.eval_checks import rerank_problems
from recbole_llm.parsing import load_yaml
from recbole_llm.plugin import CLASSIFIERS
from recbole_llm.provenance import protocol_rules
from recbole_llm.ranking_metrics import RANK_METRICS
from recbole_llm.transfer_checks import reading_problems, source_problems

MOST = 3  # rows that a message names
DEFAULT_DATA = Path("dataset")  # RecBole's data_path


def is_suite(path: Path) -> bool:
    """Tell a suite from a YAML file of settings.

    Raises:
        RequestError: If the file cannot be read.
    """
    return bool({"models", "datasets"} & load_yaml(path).keys())


def check_suite(path: Path, *, data_path: Path | None = None) -> tuple[Suite, list[RunSpec]]:
    """Check a suite, and return it with its runs.

    Args:
        path: The YAML file.
        data_path: Where datasets that have no YAML of ours are looked for.

    Raises:
        RequestError: If anything is wrong; all problems at once.
    """
    suite, problems = read_suite(path)
    if suite is None:
        raise RequestError(all_problems(str(path), list(dict.fromkeys(problems))))
    runs, wrong = expand(suite, path)
    problems += wrong + _dataset_problems(suite, data_path)
    found = list(_layer_problems(suite))
    problems += [f"{place}: {text}" for place, text in found]
    problems += _run_problems(suite, runs, said={text for _, text in found})
    if problems:
        raise RequestError(all_problems(str(path), list(dict.fromkeys(problems))))
    return suite, runs


def has_data(dataset: str, data_path: Path | None) -> bool:
    """Tell whether a dataset's interactions are where a run would read them."""
    if dataset == "ml-100k":  # RecBole's wheel holds it
        return True
    folder = data_path or DEFAULT_DATA
    files = (f"{glob_escape(dataset)}.inter", f"{glob_escape(dataset)}.*.inter")
    return any(any(place.glob(file)) for place in (folder, folder / dataset) for file in files)


def _dataset_problems(suite: Suite, data_path: Path | None) -> list[str]:
    return [
        f"datasets: {unknown_name('dataset', name, _known_datasets())} Of your own, "
        f"{data_path or DEFAULT_DATA}/{name}/{name}.inter must be there: --data_path=FOLDER."
        for name in dict.fromkeys([*suite.datasets, *_source_datasets(suite)])
        if dataset_config_file(name) is None and not has_data(name, data_path)
    ]


def _source_datasets(suite: Suite) -> list[str]:
    return [source.dataset for source in suite.sources.values()]


def _known_datasets() -> list[str]:
    file = dataset_config_file("ml-100k")
    return [] if file is None else [one.stem for one in file.parent.glob("*.yaml")]


def _layer_problems(suite: Suite) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with each setting where it is written: the place and the problem."""
    layers = {"settings": suite.settings}
    layers |= {f"rulers.{name}": settings for name, settings in suite.rulers.items()}
    layers |= {f"datasets.{name}": settings for name, settings in suite.datasets.items()}
    layers |= {f"sources.{name}.settings": one.settings for name, one in suite.sources.items()}
    layers |= {f"encoders.{name}.settings": one.settings for name, one in suite.encoders.items()}
    rows: dict[str, Head | ModelRow] = {f"heads.{name}": one for name, one in suite.heads.items()}
    rows |= {f"models.{label}": row for label, row in suite.models.items()}
    for place, row in rows.items():
        layers[f"{place}.settings"] = row.settings
        for name, settings in row.settings_on.items():
            layers[f"{place}.settings_on.{name}"] = settings
    for place, settings in layers.items():
        for problem in problems_of(settings):
            yield place, problem


def _run_problems(suite: Suite, runs: list[RunSpec], *, said: set[str]) -> list[str]:
    """Return which rules the merged settings of runs break, each with the rows that do."""
    rows: dict[str, list[str]] = {}
    tables: dict[tuple[str | None, str], dict[str, dict[str, Any]]] = {}
    for run in _one_seed(runs):
        try:
            config = _table_config(run)
        except RequestError as error:
            for problem in problems_in(error):
                rows.setdefault(problem, []).append(run.title)
            continue
        tables.setdefault((run.ruler, run.dataset), {})[run.title] = protocol_rules(config)
        if suite.metric not in (names := _metrics(config)):
            problem = f"metric: {unknown_name('metric', suite.metric, names)}"
            rows.setdefault(problem, []).append(run.title)
    problems = [f"{_places(t)}: {problem}" for problem, t in rows.items() if problem not in said]
    return problems + [line for rules in tables.values() for line in _mixed(rules)]


def _table_config(run: RunSpec) -> LLMConfig:
    """Return the settings that measure a run: its own, or those of the run that it re-ranks.

    Raises:
        RequestError: If they are wrong, or it cannot begin with its source or re-rank that run.
    """
    own = _config_of(run)
    if (base := run.reranked) is None:
        return own
    if run.model not in CLASSIFIERS:
        words = f"rerank: {run.model} is no classifier. Use {', '.join(CLASSIFIERS)}."
        raise RequestError(all_problems(run.title, [words]))
    config = _config_of(base)
    if problems := rerank_problems(config.resolved, own.resolved):
        raise RequestError(all_problems(run.title, problems))
    return config


def _config_of(run: RunSpec) -> LLMConfig:
    """Return the configuration of a run, if it can be, and can begin with its source.

    Raises:
        RequestError: If it cannot; all that is wrong at once.
    """
    given, source = {**run.settings, "seed": run.seed}, run.source
    if source is None:
        return LLMConfig(run.model, run.dataset, None, given)
    first = LLMConfig(source.model, source.dataset, None, {**source.settings, "seed": source.seed})
    config = LLMConfig(run.model, run.dataset, None, {**given, "init_from": source.folder})
    problems = source_problems(
        first.resolved, config.resolved, source_model=source.model, model=run.model
    )
    problems += reading_problems(first.resolved, config.resolved)
    if problems:
        raise RequestError(all_problems(source.title, problems))
    return config


def _places(titles: list[str]) -> str:
    shown = "; ".join(titles[:MOST])
    return shown if len(titles) <= MOST else f"{shown} and {len(titles) - MOST} more"


def _one_seed(runs: Iterable[RunSpec]) -> Iterator[RunSpec]:
    seen = set()
    for run in runs:
        if run.skip is None and run.title not in seen:
            seen.add(run.title)
            yield run


def _metrics(config: LLMConfig) -> list[str]:
    """Return the metrics of ranks that a run has; those of lists sort no table."""
    names = [name.lower() for name in config["metrics"] if name.lower() in RANK_METRICS]
    cut = [f"{name}@{k}" for name in names if name != "gauc" for k in config["topk"]]
    return cut + ["gauc"] * ("gauc" in names)


def _mixed(rules: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield where rows of one table would be measured by different rules."""
    (first, those), *others = rules.items()
    for title, these in others:
        for key in these.keys() | those.keys():
            if these.get(key) != those.get(key):
                yield (
                    f"{title}: its {key} is {these.get(key)!r}, and that of {first} is "
                    f"{those.get(key)!r}. One table has one protocol."
                )
