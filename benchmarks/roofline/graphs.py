"""Models of one operator, for LiteRT: cut out of a student, or made for a size, by LiteRT's own schema."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

__all__ = ["Operator", "convolution", "operators"]

_FILE_ID = b"TFL3"
_VERSION = 3
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_BYTES = {
    schema.TensorType.INT8: 1,
    schema.TensorType.UINT8: 1,
    schema.TensorType.INT32: 4,
    schema.TensorType.FLOAT32: 4,
}


@dataclass(frozen=True)
class Operator:
    """One operator of a student, or a PAD with its convolution.

    Attributes:
        name: Its kind and its output's shape.
        kind: As LiteRT's schema calls it.
        macs: Multiplications with an addition; 0 of what has none.
        bytes: Of its weights, inputs and outputs, each touched once.
        model: A .tflite file with it alone.
    """

    name: str
    kind: str
    macs: int
    bytes: int
    model: bytes


def operators(content: bytes) -> list[Operator]:
    """Every operator of a .tflite file, in its order."""
    whole = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = whole.subgraphs
    return [_cut(whole, graph, group) for group in _groups(whole, graph)]


def convolution(size: int, channels: int, kernel: int, *, quantised: bool) -> tuple[bytes, int]:
    """A convolution from ``channels`` to as many over ``size`` x ``size`` pixels, stride 1, and its MACs.

    Args:
        size: rows and columns.
        channels: in and out.
        kernel: rows and columns of it.
        quantised: int8, each output channel with a scale of its own; otherwise float.
    """
    rng = np.random.default_rng(0)
    image, weights = [1, size, size, channels], [channels, kernel, kernel, channels]
    if quantised:
        filled = rng.integers(-127, 128, weights).astype(np.int8)
        bias = np.zeros(channels, np.int32)
        kind, of_bias = schema.TensorType.INT8, schema.TensorType.INT32
    else:
        filled, bias = rng.normal(0, 0.05, weights).astype(np.float32), np.zeros(channels, np.float32)
        kind = of_bias = schema.TensorType.FLOAT32
    scales = [0.01] * channels
    tensors = [
        _tensor("image", image, kind, 0, [0.05] if quantised else []),
        _tensor("weights", weights, kind, 1, scales if quantised else []),
        _tensor("bias", [channels], of_bias, 2, [0.05 * scale for scale in scales] if quantised else []),
        _tensor("out", image, kind, 0, [0.05] if quantised else []),
    ]
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if quantised else 1
    buffers = [_buffer(None), _buffer(filled), _buffer(bias)]
    graph = _Graph([code], tensors, buffers, [operator], [0], [3])
    return graph.packed(), size * size * channels * channels * kernel * kernel


def _cut(whole: Any, graph: Any, group: list[Any]) -> Operator:
    """A group with its tensors; what has no content, and no maker in the group, is an input."""
    used = list(dict.fromkeys(i for one in group for i in (*one.inputs, *one.outputs) if i >= 0))
    place = {index: number for number, index in enumerate(used)}
    tensors, buffers = [], [_buffer(None)]
    for index in used:
        tensor = copy.copy(graph.tensors[index])
        content = whole.buffers[tensor.buffer].data
        tensor.buffer = 0 if content is None else len(buffers)
        if content is not None:
            buffers.append(_buffer(np.asarray(content)))
        tensors.append(tensor)
    alone = [copy.copy(one) for one in group]
    for number, one in enumerate(alone):
        one.inputs = [place.get(index, -1) for index in one.inputs]
        one.outputs = [place[index] for index in one.outputs]
        one.opcodeIndex = number
    made = {number for one in alone for number in one.outputs}
    read = dict.fromkeys(number for one in alone for number in one.inputs if number >= 0)
    inputs = [number for number in read if not tensors[number].buffer and number not in made]
    between = made - set(alone[-1].outputs)
    kind = " + ".join(_kind(whole, one) for one in group)
    out = graph.tensors[group[-1].outputs[0]].shape
    packed = _Graph(
        [whole.operatorCodes[one.opcodeIndex] for one in group],
        tensors,
        buffers,
        alone,
        inputs,
        list(alone[-1].outputs),
    )
    return Operator(
        f"{kind} {'x'.join(str(size) for size in out[1:])}",
        kind,
        sum(_macs(_kind(whole, one), graph, one) for one in group),
        sum(_size(tensor) for number, tensor in enumerate(tensors) if number not in between),
        packed.packed(),
    )


def _groups(whole: Any, graph: Any) -> list[list[Any]]:
    """One by one, but a PAD with the convolution that alone reads it: XNNPACK makes one of both."""
    groups: list[list[Any]] = []
    pads: dict[int, Any] = {}
    readers = [index for one in graph.operators for index in one.inputs]
    for one in graph.operators:
        kind = _kind(whole, one)
        if kind == "PAD" and readers.count(one.outputs[0]) == 1:
            pads[one.outputs[0]] = one
        elif one.inputs[0] in pads and kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            groups.append([pads.pop(one.inputs[0]), one])
        else:
            groups.append([one])
    # A pad whose reader is no convolution stands alone.
    return [*groups, *([pad] for pad in pads.values())]


def _kind(whole: Any, operator: Any) -> str:
    code = whole.operatorCodes[operator.opcodeIndex]
    return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _macs(kind: str, graph: Any, operator: Any) -> int:
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        return 0
    weights = [int(size) for size in graph.tensors[operator.inputs[1]].shape]
    out = [int(size) for size in graph.tensors[operator.outputs[0]].shape]
    if kind == "CONV_2D":
        return int(np.prod(out)) * int(np.prod(weights[1:]))
    if kind == "DEPTHWISE_CONV_2D":
        return int(np.prod(out)) * weights[1] * weights[2]
    if kind == "FULLY_CONNECTED":
        return int(np.prod(out[:-1])) * int(np.prod(weights))
    # Every input pixel meets every weight.
    image = graph.tensors[operator.inputs[2]].shape
    return int(np.prod(image)) * int(np.prod(weights[:-1]))


def _size(tensor: Any) -> int:
    return int(np.prod(tensor.shape)) * _BYTES.get(tensor.type, 4)


def _tensor(name: str, shape: list[int], kind: int, buffer: int, scales: list[float]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    if scales:
        quantisation = schema.QuantizationParametersT()
        quantisation.scale, quantisation.zeroPoint = scales, [0] * len(scales)
        quantisation.quantizedDimension = 0
        tensor.quantization = quantisation
    return tensor


def _buffer(content: np.ndarray | None) -> Any:
    buffer = schema.BufferT()
    buffer.data = None if content is None else content.reshape(-1).view(np.uint8)
    return buffer


@dataclass(frozen=True)
class _Graph:
    """What a file of one subgraph is made of; inputs and outputs are places in `tensors`."""

    codes: list[Any]
    tensors: list[Any]
    buffers: list[Any]
    operators: list[Any]
    inputs: list[int]
    outputs: list[int]

    def packed(self) -> bytes:
        """The .tflite file."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = self.inputs, self.outputs
        model = schema.ModelT()
        model.version, model.operatorCodes = _VERSION, self.codes
        model.subgraphs, model.buffers = [graph], self.buffers
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), _FILE_ID)
        return bytes(builder.Output())
