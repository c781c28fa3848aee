"""Will an Edge TPU take this network? A static answer, before any compiler or board is at hand.

The Edge TPU compiler maps the longest run of operators from the input on; the first operator it cannot
take, and everything computed from that, stays on the CPU. So one wrong operator in the middle is as bad as
a slow network, and this check names it, why, and what to build instead.

The rules come from Google's table of supported operators and their limits (coral.ai, "TensorFlow models on
the Edge TPU"), from the operator versions of TensorFlow 2.5, whose registry compiler 16.0 carries, and from
models the compiler is known to refuse (google-coral/edgetpu issues 31, 272, 353, 631, 845, 879). They are a
prediction: the compiler has the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from quantization.canonical import operator_name, read_model

__all__ = ["EdgeTpuReport", "OperatorFinding", "Problem", "check"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something does not map, and what to build or do instead."""

    reason: str
    mend: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.mend}"


@dataclass(frozen=True, slots=True)
class OperatorFinding:
    """One operator in graph order.

    ``problem`` is None for a mapped operator. One that is fine by itself, but computed from an
    unmapped one, has a problem too: the compiler ends its subgraph at the first that stays on the CPU.
    """

    index: int
    name: str
    version: int
    output_shape: tuple[int, ...]
    problem: Problem | None

    @property
    def mapped(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True)
class EdgeTpuReport:
    """What :func:`check` found. ``refusals`` are reasons for which the compiler refuses the whole file."""

    operators: tuple[OperatorFinding, ...]
    refusals: tuple[Problem, ...]

    @property
    def mapped(self) -> int:
        """Number of operators that would run on the Edge TPU."""
        return 0 if self.refusals else sum(finding.mapped for finding in self.operators)

    @property
    def fully_mapped(self) -> bool:
        """True when the compiler takes the file and every operator of it."""
        return not self.refusals and all(finding.mapped for finding in self.operators)

    def summary(self) -> str:
        """One line, then one line per refusal and per unmapped operator."""
        lines = [f"Edge TPU: {self.mapped} of {len(self.operators)} operators mapped"]
        lines += [f"  whole file refused: {problem}" for problem in self.refusals]
        lines += [
            f"  operator {f.index} {f.name} v{f.version} {list(f.output_shape)}: {f.problem}"
            for f in self.operators
            if f.problem is not None
        ]
        return "\n".join(lines)


def check(tflite: bytes) -> EdgeTpuReport:
    """Predict which operators of an int8 .tflite the Edge TPU compiler maps.

    Raises:
        ExportError: ``tflite`` is not a TFLite file with a graph.
    """
    model = read_model(tflite)
    graph = model.subgraphs[0]
    unmapped_tensors: set[int] = set()
    findings = []
    for index, operator in enumerate(graph.operators):
        name, version = operator_name(model, operator)
        problem = _own_problem(model, graph, operator, name)
        if problem is None and unmapped_tensors.intersection(int(i) for i in operator.inputs):
            problem = Problem("follows an unmapped operator", "mend that one first")
        if problem is not None:
            unmapped_tensors.update(int(i) for i in operator.outputs)
        shape = _shape(graph.tensors[operator.outputs[0]])
        findings.append(OperatorFinding(index, name, version, shape, problem))
    return EdgeTpuReport(tuple(findings), tuple(_refusals(tflite, model)))


