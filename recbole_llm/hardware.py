"""What the processor can do."""

from __future__ import annotations

import torch


def cpu_has_bf16() -> bool:
    """Tell whether the processor multiplies bf16 itself (AVX512-BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def amp_dtype(device_type: str) -> torch.dtype:
    """Return the type that mixed precision computes in: bf16, or float16 on a GPU without it."""
    has_bf16 = device_type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float16
