"""Tables of all items that are computed once a step or once an evaluation, never once a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class KeptTable(nn.Module):
    """A module that makes a table, and keeps it while nothing that it is made of can change.

    In an evaluation, which has no gradients, the table is kept until the mode is set again (an
    evaluation begins so), a tensor changes or the module moves. Versions alone would not do: a
    fused optimizer's step does not move them.

    Attributes:
        shares_graph: Whether a table with gradients is kept too, until its backward pass.
    """

    shares_graph = False

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[Any, Tensor] | None = None

    def compute(self) -> Tensor:
        """Return the table, made anew."""
        raise NotImplementedError(f"{type(self).__name__} must say how its table is computed")

    def table(self) -> Tensor:
        """Return the table."""
        is_evaluation = not self.training and not torch.is_grad_enabled()
        if not is_evaluation and not self.shares_graph:
            self._forget()  # a step may follow
            return self.compute()
        state = self._state()
        if self._kept is None or self._kept[0] != state:
            table = self.compute()
            if table.requires_grad:
                table.register_hook(self._forget)  # a graph is good for one backward pass
            self._kept = (state, table)
        return self._kept[1]

    def _state(self) -> Any:
        tensors = [*self.parameters(), *self.buffers()]
        versions = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        is_mixed = torch.is_autocast_enabled(tensors[0].device.type)
        return versions, torch.is_grad_enabled(), is_mixed

    def _forget(self, gradient: Tensor | None = None) -> None:
        self._kept = None

    def train(self, mode: bool = True) -> KeptTable:
        """Set the mode, as any module's; a table that is kept is forgotten."""
        self._forget()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> KeptTable:
        self._forget()  # .to, .half and the like
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}  # a copy computes its own
