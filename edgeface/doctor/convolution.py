"""A network of one convolution as an ONNX file, small enough to be written by hand.

A provider of onnxruntime that is listed may still not load, so it is asked to compute: a convolution needs
cuDNN, which a sum would not. The form is that of onnx/onnx.proto: fields by number, wire types 0 and 2.
"""

from __future__ import annotations

import struct

__all__ = ["INPUT", "OUTPUT", "SHAPE", "convolution"]

INPUT, OUTPUT = "x", "y"
SHAPE = (1, 1, 4, 4)
_FLOAT = 1  # TensorProto.DataType


def convolution() -> bytes:
    """The file: every value of the input, of `SHAPE`, times 2."""
    weight = _numbers(1, (1, 1, 1, 1)) + _number(2, _FLOAT) + _part(8, "w") + _part(9, struct.pack("<f", 2.0))
    node = _part(1, INPUT) + _part(1, "w") + _part(2, OUTPUT) + _part(4, "Conv")
    graph = (
        _part(1, node)
        + _part(2, "doctor")
        + _part(5, weight)
        + _part(11, _value(INPUT))
        + _part(12, _value(OUTPUT))
    )
    opset = _number(2, 13)
    return _number(1, 8) + _part(7, graph) + _part(8, opset)


def _value(name: str) -> bytes:
    shape = b"".join(_part(1, _number(1, size)) for size in SHAPE)
    tensor = _number(1, _FLOAT) + _part(2, shape)
    return _part(1, name) + _part(2, _part(1, tensor))


def _numbers(field: int, values: tuple[int, ...]) -> bytes:
    return b"".join(_number(field, value) for value in values)


def _number(field: int, value: int) -> bytes:
    """A field of wire type 0; every number here is below 128 and takes one byte."""
    return bytes([field << 3, value])


def _part(field: int, content: bytes | str) -> bytes:
    """A field of wire type 2: a text, or a message."""
    held = content.encode() if isinstance(content, str) else content
    size = len(held)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([field << 3 | 2]) + length + held
