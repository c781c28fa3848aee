"""onnxruntime behind one door: quiet, on few threads, and with its telemetry off before it is imported.

onnxruntime >= 1.29 phones home from its import on unless ``ORT_DISABLE_TELEMETRY`` is set before, so every
room that quantises or runs ONNX takes it from here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnx
import onnxruntime

from quantization.convert import ExportError

__all__ = ["OnnxModel", "as_run", "settled"]


class OnnxModel:
    """An ONNX file opened on the CPU."""

    def __init__(self, model: bytes, threads: int = 1) -> None:
        """Open ``model``.

        Raises:
            ExportError: onnxruntime cannot open it.
        """
        self._session = _session(model, _options(threads))
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in the file's order."""
        return [np.asarray(output) for output in self._session.run(None, dict(tensors))]


def as_run(model: bytes) -> onnx.ModelProto:
    """The graph as onnxruntime's CPU kernels run it: Q/DQ pairs fused into integer operators where it can.

    Without the last level of optimisation, which rewrites layouts for this very machine.

    Raises:
        ExportError: onnxruntime cannot open ``model``.
    """
    return _optimised(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)


def settled(model: bytes) -> onnx.ModelProto:
    """The same network in ONNX's own operators, with all folded that does not depend on the image.

    Raises:
        ExportError: onnxruntime cannot open ``model``.
    """
    return _optimised(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)


def _optimised(model: bytes, level: onnxruntime.GraphOptimizationLevel) -> onnx.ModelProto:
    options = _options(1)
    options.graph_optimization_level = level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        _session(model, options)
        return onnx.load(path)


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it warns of every weight that an old file does not use
    return options


def _session(model: bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base
        raise ExportError(f"onnxruntime cannot open the ONNX file: {error}") from error
