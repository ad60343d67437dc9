"""Cross-entropies under a softmax over all items, in bounded memory.

Letters: P positions with a target, N items (row 0 is padding), H item-vector size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from recbole_llm.model.repeats import Read

CPU_ROWS = 512  # positions whose scores are made together; more leave the processor's cache
MAX_CELLS = 2**26  # scores made together at most: 256 MiB in float32


def cross_entropy(
    interest: Tensor,
    table: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None,
    read: Read | None,
) -> Tensor:
    """Return the mean cross-entropy of scores that are made some positions at a time.

    Args:
        interest: ``(P, H)``, divided by the temperature.
        table: ``(N, H)``; row 0, padding, is no candidate.
        targets: ``(P,)``.
        weights: What each item counts for as a target, ``(N,)``; all alike if None.
        read: What was read before each target, if its scores have a bias.
    """
    rows = max(1, MAX_CELLS // (len(table) - 1))
    if interest.device.type == "cpu":
        rows = min(rows, CPU_ROWS)
    if read is not None:
        counted = torch.ones_like(interest[:, 0]) if weights is None else weights[targets]
        alike = read.similar
        if alike is not None:  # whose entries of the vectors cost three products of their size
            size = table.shape[1] - alike.units.shape[1]
            interest, table = interest[:, :size], table[:, :size]
        weight = interest.new_zeros(()) if alike is None else alike.weight
        numbers = torch.stack([read.bias, weight])
        sums: Tensor = ReadSoftmax.apply(interest, table, numbers, targets, counted, read, rows)
        return sums / len(targets)
    table, targets = table[1:], targets - 1  # padding is no candidate
    weights = None if weights is None else weights[1:]
    return _plain(interest, table, targets, weights=weights, rows=rows)


def _plain(
    interest: Tensor, table: Tensor, targets: Tensor, *, weights: Tensor | None, rows: int
) -> Tensor:
    if hasattr(functional, "linear_cross_entropy"):
        options = nn.LinearCrossEntropyOptions(
            batch_chunk_size=rows,
            allow_retain_graph=True,  # so that gradients can be asked for twice
        )
        if weights is None:
            return functional.linear_cross_entropy(interest, table, targets, options=options)
        total = functional.linear_cross_entropy(
            interest, table, targets, weight=weights, reduction="sum", options=options
        )
        return total / len(targets)
    # PyTorch before 2.14 lacks it: scores are made again for the gradient instead of being kept.
    parts = zip(interest.split(rows), targets.split(rows), strict=True)
    sums = [
        checkpoint(_summed, part, table, ids, weights, use_reentrant=False) for part, ids in parts
    ]
    return torch.stack(sums).sum() / len(targets)


def _summed(interest: Tensor, table: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    return functional.cross_entropy(interest @ table.T, targets, weight=weights, reduction="sum")


class ReadSoftmax(torch.autograd.Function):
    """The sum of cross-entropies under a softmax whose scores have a part by what was read.

    Scores are made for ``rows`` targets at a time, and their gradients with them, so that memory
    does not grow with P times N and gradients can be asked for twice.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx,
        interest: Tensor,
        table: Tensor,
        numbers: Tensor,
        targets: Tensor,
        weights: Tensor,
        read: Read,
        rows: int,
    ) -> Tensor:
        """Return the sum.

        Args:
            ctx: Keeps the gradients.
            interest: ``(P, H)``, divided by the temperature.
            table: ``(N, H)``; row 0, padding, is no candidate.
            numbers: The bias of what was read, and what cosines of texts are scaled by, ``(2,)``.
            targets: ``(P,)``.
            weights: What each target counts for, ``(P,)``.
            read: What was read before them.
            rows: Targets at a time.
        """
        to_interest, to_table = torch.empty_like(interest), torch.zeros_like(table)
        total, to_numbers = interest.new_zeros(()), torch.zeros_like(numbers)
        for begin in range(0, len(targets), rows):
            part = slice(begin, begin + rows)
            items, target = read.items(part), targets[part, None]
            scores = interest[part] @ table.T  # (p, N)
            scores.scatter_add_(1, items, numbers[0].expand(items.shape))
            cosines = None if read.similar is None else read.similar.cosines(part)
            if cosines is not None:
                scores.addcmul_(cosines, numbers[1])
            scores[:, 0] = -torch.inf
            logs = scores.log_softmax(1)
            total -= (logs.gather(1, target)[:, 0] * weights[part]).sum()
            slope = logs.exp_()  # of padding 0
            slope.scatter_add_(1, target, slope.new_full((), -1.0).expand(target.shape))
            slope *= weights[part, None]
            to_interest[part] = slope @ table
            to_table.addmm_(slope.T, interest[part])
            to_numbers[0] += slope.gather(1, items).sum()
            if cosines is not None:
                to_numbers[1] += torch.dot(slope.view(-1), cosines.view(-1))
        ctx.save_for_backward(to_interest, to_table, to_numbers)
        return total

    @staticmethod
    def backward(ctx, *slopes: Tensor):  # type: ignore[no-untyped-def]
        """Return the gradients of interests, table and the two numbers."""
        return (*(slopes[0] * one for one in ctx.saved_tensors), None, None, None, None)
