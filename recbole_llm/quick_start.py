"""From a request to a result: the one place where all parts meet.

``run_recbole`` and ``load_run`` have the signatures and returns of RecBole's ``run_recbole`` and
``load_data_and_model``; they run our models and RecBole's.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import set_color

from recbole_llm.build import build_model, prepare, trainer_class
from recbole_llm.compat import environment_table
from recbole_llm.config import LLMConfig
from recbole_llm.dataset_yaml import dataset_config_file, described_datasets
from recbole_llm.errors import RequestError, RunDirError, did_you_mean
from recbole_llm.files import write_json
from recbole_llm.launch import gpus_of, refuse_too_many, run_in_processes
from recbole_llm.log import no_log, run_log
from recbole_llm.provenance import data_sha256, more_sha256, provenance
from recbole_llm.ranks import write_ranks
from recbole_llm.recommend.keep import keep_catalogue
from recbole_llm.report import NO_REPORT, cold_items, named_ranks, report_of
from recbole_llm.resume import free, stored_run
from recbole_llm.run_dir import CONFIG, RESULT, STATE, UPDATES, WEIGHTS, create_run_dir
from recbole_llm.train.checkpoints import load_checkpoint
from recbole_llm.train.classification import report_table
from recbole_llm.train.engine import Engine
from recbole_llm.train.scalars import begin_wandb
from recbole_llm.train.world import current_world
from recbole_llm.transfer import find_source, keep_source


def run_recbole(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    saved: bool = True,
    queue: Any = None,
    *,
    arguments: Mapping[str, str] | None = None,
    resume: str | Path | None = None,
    nproc: int | None = None,
) -> dict[str, Any]:
    """Train a model on a dataset, test its best epoch, and keep the run in a directory of its own.

    Args:
        model: Name of a model of ours or of RecBole's.
        dataset: Name of a dataset.
        config_file_list: YAML files of settings.
        config_dict: Settings; they precede those of files.
        saved: Whether the best epoch is kept and tested, rather than the last one.
        queue: Receives the result too, for a caller in another process.
        arguments: Settings as raw strings, such as a command line's; they precede all others.
        resume: Directory of a run that was stopped, to go on with; settings need not be given
            again, and must not differ, nor the data. Of a finished run its result is returned.
        nproc: Number of processes, one a GPU, or on the CPU, that train together; 1, or as many as
            a resumed run had, by default.

    Returns:
        RecBole's keys (``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``,
        ``test_result``) and ``model``, ``dataset``, ``seed``, ``epochs``, ``best_epoch``,
        ``seconds``, ``run_dir``. ``best_valid_score`` is None where nothing was validated.

    Raises:
        RequestError: If the request is wrong: a key, a value, a file.
        NonFiniteError: If vectors, losses or scores are not finite.
    """
    if resume is not None:
        stored = stored_run(Path(resume))
        if stored.result is not None and stored.facts.get(UPDATES):
            return stored.result  # no dataset is its own
        config = stored.config_for(
            model=model,
            dataset=dataset,
            files=config_file_list or (),
            values=config_dict or {},
            arguments=arguments or {},
        )
        run_dir, nproc = stored.run_dir, stored.processes(nproc)
        if stored.result is not None:
            return stored.result
    else:
        config = LLMConfig(
            model, dataset, config_file_list, dict(config_dict or {}), arguments=arguments
        )
        nproc = 1 if nproc is None else nproc
        refuse_too_many(nproc, config)
        trainer_class(config)  # which refuses what its loop would not heed
        run_dir = _open_run_dir(config, nproc=nproc)
    if nproc > 1:
        trusted, changes = bool(config["trust_remote_code"]), free(config)
        how: dict[str, Any] = {"trust_remote_code": trusted, "changes": changes}
        how["gpus"] = gpus_of(config, nproc)
        try:
            result = run_in_processes(run_dir, size=nproc, saved=saved, **how)
        except KeyboardInterrupt:
            getLogger().warning(_interrupted(run_dir))
            raise
    else:
        result = run_here(config, run_dir=run_dir, saved=saved)
    if queue is not None:
        queue.put(result)
    return result


def run_here(config: LLMConfig, *, run_dir: Path, saved: bool) -> dict[str, Any]:
    """Run a configuration in this process, with its log, and return the result."""
    is_first = current_world().is_first
    log = run_log(run_dir / f"{run_dir.name}.log", level=config["state"]) if is_first else no_log()
    with log:
        for notice in config.notices:
            getLogger().info(notice)
        try:
            return _run(config, run_dir=run_dir, saved=saved)
        except KeyboardInterrupt:
            getLogger().warning(_interrupted(run_dir))
            raise


def _open_run_dir(config: LLMConfig, *, nproc: int) -> Path:
    """Make the run's directory and write its configuration, if there is data to run on."""
    if not Path(config["data_path"]).is_dir():
        name = config["dataset"]
        is_ours = dataset_config_file(name) is not None
        raise RequestError(
            f"data_path: {config['data_path']} is no folder. Name the one that holds {name}.inter, "
            "or its parent; ml-100k alone needs none."
            + ("" if is_ours else did_you_mean(name, described_datasets()))
        )
    source = find_source(config)
    if config["run_dir"] is None:
        root = Path(config["checkpoint_dir"])
        run_dir = create_run_dir(root, model=config["model"], dataset=config["dataset"])
    else:
        run_dir = Path(config["run_dir"]).resolve()
        if any((run_dir / name).exists() for name in (RESULT, WEIGHTS, STATE)):
            raise RequestError(
                f"run_dir: {run_dir} holds a run already. Name a new directory, or go on with "
                f"--resume={run_dir}."
            )
    config["run_dir"] = str(run_dir)
    facts = {"model": config["model"], "dataset": config["dataset"], "processes": nproc}
    facts |= {"settings": config.resolved, "data_sha256": data_sha256(config)}
    facts |= {"more_sha256": more_sha256(config)}
    facts |= {"source": None if source is None else source.facts}
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        if source is not None:
            keep_source(run_dir, source)
        write_json(run_dir / CONFIG, facts)
    except OSError as error:
        raise RequestError(f"run_dir: {run_dir} cannot be written ({error.strerror}).") from None
    return run_dir


