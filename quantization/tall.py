"""The same network for frames that are higher than wide.

A convolution does not know the size of its maps, but a .tflite does: every shape is written in it. A detector
for 320 x 256 pixels shows a portrait photo at four fifths of the size that the same work would allow; with
rows and columns exchanged in the file it takes 256 x 320. Weights, scales and zero points stay the same to
the bit.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np

from .canonical import operator_name, read_model
from .convert import ExportError

__all__ = ["exchanged"]

_POINTWISE = {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "QUANTIZE", "RELU"}
"""Operators whose attributes say the same of rows and of columns here, which is checked."""
_SPATIAL = {"PAD": "pads", "RESIZE_BILINEAR": "size", "RESIZE_NEAREST_NEIGHBOR": "size"}
"""Operators whose second input is about rows and columns."""


def exchanged(tflite: bytes) -> bytes:
    """Return a fully convolutional ``tflite`` with rows and columns of every map exchanged.

    Raises:
        ExportError: an operator is not known to work as well with its rows and columns exchanged.
    """
    model = read_model(tflite)
    (graph,) = model.subgraphs
    turned: dict[int, int] = {}  # buffer -> the copy that is about the other order
    for operator in graph.operators:
        name, _ = operator_name(model, operator)
        if name not in _POINTWISE | _SPATIAL.keys() or not _square(operator.builtinOptions):
            raise ExportError(f"{name} cannot be had for maps with rows and columns exchanged")
        if name in _SPATIAL:
            told = graph.tensors[operator.inputs[1]]
            if told.buffer not in turned:
                copy = type(model.buffers[told.buffer])()
                copy.data = _swapped(model.buffers[told.buffer].data, _SPATIAL[name])
                turned[told.buffer] = len(model.buffers)
                model.buffers.append(copy)
    for tensor in graph.tensors:
        if tensor.buffer in turned:
            tensor.buffer = turned[tensor.buffer]
        elif (
            model.buffers[tensor.buffer].data is None and tensor.shape is not None and len(tensor.shape) == 4
        ):
            tensor.shape = _exchanged_shape(tensor.shape)
            if tensor.shapeSignature is not None and len(tensor.shapeSignature) == 4:
                tensor.shapeSignature = _exchanged_shape(tensor.shapeSignature)
    for old in turned:
        model.buffers[old].data = None
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _exchanged_shape(shape: Any) -> Any:
    return np.asarray(shape, np.int32)[[0, 2, 1, 3]]


def _swapped(data: Any, kind: str) -> Any:
    values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32)
    values = values[::-1] if kind == "size" else values.reshape(4, 2)[[0, 2, 1, 3]]
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def _square(options: Any) -> bool:
    pairs = (("strideH", "strideW"), ("dilationHFactor", "dilationWFactor"), ("filterHeight", "filterWidth"))
    return all(getattr(options, rows, 1) == getattr(options, columns, 1) for rows, columns in pairs)
