"""A causal transformer as an evolution layer.

Letters: B batch, L history length, H item-vector size, A attention heads, S size of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from recbole_llm.model.evolution import Evolution, SequenceDropout


def rotate(vectors: Tensor) -> Tensor:
    """Turn each pair of entries by an angle that grows with the position.

    Inner products of turned queries and keys depend on their distance only (RoPE: Su et al., 2021,
    arXiv 2104.09864), so that a window may begin anywhere in a history.

    Args:
        vectors: ``(B, A, L, S)``, S even.
    """
    length, size = vectors.shape[-2:]
    place = torch.arange(length, device=vectors.device, dtype=torch.float32)[:, None]  # (L, 1)
    pair = torch.arange(0, size, 2, device=vectors.device, dtype=torch.float32)  # (S / 2,)
    angle = place * 10_000.0 ** (-pair / size)  # (L, S / 2)
    cos, sin = angle.cos().to(vectors.dtype), angle.sin().to(vectors.dtype)
    one, other = vectors.chunk(2, dim=-1)
    return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


class CausalBlock(nn.Module):
    """Pre-norm causal attention and a gated MLP (SwiGLU: Shazeer, 2020, arXiv 2002.05202).

    Args:
        size: Width.
        num_heads: A.
        dropout: Share of an update zeroed in training.
    """

    def __init__(self, *, size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        inner = 8 * size // 3  # as many weights as an ungated MLP of four times the width
        self.num_heads = num_heads
        self.norm = nn.RMSNorm(size, elementwise_affine=False)  # a linear map follows each
        self.query_key_value = nn.Linear(size, 3 * size, bias=False)
        self.attention_out = nn.Linear(size, size, bias=False)
        self.gate_up = nn.Linear(size, 2 * inner, bias=False)
        self.down = nn.Linear(inner, size, bias=False)
        self.dropout = SequenceDropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Map ``(B, L, width)`` to the same shape; position t reads positions 0..t."""
        states = states + self.dropout(self._attend(self.norm(states)))
        gate, up = self.gate_up(self.norm(states)).chunk(2, dim=-1)
        return states + self.dropout(self.down(functional.silu(gate) * up))

    def _attend(self, states: Tensor) -> Tensor:
        heads = self.query_key_value(states).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, A, L, S) each
        mixed = functional.scaled_dot_product_attention(
            rotate(query), rotate(key), value, is_causal=True
        )
        return self.attention_out(mixed.transpose(1, 2).flatten(2))


class TransformerEvolution(Evolution):
    """A causal transformer over [E_u, X_u], its states mapped back to item vectors.

    Args:
        size: H.
        hidden_size: Width of the blocks, a multiple of twice ``num_heads``.
        num_layers: Number of blocks.
        num_heads: A.
        dropout: Share zeroed of each block's updates and before the output, in training.
        pooling: How E_u is pooled.
    """

    def __init__(
        self,
        *,
        size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
        pooling: str,
    ) -> None:
        super().__init__(pooling=pooling)
        self.input = nn.Linear(2 * size, hidden_size)
        self.blocks = nn.Sequential(
            *(
                CausalBlock(size=hidden_size, num_heads=num_heads, dropout=dropout)
                for _ in range(num_layers)
            )
        )
        self.norm = nn.RMSNorm(hidden_size, elementwise_affine=False)
        self.dropout = SequenceDropout(dropout)
        self.output = nn.Linear(hidden_size, size)

    def evolve(self, joined: Tensor) -> Tensor:
        """Run the blocks over the steps."""
        states = self.blocks(self.input(joined))  # (B, L, hidden_size)
        return self.output(self.dropout(self.norm(states)))
