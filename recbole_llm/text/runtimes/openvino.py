"""Transformers in OpenVINO."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_llm.errors import EncoderError
from recbole_llm.text.backends import Run, Save

PACKAGES = ("openvino", "nncf")
MODEL = "model.xml"
BLOCK = 64  # activations that share a scale


@contextmanager
def _unreported() -> Iterator[None]:
    """Keep OpenVINO and NNCF from reporting their use to their maker, as they do outside CI."""
    before = {name: os.environ.get(name) for name in ("CI", "NNCF_CI")}
    os.environ |= {"CI": "true", "NNCF_CI": "true"}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def converted(module: Any, values: tuple[Tensor, ...], *, is_int8: bool) -> Save:
    """Convert a module with dynamic batch and length, its weights to int8 if asked.

    Activations are then quantised when it runs, in blocks of a token's own: that takes no texts to
    calibrate by.
    """
    with _unreported():
        import openvino

        model = openvino.convert_model(module, example_input=values)
        for port, name in zip(model.inputs, module.inputs, strict=True):
            port.get_tensor().set_names({name})
        if is_int8:
            import nncf

            # nncf's own set_log_level would raise the level of whatever handlers listen to it too.
            logging.getLogger("nncf").setLevel(logging.ERROR)
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)

    def save(folder: Path) -> None:
        try:
            openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
        except RuntimeError as error:  # its words for a file that cannot be written
            raise OSError(str(error)) from None

    return save


@cache
def _core() -> Any:
    """Return the one core of this process.

    Each core of OpenVINO 2026.4 puts up a stack for the thread's signals, and puts back the one
    before when it goes. Of two, the first to go leaves the other to put back what is no longer
    there; the next signal, be it an interrupt or a child's end, then kills the process.
    """
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the file may go while the model is in use
    return core


def _request(folder: Path, options: Mapping[str, Any]) -> Any:
    """Return what runs an exported module.

    Raises:
        EncoderError: If memory ran out, and the file was of a folder that is gone.
    """
    if not (folder / MODEL).is_file():
        raise EncoderError(
            "text_backend: memory ran out, and the exported model could not be kept to begin "
            "again. Set text_cache_dir to a folder that can be written."
        )
    return _core().compile_model(folder / MODEL, "CPU", dict(options)).create_infer_request()


def load(folder: Path, *, precision: str) -> Run:
    """Return what runs an exported module in a precision."""
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": BLOCK if precision == "int8" else 0,
    }
    requests = [_request(folder, options)]

    def run(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        request = requests.pop() if requests else _request(folder, options)
        # Of OpenVINO 2026.4, calling the model keeps an error, such as memory that ran out, to
        # itself and returns the states of the call before.
        try:
            request.start_async(dict(arrays), share_inputs=True)
            request.wait()
        except RuntimeError as error:
            # The request is not used again: once memory ran out it may give other states. A kernel
            # of that shape that could not be made stays a broken promise in this process.
            if "Broken promise" in str(error):
                raise MemoryError(str(error)) from None
            raise
        states: np.ndarray = request.get_output_tensor(0).data.copy()
        requests.append(request)
        return states

    return run