# Newest version of each operator in TensorFlow 2.5 (lite/kernels/register.cc). A file that declares a newer
# one is refused as a whole.
_NEWEST_VERSION: Mapping[str, int] = {
    "ADD": 3, "ARG_MAX": 2, "AVERAGE_POOL_2D": 3, "BATCH_MATMUL": 4, "CAST": 1, "CONCATENATION": 3,
    "CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "DEQUANTIZE": 4, "EXP": 1, "FULLY_CONNECTED": 9, "GATHER": 5,
    "HARD_SWISH": 1, "LEAKY_RELU": 2, "LOGISTIC": 3, "MAXIMUM": 4, "MAX_POOL_2D": 3, "MEAN": 3,
    "MINIMUM": 4, "MUL": 4, "PACK": 3, "PAD": 3, "PADV2": 3, "PRELU": 1, "QUANTIZE": 2, "REDUCE_MAX": 3,
    "REDUCE_MIN": 3, "RELU": 3, "RELU6": 3, "RESHAPE": 1, "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4, "SLICE": 5, "SOFTMAX": 3, "SPLIT": 4, "SQUEEZE": 2, "STRIDED_SLICE": 5,
    "SUB": 5, "SUM": 2, "TANH": 3, "TRANSPOSE": 5, "TRANSPOSE_CONV": 3, "UNPACK": 4,
}  # fmt: skip

_NEWEST_OPERATOR = 132  # builtin codes above this appeared after TensorFlow 2.5

_SUPPORTED = frozenset({
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "EXPAND_DIMS",
    "FULLY_CONNECTED", "L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL",
    "PACK", "PAD", "PRELU", "QUANTIZE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1",
    "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH",
    "SPLIT", "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TILE", "TRANSPOSE",
    "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
})  # fmt: skip

_MEND: Mapping[str, str] = {
    "HARD_SWISH": "use ReLU or ReLU6",
    "LEAKY_RELU": "use ReLU or PRELU",
    "ARG_MAX": "return the logits and take the maximum on the host",
    "CAST": "return the int8 tensor and convert it on the host",
    "DEQUANTIZE": "return the int8 tensor and dequantise it on the host",
    "BATCH_MATMUL": "express it as a 1x1 convolution",
}

_MAX_RESIZE_FACTOR = 2.0
_MAX_RESIZE_ELEMENTS = 512 * 512 * 16


def _refusals(tflite: bytes, model: Any) -> list[Problem]:
    found = []
    if len(model.subgraphs) > 1:
        found.append(Problem(f"{len(model.subgraphs)} subgraphs", "export one graph without control flow"))
    raw = schema.Model.GetRootAs(tflite, 0)
    if any(raw.Buffers(i).Offset() > 1 for i in range(raw.BuffersLength())):
        found.append(Problem("weights outside the flatbuffer", "canonicalise the file"))
    for code in model.operatorCodes:
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = _CODE_NAMES.get(number, str(number))
        newest = _NEWEST_VERSION.get(name)
        if newest is not None and code.version > newest:
            reason = f"{name} v{code.version} is newer than the compiler's v{newest}"
            found.append(Problem(reason, _version_mend(name, code.version)))
        if number > _NEWEST_OPERATOR:
            found.append(
                Problem(f"operator {name} is newer than the compiler", "express it with older operators")
            )
    return found


_CODE_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def _version_mend(name: str, version: int) -> str:
    if name == "TRANSPOSE_CONV":
        return "put no ReLU straight after a transposed convolution, or use bilinear x2 and a convolution"
    if name == "FULLY_CONNECTED" and version >= 12:
        return "quantise it per tensor, or use a 1x1 convolution"
    if name == "CONV_2D":
        return "use a dense or a depthwise convolution instead of a grouped one"
    return "canonicalise the file"


@dataclass(frozen=True, slots=True)
class _Case:
    """What a rule looks at: one operator's options and tensors."""

    model: Any
    options: Any
    inputs: list[Any]
    outputs: list[Any]


_Rule = Callable[[_Case], "Problem | None"]


