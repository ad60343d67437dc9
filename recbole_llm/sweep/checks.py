"""A sweep checked in seconds, before anything is prepared or trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from recbole.utils import ModelType
from recbole.utils import argument_list as recbole_arguments

from recbole_llm.build import trainer_class
from recbole_llm.checks import model_problems, problems_of
from recbole_llm.config import LLMConfig
from recbole_llm.dataset_yaml import dataset_config_file
from recbole_llm.errors import RequestError, all_problems, problems_in, unknown_name
from recbole_llm.parsing import load_yaml
from recbole_llm.plugin import CLASSIFIERS
from recbole_llm.sweep.points import corner_points, grid_points, is_drawn
from recbole_llm.sweep.selection import shapes_data
from recbole_llm.sweep.specs import Dimension, Sweep, read_sweep
from recbole_llm.train.engine import Engine
from recbole_llm.unread_checks import unread

# What a trained model can change without being built anew.
LIVE = (
    "learning_rate", "weight_decay", "dropout_prob", "hidden_dropout_prob", "attn_dropout_prob",
    "item_noise", "label_smoothing", "temperature", "augmentation_rate", "adversarial_weight",
    "adversarial_epsilon", "contrastive_weight", "contrastive_temperature",
)  # fmt: skip
PROTOCOL = (
    *recbole_arguments.dataset_arguments, *recbole_arguments.evaluation_arguments,
    "time_precision", "filter_seen", "eval_batch_cells", "encoding",
)  # fmt: skip
LENGTH_OF_TRAINING = ("epochs", "eval_step")
ONLY_OF_SWEEPS = (
    "space", "budget", "searcher", "scheduler", "resources", "concurrency", "finalists",
    "points_to_evaluate",
)  # fmt: skip
CANNOT_BE_SWEPT = "model: {} is not trained in our loop, and cannot be swept."
OF_ROOM = ("eval_batch_size", "eval_batch_cells")  # they change no number


def is_sweep(path: Path) -> bool:
    """Tell a sweep from other YAML files of ours.

    Raises:
        RequestError: If the file cannot be read.
    """
    return not load_yaml(path).keys().isdisjoint(ONLY_OF_SWEEPS)


def check_sweep(path: Path, *, data_path: Path | None = None) -> Sweep:
    """Check a sweep and return it.

    Args:
        path: The YAML file.
        data_path: Where a dataset that has no YAML of ours is looked for.

    Raises:
        RequestError: If anything is wrong; all problems at once.
    """
    sweep, problems = read_sweep(path)
    if sweep is not None:
        if dataset_config_file(sweep.dataset) is None and data_path is None:
            problems.append(
                f"dataset: {sweep.dataset!r} has no YAML of ours. Name the folder it lies in with "
                "--data_path=FOLDER."
            )
        problems += [
            f"settings.{name}: says how is measured, and the best YAML would hold it. Set it in "
            "protocol."
            for name in sweep.settings
            if name in PROTOCOL and name not in OF_ROOM
        ]
        problems += _condition_problems(sweep)
        problems += _model_problems(sweep.model) or _space_problems(sweep)
        problems += _grid_problems(sweep)
        problems += _point_problems(sweep)
        problems += [
            f"{place}: {problem}"
            for place in ("protocol", "settings")
            for problem in problems_of(getattr(sweep, place))
        ]
        problems = problems or list(_run_problems(sweep))
    if sweep is None or problems:
        raise RequestError(all_problems(str(path), list(dict.fromkeys(problems))))
    return sweep


def _model_problems(model: str) -> list[str]:
    """Return why a model is none that can be swept: there is no more to be said of it."""
    if model in CLASSIFIERS:
        return [CANNOT_BE_SWEPT.format(model)]
    return [f"model: {problem}" for problem in model_problems(model)]


def _space_problems(sweep: Sweep) -> Iterator[str]:
    for name, dimension in sweep.space.items():
        place = f"space.{name}"
        if name in PROTOCOL:
            yield f"{place}: says how is measured; trials would not compare. Set it in protocol."
        elif name in unread(sweep.model):
            yield f"{place}: {sweep.model} reads none; all its values would be one. Leave it out."
        elif name in LENGTH_OF_TRAINING:
            yield f"{place}: early stopping finds the best epoch. Set it in settings."
        elif sweep.scheduler.kind == "pbt" and name not in LIVE:
            yield f"{place}: pbt changes settings of a trained model, of which it is not."
        elif shapes_data(name) and dimension.values is None:
            yield f"{place}: each value needs vectors of its own. Use choice or int."


def _condition_problems(sweep: Sweep) -> Iterator[str]:
    above: dict[str, Dimension] = {}
    for name, dimension in sweep.space.items():
        for parent, value in dimension.when.items():
            place = f"space.{name}.when.{parent}"
            if parent not in above:
                yield f"{place}: {unknown_name('setting above it', parent, above)}"
            elif (found := above[parent].meanings(value)) == 2:
                yield f"{place}: is a value of {parent} and a list of some. Write [{value!r}]."
            elif found == 0:
                yield f"{place}: must be a value of {parent} or a list, received {value!r}."
        above[name] = dimension


def _grid_problems(sweep: Sweep) -> Iterator[str]:
    limit = sweep.budget.trials
    if sweep.searcher == "grid" and limit is not None:
        for _ in islice(grid_points(sweep), limit, limit + 1):
            yield (
                f"budget.trials: the grid has more than {limit} points, and all are visited. Leave "
                "trials out, or use searcher random."
            )


def _point_problems(sweep: Sweep) -> Iterator[str]:
    """Yield why points that are tried first are none of the space, or too many."""
    limit, number = sweep.budget.trials, len(sweep.points_to_evaluate)
    if limit is not None and number > limit:
        yield f"points_to_evaluate: {number} points are more than budget.trials, {limit}. Raise it."
    for place, point in enumerate(sweep.points_to_evaluate):
        for name in point.keys() - sweep.space.keys():
            unknown = unknown_name("setting of the space", name, sweep.space)
            yield f"points_to_evaluate.{place}: {unknown}"
        for name, dimension in sweep.space.items():
            at = f"points_to_evaluate.{place}.{name}"
            if not is_drawn(dimension, point):
                if name in point:
                    yield f"{at}: is drawn only when {dimension.when}. Leave it out."
            elif name not in point:
                yield f"{at}: is missing; a point has a value for each setting of the space."
            elif not dimension.holds(point[name]):
                ends = dimension.of_kind(dimension.kind)
                yield f"{at}: must be of {dimension.kind} {ends}, received {point[name]!r}."


def _run_problems(sweep: Sweep) -> Iterator[str]:
    """Yield which rules ends of the space, and points tried first, break; each with a point."""
    said: set[str] = set()
    held = {name for point in corner_points(sweep) for name in point}
    for name in sweep.space.keys() - held:
        yield f"space.{name}.when: cannot be met together with what it hangs on. Mend it."
    for point in chain(corner_points(sweep), sweep.points_to_evaluate):
        try:
            config = config_of(sweep, point)
            found = list(_config_problems(sweep, config))
        except RequestError as error:
            found = problems_in(error)
        for problem in found:
            key = problem.partition(":")[0]
            if key not in said:
                said.add(key)
                problem = problem.replace("valid_metric:", "metric:", 1)
                is_of_space = key in sweep.space
                yield f"space.{problem}" if is_of_space else f"{problem} (at {point})"


def config_of(
    sweep: Sweep, point: Mapping[str, Any], *, data_path: Path | None = None
) -> LLMConfig:
    """Return the configuration of a point, without regard to the machine.

    Raises:
        RequestError: If a setting is wrong.
    """
    settings = {**sweep.fixed, **point, "seed": sweep.seed}
    settings |= {} if data_path is None else {"data_path": str(data_path)}
    return LLMConfig(sweep.model, sweep.dataset, None, settings)


def _config_problems(sweep: Sweep, config: LLMConfig) -> Iterator[str]:
    if config["MODEL_TYPE"] not in (ModelType.SEQUENTIAL, ModelType.GENERAL) or not issubclass(
        trainer_class(config), Engine
    ):
        yield CANNOT_BE_SWEPT.format(sweep.model)
    if config["eval_step"] != 1:
        yield f"eval_step: must be 1: every epoch is validated, received {config['eval_step']}."
    if (drawn := _drawn_from_seed(config)) and sweep.finalists.seeds != [sweep.seed]:
        yield (
            f"finalists.seeds: must be [{sweep.seed}], the sweep's seed: the data is drawn from it "
            f"({drawn}), and a run under another would be tested on what the choice has seen. "
            f"Received {sweep.finalists.seeds}."
        )
    if sweep.scheduler.kind == "pbt" and config["lr_scheduler_type"] not in (None, "constant"):
        yield "lr_scheduler_type: pbt sets the learning rate itself. Use constant."


def _drawn_from_seed(config: LLMConfig) -> str:
    """Return which setting lets data or text vectors hang on the run's seed, or nothing."""
    if config["eval_args"].get("order") == "RO" and not config["benchmark_filename"]:
        return "eval_args.order: RO; with TO it is not"
    if (control := config["text_control"] or "none") != "none":
        return f"text_control: {control}"
    return ""
