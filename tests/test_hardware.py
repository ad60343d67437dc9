"""What says that memory ran out, in the words of PyTorch and the runtimes; memory that is kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from recbole_llm import hardware
from recbole_llm.hardware import (
    OWN_MALLOC,
    cpu_is_faster_in_bf16,
    is_out_of_memory,
    keep_freed_memory,
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 621794400 bytes. Error code 12 (Cannot allocate memory)"
        ),
        Exception(
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running "
            "FusedMatMul node. Status Message: bfc_arena.cc:360 void* onnxruntime::BFCArena::"
            "AllocateRawInternal Failed to allocate memory for requested buffer of size 4974355200"
        ),
        RuntimeError(
            "[CPU] Add node Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257:\n"
            "Failed to allocate 77875200 bytes of memory"
        ),
        RuntimeError("[CPU] FullyConnectedCompressed node with name 'MatMul' can't alloc"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_memory_that_ran_out_is_known_whoever_says_so(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = ValueError("Unable to create tensor")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("size mismatch for embeddings"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        ValueError("NaN"),
        OSError(28, "full"),
    ],
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


PAGES = """
import resource, torch
from recbole_llm.hardware import keep_freed_memory
if {keeps}:
    assert keep_freed_memory()
for _ in range({rounds}):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.empty(2**23).fill_(1) for _ in range(3)]
    del held
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_of_freed_tensors_is_kept() -> None:
    """Three tensors of 32 MiB are 24,576 pages; after some rounds they are there already."""
    clean = {key: value for key, value in os.environ.items() if key not in OWN_MALLOC}

    def pages(*, keeps: bool, rounds: int) -> int:
        command = [sys.executable, "-c", PAGES.format(keeps=keeps, rounds=rounds)]
        told = subprocess.run(command, env=clean, check=True, capture_output=True, text=True)
        return int(told.stdout.split()[-1])

    assert pages(keeps=True, rounds=8) < 100
    assert pages(keeps=False, rounds=2) > 10_000  # as the library does by itself


@pytest.mark.parametrize("name", OWN_MALLOC)
def test_what_the_environment_says_of_memory_stands(name: str, monkeypatch) -> None:
    monkeypatch.setenv(name, "1")
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("avx", "amx", "maker", "is_faster"),
    [
        (True, False, "AuthenticAMD", True),
        (True, False, "GenuineIntel", False),
        (True, True, "GenuineIntel", True),
        (False, False, "AuthenticAMD", False),
    ],
)
def test_bf16_is_chosen_where_it_is_faster(
    monkeypatch, tmp_path, avx, amx, maker, is_faster
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {maker}\n")
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    assert cpu_is_faster_in_bf16.__wrapped__() == is_faster
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(platform, "processor", lambda: f"Family 25, {maker}")  # as Windows says it
    assert cpu_is_faster_in_bf16.__wrapped__() == is_faster


def test_a_processor_has_the_name_that_linux_knows(tmp_path, monkeypatch) -> None:
    cpu, cpuinfo = torch.device("cpu"), tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "CPUINFO", cpuinfo)
    assert hardware.device_name(cpu) == platform.processor()
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU: 2 GHz\nmodel name\t: other\n")
    assert hardware.device_name(cpu) == "Some CPU: 2 GHz"
