"""From the vectors that a feature comes with to vectors of the model's size.

Letters: N items, D size of the given vectors, H item-vector size, K experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ParametricWhitening(nn.Module):
    """W (x - b) with a learned shift b (UniSRec: Hou et al., 2022, arXiv 2206.05941).

    Differs in that W begins as ``nn.Linear`` does, so that adaptors can be compared.

    Args:
        in_size: D.
        size: H.
    """

    def __init__(self, *, in_size: int, size: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(in_size))
        self.map = nn.Linear(in_size, size, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map ``(N, D)`` to ``(N, H)``."""
        return self.map(vectors) - self.map(self.shift)  # no shifted copy of all vectors


class MixtureOfExperts(nn.Module):
    """Parametric whitenings mixed by a noisy softmax gate (UniSRec, arXiv 2206.05941).

    Expert k's share is softmax(x G + ε ⊙ (softplus(x S) + 0.01)) with ε standard normal in
    training and 0 otherwise. Differs in that dropout precedes the gate as well as the experts.

    Args:
        in_size: D.
        size: H.
        num_experts: K.
    """

    def __init__(self, *, in_size: int, size: int, num_experts: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            ParametricWhitening(in_size=in_size, size=size) for _ in range(num_experts)
        )
        self.gate = nn.Parameter(torch.zeros(in_size, num_experts))
        self.noise = nn.Parameter(torch.zeros(in_size, num_experts))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map ``(N, D)`` to ``(N, H)``."""
        logits = vectors @ self.gate  # (N, K)
        if self.training:
            spread = functional.softplus(vectors @ self.noise) + 0.01
            logits = logits + torch.randn_like(logits) * spread
        shares = logits.softmax(-1)
        outputs = torch.stack([expert(vectors) for expert in self.experts], 1)  # (N, K, H)
        return (shares[..., None] * outputs).sum(1)


def build_adaptor(
    kind: str, *, in_size: int, size: int, hidden_size: int, num_experts: int
) -> nn.Module:
    """Return the adaptor ``(N, D)`` to ``(N, H)`` that ``adaptor`` names.

    Args:
        kind: ``linear``, ``mlp``, ``whitening`` or ``moe``.
        in_size: D.
        size: H.
        hidden_size: Hidden width of ``mlp``.
        num_experts: Experts of ``moe``.
    """
    if kind == "mlp":
        return nn.Sequential(
            nn.Linear(in_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, size)
        )
    if kind == "whitening":
        return ParametricWhitening(in_size=in_size, size=size)
    if kind == "moe":
        return MixtureOfExperts(in_size=in_size, size=size, num_experts=num_experts)
    return nn.Linear(in_size, size)
