"""The same scalars for TensorBoard and for Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole.utils.wandblogger import WandbLogger

from recbole_llm.errors import RequestError, first_line


class ScalarLogger(WandbLogger):
    """RecBole's logger for Weights & Biases, which tells TensorBoard the same.

    RecBole gives TensorBoard the loss and one validation metric, and W&B all of them. A scalar's
    name is ``train/train_loss``, ``valid/ndcg@10``, ``test/ndcg@10``; its step is the epoch.

    Args:
        config: RecBole's configuration; ``log_wandb`` says whether W&B hears of anything.
        tensorboard: The run's SummaryWriter.
    """

    def __init__(self, config: Any, tensorboard: Any) -> None:
        super().__init__(config)
        self.tensorboard = tensorboard
        self.epoch = 0

    def log_metrics(
        self, metrics: Mapping[str, Any], head: str = "train", commit: bool = True
    ) -> None:
        """Tell both what RecBole's trainer tells W&B of an epoch."""
        self.epoch = metrics.get("epoch", self.epoch)
        metrics = {name: _total(value) for name, value in metrics.items()} | {
            f"{head}_step": self.epoch  # RecBole counts validations, anew after a resume
        }
        super().log_metrics(metrics, head, commit)
        self._to_tensorboard(metrics, head)

    def log_eval_metrics(self, metrics: Mapping[str, Any], head: str = "eval") -> None:
        """Do nothing: RecBole calls this for validation, which is logged, and test alike."""

    def log_test(self, metrics: Mapping[str, Any]) -> None:
        """Tell both the test metrics of the best epoch."""
        super().log_eval_metrics(metrics, head="test")
        self._to_tensorboard(metrics, "test")

    def _to_tensorboard(self, metrics: Mapping[str, Any], head: str) -> None:
        for name, value in metrics.items():
            if name != "epoch" and not name.endswith("_step"):
                self.tensorboard.add_scalar(f"{head}/{name}", float(value), self.epoch)


def begin_wandb(config: Any) -> None:
    """Begin a run at Weights & Biases if ``log_wandb`` asks for one; trainers go on with it.

    Raises:
        RequestError: If wandb is not installed, or nobody is logged in.
    """
    if not config["log_wandb"]:
        return
    try:
        import wandb
    except ImportError:
        raise RequestError("log_wandb: needs wandb. Run: pip install wandb") from None
    try:
        WandbLogger(config)
    except wandb.errors.Error as error:
        raise RequestError(
            f"log_wandb: Weights & Biases says: {first_line(error)} Or set WANDB_MODE=offline, "
            "which writes to the folder wandb."
        ) from None


def _total(value: Any) -> float:
    return float(sum(value) if isinstance(value, tuple) else value)