def _interrupted(run_dir: Path) -> str:
    if (run_dir / STATE).exists():
        return f"Interrupted. All whole epochs are kept: run_recbole --resume={run_dir} goes on."
    return f"Interrupted. No epoch is kept: run_recbole --resume={run_dir} begins anew."


def _run(config: LLMConfig, *, run_dir: Path, saved: bool) -> dict[str, Any]:
    logger = getLogger()
    logger.info(config)
    begin_wandb(config)
    begin = time.perf_counter()
    dataset, train_data, valid_data, test_data = prepare(config)
    prepared = time.perf_counter()
    model = build_model(config, train_data)
    encoded = time.perf_counter()
    logger.info(model)

    trainer = trainer_class(config)(config, model)
    best_valid_score, best_valid_result = trainer.fit(
        train_data, valid_data, saved=saved, show_progress=config["show_progress"]
    )
    test_result = trainer.evaluate(
        test_data, load_best_model=saved, show_progress=config["show_progress"], with_lists=True
    )
    if isinstance(trainer, Engine) and test_result:  # a split may leave the test out
        trainer.wandblogger.log_test(test_result)
    trainer.tensorboard.close()
    about = provenance(config, model)  # before a report takes memory that training did not
    report = _report(trainer, config, train_data=train_data, test_data=test_data, run_dir=run_dir)
    _log_results(config, best_valid_result, test_result, report["classification"])
    result = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "best_valid_score": float(best_valid_score) if math.isfinite(best_valid_score) else None,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": _floats(best_valid_result),
        "test_result": _floats(test_result),
        "seconds": {"prepare": prepared - begin, "encode": encoded - prepared, **_seconds(trainer)},
        "epochs": len(trainer.epoch_seconds),
        "best_epoch": trainer.best_epoch,
        "run_dir": str(run_dir),
    }
    if current_world().is_first:
        source = None if dataset.source is None else dataset.source.facts
        facts = {"curve": trainer.curve, **report, **about, "source": source}
        facts["precision"] = trainer.precision
        if saved:  # the weights on disk are those that were tested
            keep_catalogue(run_dir, model=model, dataset=dataset)
        write_json(run_dir / RESULT, {"schema": 1, **result, **facts})
        (run_dir / STATE).unlink(missing_ok=True)
    return result


def _report(
    trainer: Any, config: LLMConfig, *, train_data: Any, test_data: Any, run_dir: Path
) -> dict[str, Any]:
    """Write the ranks of the last evaluation, if it left any, and return what it tells."""
    found = {"classification": trainer.evaluator.report}
    if trainer.ranking is None:
        return found | NO_REPORT
    parts = {"train": train_data.dataset, "test": test_data.dataset}
    ranks = named_ranks(trainer.ranking, **parts)
    write_ranks(run_dir, ranks)
    cold = cold_items(config, train_data.dataset)
    among_cold = None if cold is None else trainer.rank_among(test_data, cold)
    facts = {"config": config, "model": trainer.model, **parts}
    return found | report_of(trainer.ranking, ranks, among_cold=among_cold, **facts)


def _seconds(trainer: Any) -> dict[str, float]:
    epochs = trainer.epoch_seconds
    per_epoch = sum(epochs) / max(len(epochs), 1)
    return {"train": sum(epochs), "evaluate": trainer.evaluate_seconds, "per_epoch": per_epoch}


def _log_results(
    config: LLMConfig,
    valid: Mapping[str, Any],
    test: Mapping[str, Any],
    classification: Mapping[str, Any] | None,
) -> None:
    """Log what RecBole logs at the end of a run."""
    logger = getLogger()
    about = "The running environment of this training is as follows:\n"
    logger.info(about + environment_table(config["device"]))
    logger.info(set_color("best valid ", "yellow") + f": {_rounded(valid)}")
    logger.info(set_color("test result", "yellow") + f": {_rounded(test)}")
    if classification is not None:
        logger.info(f"test cases by class\n{report_table(classification)}")


def _floats(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (metrics or {}).items()}


def _rounded(metrics: Mapping[str, Any] | None) -> OrderedDict[str, float]:
    """Return metrics as RecBole's log shows them."""
    return OrderedDict((name, round(value, 4)) for name, value in _floats(metrics).items())


def load_run(
    run_dir: str | Path, *, trust_remote_code: bool = False
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Load a run as RecBole's ``load_data_and_model`` loads a checkpoint, but execute nothing.

    A run made on a GPU loads on a CPU, from any working directory.

    Args:
        run_dir: Directory of a run, as in a result's ``run_dir``.
        trust_remote_code: Whether a text encoder that runs code of its own may do so again; what
            the run's files say does not count.

    Returns:
        ``(config, model, dataset, train_data, valid_data, test_data)``.

    Raises:
        RunDirError: If the directory does not hold a run of ours, or its data has changed.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RunDirError(
            f"{run_dir}: not a run directory. RecBole's .pth files are pickles, which can run code,"
            " and are never opened; train the model again."
        )
    config = stored_run(run_dir).config(trust_remote_code=trust_remote_code)
    dataset, *loaders = prepare(config)
    model = build_model(config, loaders[0])
    load_checkpoint(run_dir / WEIGHTS, model, device=config["device"])
    model.eval()
    return (config, model, dataset, *loaders)
