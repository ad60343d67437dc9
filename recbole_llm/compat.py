"""Every work-around for RecBole 1.2.1 on today's stack, in one place.

Only RecBole's own names are replaced; nothing of NumPy, SciPy, PyTorch or pandas changes its
behaviour. Each work-around says why it is there, where upstream speaks of it, and when it may go.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import torch
from texttable import Texttable

from recbole_llm.errors import RequestError

RECBOLE = "1.2.1"
# GRU4RecKG and KSR have quick-start settings of their own (sequential_embedding_model.yaml), which
# leave out the split and the order that a sequence model needs. Until they do not.
# https://github.com/RUCAIBox/RecBole/blob/v1.2.1/recbole/config/configurator.py#L306
WITHOUT_ORDER = ("GRU4RecKG", "KSR")
SEQUENTIAL_ARGS = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
INSTALL = f"pip install --no-deps recbole=={RECBOLE}"


def require_recbole() -> None:
    """Check that RecBole is there, and a pandas that it can work with.

    Raises:
        RequestError: If not; the message says the command that helps.
    """
    try:
        metadata.version("recbole")
    except metadata.PackageNotFoundError:
        raise RequestError(
            f"recbole is not installed. Its own metadata forbids a current Ray, so run: {INSTALL}"
        ) from None
    pandas = metadata.version("pandas")
    if int(pandas.split(".")[0]) >= 3:
        # Copy-on-write makes RecBole's df[c].fillna(inplace=True) do nothing (dataset.py:501, 648).
        # https://github.com/pandas-dev/pandas/pull/53779 · until RecBole supports pandas 3
        raise RequestError(
            f"pandas {pandas} changes what RecBole {RECBOLE} reads. Run: pip install 'pandas<3'"
        )


def apply() -> None:
    """Apply the work-arounds that concern every run; more than once is as good as once."""
    add_numpy_names()
    # RecBole fills columns in place (dataset.py:501, 648, 650) and names torch.cuda.amp.GradScaler
    # (trainer.py:235), which works in the versions we allow and fills a screen with FutureWarnings.
    # Only what its own modules cause is hidden. https://github.com/pandas-dev/pandas/pull/53779
    # https://github.com/pytorch/pytorch/pull/126527 · until RecBole does neither
    for module in (r"recbole\.data\.dataset\.", r"recbole\.trainer\."):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
    # Two docstrings of dien.py hold a \p, of which every Python since 3.12 complains on the screen.
    # Until RecBole makes them raw strings.
    warnings.filterwarnings("ignore", message=r"(invalid escape sequence|\"\\p\" is an invalid)")
    import recbole.trainer.trainer as trainer

    trainer.early_stopping = strict_early_stopping
    trainer.dict2str = short_metrics


@contextmanager
def without_tensorboard() -> Iterator[None]:
    """Let trainers write no event files while the block runs."""
    import recbole.trainer.trainer as trainer

    before = trainer.get_tensorboard
    no_tensorboard()
    try:
        yield
    finally:
        trainer.get_tensorboard = before


def no_tensorboard() -> None:
    """Let trainers of this process write no event files; another process writes them.

    RecBole's trainer opens a SummaryWriter in its constructor, in each process of several
    (trainer.py:109). Until it asks for the rank first.
    """
    import recbole.trainer.trainer as trainer

    trainer.get_tensorboard = lambda logger: NoWriter()


class NoWriter:
    """A SummaryWriter that writes nothing."""

    def add_scalar(self, *args: Any) -> None:
        """Write nothing."""

    def add_hparams(self, *args: Any) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


def add_numpy_names() -> None:
    """Give NumPy the old names that RecBole's code still says.

    RecBole's Config writes ``np.float = np.float_`` and more, and NumPy 2 has no ``np.float_``: no
    model runs. ``np.bool`` and ``np.long`` are what NumPy 1.26 lacks. RecBole itself assigns these
    names, so that nothing new is in the namespace but for what is missing there.
    https://github.com/RUCAIBox/RecBole/issues/2187 · until a RecBole that does not say np.float.
    """
    names = {
        "bool": np.bool_,
        "float": np.float64,
        "int": np.int64,
        "long": np.int64,
        "str": np.str_,
    }
    for name, kind in names.items():
        if name not in vars(np):
            setattr(np, name, kind)


@contextmanager
def smallest_gain(min_delta: float) -> Iterator[None]:
    """Let trainers count an epoch as better by more than ``min_delta`` only, in the block."""
    import recbole.trainer.trainer as trainer

    before = trainer.early_stopping
    trainer.early_stopping = partial(strict_early_stopping, min_delta=min_delta)
    try:
        yield
    finally:
        trainer.early_stopping = before


def strict_early_stopping(
    value: float,
    best: float,
    cur_step: int,
    max_step: int,
    bigger: bool = True,
    *,
    min_delta: float = 0.0,
) -> tuple[float, int, bool, bool]:
    """Keep the first of equally good epochs, and count an equal one as no progress.

    One that is better by ``min_delta`` or less is as good. RecBole's compares with ``>=``, so that
    a constant metric never stops a run.
    https://github.com/RUCAIBox/RecBole/blob/v1.2.1/recbole/utils/utils.py#L137 · until it
    compares strictly.
    """
    is_better = value - best > min_delta if bigger else best - value > min_delta
    if is_better:
        return value, 0, False, True
    return best, cur_step + 1, cur_step + 1 > max_step, False


def short_metrics(result: dict[str, Any]) -> str:
    """Show metrics with four decimals, as RecBole does, which rounds the values themselves for it.

    https://github.com/RUCAIBox/RecBole/blob/v1.2.1/recbole/evaluator/base_metric.py · until
    it compares what it has not rounded.
    """
    return "    ".join(f"{metric} : {float(value):.4f}" for metric, value in result.items())


def environment_table(device: torch.device) -> str:
    """Show RecBole's table of the environment, without the second that it waits in every run.

    It looks for so long how busy the processors are; here it is since the process began, or since
    this was last asked.
    https://github.com/RUCAIBox/RecBole/blob/v1.2.1/recbole/utils/utils.py#L431 · until it
    does not wait.
    """
    from recbole.utils import get_gpu_usage

    used, whole = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    table = Texttable()
    table.set_cols_align(["l", "c"])
    table.add_rows(
        [
            ["Environment", "Usage"],
            ["CPU", f"{psutil.cpu_percent():.2f} %"],
            ["GPU", get_gpu_usage(device) if device.type == "cuda" else "0.0 / 0.0"],
            ["Memory", f"{used / 2**30:.2f} G/{whole / 2**30:.2f} G"],
        ]
    )
    return str(table.draw())


def adapt_model(model_class: type) -> None:
    """Mend what the import of a model of RecBole's has left behind.

    Importing any sequential model imports SINE, whose module turns PyTorch's anomaly detection on
    for the whole process (sine.py:25): each gradient of each model is searched for NaN. It is
    turned off again. Until SINE's module does not turn it on.
    https://github.com/RUCAIBox/RecBole/blob/v1.2.1/recbole/model/sequential_recommender/sine.py

    LightGCN, NGCF, GCMC, SpectralCF, NCL, KGIN and MCCLK call ``dok_matrix._update``, which SciPy
    1.13 removed. Their modules see a dok_matrix that has it; SciPy's own stays as it is.
    https://github.com/RUCAIBox/RecBole/issues/2034 · until RecBole builds a coo_matrix.
    """
    torch.autograd.set_detect_anomaly(False)
    module: Any = sys.modules[model_class.__module__]
    sparse: Any = getattr(module, "sp", None)
    if hasattr(sparse, "dok_matrix") and not hasattr(sparse.dok_matrix, "_update"):
        module.sp = _with_update(sparse)


def adapt_relations(model: Any) -> None:
    """Bring KSR's vectors of relations to float32.

    They are read as float64 (dataset.py:619) and multiplied by float32 (ksr.py:153), which PyTorch
    refuses. Until KSR makes them float32, as it makes those of entities.
    https://github.com/RUCAIBox/RecBole/blob/v1.2.1/recbole/model/sequential_recommender/ksr.py
    """
    if hasattr(model, "relation_Matrix"):
        model.relation_Matrix = model.relation_Matrix.float()


def _with_update(sparse: Any) -> SimpleNamespace:
    class UpdatableDok(sparse.dok_matrix):
        """A dok_matrix that takes a dictionary of cells, as SciPy's did before 1.13."""

        def _update(self, cells: dict[tuple[int, int], float]) -> None:
            rows, columns = np.array(list(cells)).T
            self[rows, columns] = list(cells.values())

    names = {name: getattr(sparse, name) for name in dir(sparse) if not name.startswith("_")}
    return SimpleNamespace(**names | {"dok_matrix": UpdatableDok})
