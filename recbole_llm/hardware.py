"""What the processor can do."""

from __future__ import annotations

import torch


def cpu_has_bf16() -> bool:
    """Tell whether the processor multiplies bf16 itself (AVX512-BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)
