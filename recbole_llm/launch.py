"""One run in several processes: starting them, and hearing of their failures."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from recbole_llm import compat, errors
from recbole_llm.checks import learns_windows
from recbole_llm.config import LLMConfig
from recbole_llm.errors import RecBoleLLMError, RequestError
from recbole_llm.plugin import MODELS
from recbole_llm.run_dir import RESULT


def refuse_too_many(nproc: int, config: LLMConfig) -> None:
    """Refuse several processes where a model, or the machine, has no use for them.

    Raises:
        RequestError: If it does not learn from windows, or there are too few GPUs.
    """
    if nproc < 1:
        raise RequestError(f"nproc: must be at least 1, received {nproc}.")
    if nproc == 1:
        return
    training = config["training"]
    is_ours = config["model"] in MODELS and training == "all_positions"
    if not (is_ours or learns_windows(config["model"], training)):
        raise RequestError(
            f"nproc: several processes need training: all_positions; {config['model']} has "
            f"{training or 'prefixes'}. Use one process."
        )
    if config["benchmark_filename"]:
        raise RequestError(
            "nproc: several processes share windows; benchmark_filename brings histories of its "
            "own, which are trained as prefixes. Use one process."
        )
    gpus_of(config, nproc)


def gpus_of(config: LLMConfig, nproc: int) -> list[str]:
    """Return a GPU for each process, of those that ``gpu_id`` names; none on the CPU.

    Its default names the first ones.

    Raises:
        RequestError: If it names, or the machine has, too few.
    """
    if config["device"].type != "cuda":
        return []
    there = [str(number) for number in range(torch.cuda.device_count())]
    named = [one.strip() for one in config["gpu_id"].split(",")]
    gpus = [one for one in dict.fromkeys(there if named == ["0"] else named) if one in there]
    if len(gpus) < nproc:
        raise RequestError(
            f"nproc: {nproc} processes need as many GPUs; gpu_id names {', '.join(named)}, and "
            f"{len(there)} can be seen. --use_gpu=False trains on the CPU."
        )
    return gpus[:nproc]


def run_in_processes(
    run_dir: Path,
    *,
    size: int,
    gpus: Sequence[str],
    saved: bool,
    trust_remote_code: bool,
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """Run what a run's directory says in ``size`` processes and return the result.

    Args:
        run_dir: The directory.
        size: Number of processes.
        gpus: The GPU of each, or none.
        saved: Whether the best epoch is kept and tested.
        trust_remote_code: Whether an encoder that runs code of its own may do so.
        changes: Settings that differ from the directory's.

    Raises:
        RecBoleLLMError: What the first failing process raised, or that one died.
    """
    from recbole_llm.resume import stored_run

    problems = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        how = (size, list(gpus), saved, trust_remote_code, dict(changes))
        request = (str(run_dir), *how, f"{folder}/meet", problems)
        children: Any = mp.spawn(_work, args=request, nprocs=size, join=False)  # type: ignore
        try:
            while not children.join():
                pass
        except (ProcessExitedException, ProcessRaisedException) as error:
            if problems.empty():
                raise RecBoleLLMError(f"a process of {size} failed: {error}") from None
            kind, message = problems.get()
            raise getattr(errors, kind)(message) from None
        finally:
            for process in children.processes:
                process.terminate()
            for process in children.processes:
                process.join()
    result = stored_run(run_dir).result
    if result is None:
        raise RecBoleLLMError(f"{run_dir / RESULT}: the processes ended and left no result.")
    return result


def _work(
    rank: int,
    run_dir: str,
    size: int,
    gpus: list[str],
    saved: bool,
    trust_remote_code: bool,
    changes: dict[str, Any],
    meeting_point: str,
    problems: Any,
) -> None:
    """Be one of the processes; unpickling this function has imported the plugin."""
    from recbole_llm.quick_start import run_here
    from recbole_llm.resume import stored_run
    from recbole_llm.train.world import joined

    try:
        if rank > 0:
            changes |= {"show_progress": False, "log_wandb": False}
        if gpus:
            changes["gpu_id"] = gpus[rank]
        config = stored_run(Path(run_dir)).config(trust_remote_code=trust_remote_code, **changes)
        on_gpu = config["device"].type == "cuda"
        if on_gpu:
            torch.cuda.set_device(config["device"])
        else:
            torch.set_num_threads(max(1, torch.get_num_threads() // size))
        with joined(rank=rank, size=size, meeting_point=Path(meeting_point), on_gpu=on_gpu):
            if rank > 0:
                compat.no_tensorboard()
            run_here(config, run_dir=Path(run_dir), saved=saved)
    except RecBoleLLMError as error:
        problems.put((type(error).__name__, str(error)))
        sys.exit(error.exit_code)
