"""What the machine can do, and what says that memory cannot."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from functools import cache
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
NO_MEMORY = (
    "out of memory", "can't alloc", "failed to allocate", "bad_alloc", "bad allocation",
    "alloc_failed",
)  # fmt: skip
MALLOC_PARAMETERS = {"M_MMAP_THRESHOLD": (-3, 2**30), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}
OWN_MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
NO_KERNEL = "could not create a primitive descriptor"
NO_PRIMITIVE = ("could not create a primitive", "could not execute a primitive")


def has_compiler() -> bool:
    """Tell whether a C++ compiler is there, g++ or what ``CXX`` names, for ``torch.compile``."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def cpu_has_bf16() -> bool:
    """Tell whether the processor multiplies bf16 itself (AVX512-BF16 or AMX)."""
    return _supports("avx512_bf16") or _supports("amx_tile")


@cache
def cpu_is_faster_in_bf16() -> bool:
    """Tell whether it multiplies bf16 faster than float32: by AMX, or by AMD's AVX512-BF16.

    That of Intel's is no faster than its float32, and autocast's copies come on top; a processor
    without AMX, or one whose virtual machine hides it, is best left to float32.
    """
    return _supports("amx_tile") or (cpu_has_bf16() and _is_amd())


def _supports(instructions: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{instructions}_supported", bool)())


def _is_amd() -> bool:
    return "AuthenticAMD" in (_cpu_facts() or platform.processor())


def _cpu_facts() -> str:
    """Return what Linux says of the processor, elsewhere nothing."""
    try:
        return CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return ""


def device_name(device: torch.device) -> str:
    """Return the model of a device, as ``NVIDIA H200`` or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = _cpu_facts().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def amp_dtype(device_type: str) -> torch.dtype:
    """Return the type that mixed precision computes in: bf16, or float16 on a GPU without it."""
    has_bf16 = device_type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float16


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in this process for the next ones; return whether it is so.

    Linux's C library gives large blocks back to the system, which clears every page of the next
    one: a step whose scores are some tens of megabytes waits for that. Up to 2 GiB are kept. What
    the environment says of memory (``MALLOC_TRIM_THRESHOLD_`` and the like) stands; other systems'
    libraries do as they do.
    """
    if sys.platform != "linux" or any(name in os.environ for name in OWN_MALLOC):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(mallopt(*one) for one in MALLOC_PARAMETERS.values())


def lacks_kernel(error: BaseException) -> bool:
    """Tell whether an error says that oneDNN has nothing for a type on this processor.

    Its LSTM computes in bf16 only with AVX-512 or newer; it says so when it is called.
    """
    return NO_KERNEL in str(error).lower()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or what lies behind it, says that memory ran out.

    PyTorch has a type for it on a GPU and Python one of its own; PyTorch on the processor, cuBLAS,
    ONNX Runtime and OpenVINO say it in words alone. oneDNN, behind PyTorch on the processor, gives
    no reason; where its words are all that an error says, memory is the likely one.
    """
    while error is not None:
        words = str(error).lower()
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if words in NO_PRIMITIVE or any(phrase in words for phrase in NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False
