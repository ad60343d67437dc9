"""What says that memory ran out, in the words that PyTorch and the runtimes say it in."""

from __future__ import annotations

import pytest
import torch

from recbole_llm.hardware import is_out_of_memory


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
