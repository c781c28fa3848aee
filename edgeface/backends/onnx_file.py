"""What an ONNX file says of itself, read without the `onnx` package: operators, and the grid of its image.

onnxruntime shows names, shapes and types, but neither the quantisation of the image nor where the weights
lie. A file may keep weights in other files, or name an address in this process' memory as their place: both
would run bytes that nobody has verified, so a file with such a weight is refused.

The format is protocol buffers (field numbers: onnx/onnx.proto of ONNX 1.23); only what is needed is read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Grid", "OnnxGraph", "read_onnx"]

# Message -> field -> the message that lies in it. Every way from a model to a tensor.
_NESTED = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_GRAPH, _NODE, _TENSOR = 7, 1, 5  # the fields of the model and of its graph that are read
_FLOAT, _UINT8, _INT8, _HALF = 1, 2, 3, 10  # TensorProto.DataType
_MAX_DEPTH = 16

_Field: TypeAlias = "tuple[int, int | memoryview]"


@dataclass(frozen=True, slots=True)
class Grid:
    """Quantisation of a tensor: real value = (stored - ``zero_point``) * ``scale``."""

    scale: float
    zero_point: int
    dtype: str


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """The main graph of a file: its operators in order, and the grid that its image is put on."""

    operators: tuple[str, ...]
    grid: Grid | None
    """Of the first ``QuantizeLinear`` that reads the image; None when the image stays float."""
    half: bool
    """Whether a weight is stored as float16."""

    @property
    def quantised(self) -> bool:
        """Whether any tensor is put on an integer grid."""
        return "QuantizeLinear" in self.operators

    @property
    def precision(self) -> str:
        """What the file computes in, by itself: ``int8``, ``float16`` or ``float32``."""
        if self.quantised:
            return "int8"
        return "float16" if self.half else "float32"


def read_onnx(artifact: bytes, image: str) -> OnnxGraph:
    """Read a file whose input is called ``image``.

    Raises:
        ValueError: it is no ONNX file, is damaged, or keeps weights outside itself.
    """
    try:
        _refuse_outside(memoryview(artifact), "model", 0)
        graphs = [value for field, value in _fields(memoryview(artifact)) if field == _GRAPH]
        if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
            raise ValueError("it holds no graph")
        return _graph(graphs[0], image)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("it is cut short or no ONNX file") from error


def _graph(data: memoryview, image: str) -> OnnxGraph:
    nodes: list[tuple[str, list[str]]] = []
    constants: dict[str, memoryview] = {}
    half = False
    for field, value in _fields(data):
        if not isinstance(value, memoryview):
            continue
        if field == _NODE:
            parts = list(_fields(value))
            operator = next((_text(part) for number, part in parts if number == 4), "")
            nodes.append((operator, [_text(part) for number, part in parts if number == 1]))
        elif field == _TENSOR:
            parts = list(_fields(value))
            name = next((_text(part) for number, part in parts if number == 8), "")
            constants[name] = value
            half = half or (2, _HALF) in parts
    reader = next((i for operator, i in nodes if operator == "QuantizeLinear" and i[:1] == [image]), None)
    grid = None if reader is None else _grid(reader, constants)
    return OnnxGraph(tuple(operator for operator, _ in nodes), grid, half)


def _grid(inputs: list[str], constants: dict[str, memoryview]) -> Grid:
    if len(inputs) < 2 or inputs[1] not in constants:
        raise ValueError("the scale of its image is no constant")
    kind, scale = _scalar(constants[inputs[1]])
    if kind != _FLOAT:
        raise ValueError("the scale of its image is no float")
    if len(inputs) < 3 or not inputs[2]:
        return Grid(scale, 0, "uint8")  # ONNX's own default
    if inputs[2] not in constants:
        raise ValueError("the zero point of its image is no constant")
    kind, zero_point = _scalar(constants[inputs[2]])
    if kind not in (_UINT8, _INT8):
        raise ValueError("its image is neither uint8 nor int8")
    return Grid(scale, int(zero_point), "uint8" if kind == _UINT8 else "int8")


def _scalar(tensor: memoryview) -> tuple[int, float]:
    """Type and value of a tensor of one element, in whichever of the three ways it is stored."""
    fields: dict[int, int | memoryview] = dict(_fields(tensor))
    kind = fields.get(2)
    raw, floats, integers = fields.get(9), fields.get(4), fields.get(5)
    if kind == _FLOAT:
        stored = raw if raw is not None else floats
        if isinstance(stored, memoryview):
            return _FLOAT, float(struct.unpack("<f", stored)[0])
    elif kind in (_UINT8, _INT8):
        if isinstance(raw, memoryview):
            return int(kind), int(struct.unpack("<B" if kind == _UINT8 else "<b", raw)[0])
        if isinstance(integers, memoryview):  # packed: one varint
            integers = _varint(integers, 0)[0]
        value = int(integers) if integers is not None else 0
        return int(kind), value - (1 << 64) if value >> 63 else value
    raise ValueError("a scale or zero point of its image is of an unknown type")


def _refuse_outside(data: memoryview, message: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    inner = _NESTED.get(message, {})
    for field, value in _fields(data):
        if message == "tensor" and field in (13, 14) and value != 0:
            raise ValueError("it keeps a weight outside the file; save it with all weights inside")
        if field in inner and isinstance(value, memoryview):
            _refuse_outside(value, inner[field], depth + 1)


def _fields(data: memoryview) -> Iterator[_Field]:
    """Number and value of every field: an integer, or the bytes of what has a length or is fixed."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == 2:
            length, position = _varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("it is no ONNX file")
        if length > len(data) - position:
            raise ValueError("it is cut short or no ONNX file")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("it is no ONNX file")


def _text(value: int | memoryview) -> str:
    return str(value, "utf-8") if isinstance(value, memoryview) else ""