def _own_problem(model: Any, graph: Any, operator: Any, name: str) -> Problem | None:
    if name not in _SUPPORTED:
        return Problem(
            "not in the Edge TPU's operator table", _MEND.get(name, "build it from supported operators")
        )
    inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
    outputs = [graph.tensors[i] for i in operator.outputs]
    activations = [tensor for tensor in inputs if not _constant(model, tensor)] + outputs
    for tensor in activations:
        if tensor.type not in (schema.TensorType.INT8, schema.TensorType.UINT8):
            return Problem(f"tensor type {_TYPE_NAMES.get(tensor.type, tensor.type)}", "quantise it to int8")
        if tensor.shapeSignature is not None and any(int(side) < 0 for side in tensor.shapeSignature):
            return Problem("dynamic shape", "export with static shapes")
        if any(side != 1 for side in _shape(tensor)[:-3]):
            return Problem("batch above 1, or more than three dimensions", "export with batch 1")
    rule = _RULES.get(name)
    return rule(_Case(model, operator.builtinOptions, inputs, outputs)) if rule is not None else None


_TYPE_NAMES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}


def _fully_connected(case: _Case) -> Problem | None:
    scale = case.inputs[1].quantization.scale if case.inputs[1].quantization is not None else None
    if scale is not None and len(scale) > 1:
        return Problem(
            "per-channel fully connected layer", "quantise it per tensor, or use a 1x1 convolution"
        )
    if sum(side > 1 for side in _shape(case.outputs[0])) > 1:
        return Problem("fully connected layer with more than one row", "use a 1x1 convolution")
    return None


def _convolution(case: _Case) -> Problem | None:
    if case.options.dilationHFactor != case.options.dilationWFactor:
        return Problem("dilation differs between x and y", "use one dilation")
    return None


def _dense_convolution(case: _Case) -> Problem | None:
    if _shape(case.inputs[0])[3] != _shape(case.inputs[1])[3]:
        return Problem("grouped convolution", "use a dense or a depthwise one")
    return _convolution(case)


def _no_activation(case: _Case) -> Problem | None:
    if case.options.fusedActivationFunction:
        return Problem("fused activation", "put the ReLU into the convolution before it")
    return None


def _resize(case: _Case) -> Problem | None:
    before, after = _shape(case.inputs[0]), _shape(case.outputs[0])
    factor = max(after[1] / before[1], after[2] / before[2])
    if factor > _MAX_RESIZE_FACTOR:
        return Problem(f"resize by {factor:g}", "repeat steps of x2")
    if after[1] * after[2] * after[3] > _MAX_RESIZE_ELEMENTS:
        return Problem("resize output too large", "reduce channels or resolution")
    return None


def _softmax(case: _Case) -> Problem | None:
    if sum(side > 1 for side in _shape(case.inputs[0])) > 1:
        return Problem("softmax over a map", "return the logits and take the softmax on the host")
    return None


def _pad(case: _Case) -> Problem | None:
    padding = _constant_values(case.model, case.inputs[1])
    if padding is None or padding.reshape(-1, 2)[0].any():
        return Problem("padding of the batch, or not constant", "pad rows, columns and channels by constants")
    return None


def _mean(case: _Case) -> Problem | None:
    axes, shape = _constant_values(case.model, case.inputs[1]), _shape(case.inputs[0])
    if axes is None or 0 in axes % len(shape):
        return Problem(
            "mean over the batch, or over axes that are not constant", "take the mean over constant axes"
        )
    if len(shape) - 1 in axes % len(shape) and shape[-1] % 4:
        return Problem("mean over channels not divisible by 4", "use a multiple of 4 channels")
    return None


def _strided_slice(case: _Case) -> Problem | None:
    strides = _constant_values(case.model, case.inputs[3])
    if strides is None or (strides != 1).any() or case.options.ellipsisMask or case.options.newAxisMask:
        return Problem("slice with steps, an ellipsis or a new axis", "slice with stride 1")
    return None


_RULES: Mapping[str, _Rule] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _no_activation,
    "CONV_2D": _dense_convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _mean,
    "PAD": _pad,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "STRIDED_SLICE": _strided_slice,
}


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(side) for side in tensor.shape) if tensor.shape is not None else ()


def _constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _constant_values(model: Any, tensor: Any) -> Any:
    """Values of a constant int32 tensor, or None."""
    if not _constant(model, tensor) or tensor.type != schema.TensorType.INT32:
        return None
    return np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int32)
