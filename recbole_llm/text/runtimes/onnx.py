"""Transformers in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_llm.text.backends import Run, Save

PACKAGES = ("onnxruntime",)
MODEL = "model.onnx"
BLOCK = 32  # weights and activations that share a scale


def converted(module: Any, values: tuple[Tensor, ...], *, is_int8: bool) -> Save:
    """Export a module with dynamic batch and length, its matrix products in int8 if asked.

    Activations are quantised in blocks of a token's own, so that a vector does not depend on the
    texts beside it, as it would with a scale a batch (ONNX Runtime's ``quantize_dynamic``).
    """
    from torch.export import Dim

    program: Any = torch.onnx.export(
        module,
        values,
        input_names=module.inputs,
        output_names=["states"],
        dynamic_shapes=(tuple({0: Dim.DYNAMIC, 1: Dim.DYNAMIC} for _ in values),),
        verbose=False,
    )
    if not is_int8:
        return lambda folder: program.save(folder / MODEL, external_data=True)
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        program.model_proto, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=4
    )
    quantizer.process()
    if not any(node.op_type == "MatMulNBits" for node in quantizer.model.graph().node):
        raise ValueError("none of its products is one that int8 knows.")
    return lambda folder: quantizer.model.save_model_to_file(
        str(folder / MODEL), use_external_data_format=True
    )


def load(folder: Path, *, precision: str) -> Run:
    """Return what runs an exported module; its file has its precision."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised
    session = onnxruntime.InferenceSession(
        str(folder / MODEL), options, providers=["CPUExecutionProvider"]
    )

    def run(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        states: np.ndarray = session.run(None, dict(arrays))[0]
        return states

    return run
