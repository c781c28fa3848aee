"""What a quantised ONNX file will do where it runs: TensorRT's rules, fused convolutions, float islands.

TensorRT's rules are those of its documentation ("Working with quantized types", "Explicit quantization",
``IQuantizeLayer``): signed 8-bit integers, zero points of 0, positive scales, one scale per activation tensor
and one per output channel of a weight, pairs on the inputs of what has weights. That a bias must stay float
is told by its parser, which refuses an int32 DequantizeLinear (microsoft/onnxruntime issues 14229, 17738).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantization.edgetpu import Problem
from quantization.ort import as_run, onnx

__all__ = [
    "Fusion",
    "Island",
    "RuleBreak",
    "check_tensorrt",
    "float_islands",
    "fused_convolutions",
    "joined",
    "tensorrt_islands",
]

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_JOINS_A_CONVOLUTION = ("Add", "Clip", "Relu")  # TensorRT runs these as the end of the one before


@dataclass(frozen=True, slots=True)
class RuleBreak:
    """An operator that TensorRT would refuse or not run in int8."""

    operator: str
    problem: Problem

    def __str__(self) -> str:
        return f"{self.operator}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Fusion:
    """How many convolutions onnxruntime runs on integers, and the names of those it does not."""

    fused: int
    float_names: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.fused + len(self.float_names)


@dataclass(frozen=True, slots=True)
class Island:
    """Neighbouring operators that run in float, as ``Type name``, in graph order."""

    operators: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.operators)


def fused_convolutions(model: bytes) -> Fusion:
    """Count the convolutions that onnxruntime's CPU kernels take as integers.

    Raises:
        ExportError: onnxruntime cannot open the file.
    """
    nodes = as_run(model).graph.node
    fused = sum(node.op_type.startswith("QLinearConv") for node in nodes)
    return Fusion(fused, tuple(n.name for n in nodes if n.op_type in (*_CONVOLUTIONS, "FusedConv")))


def float_islands(model: bytes) -> tuple[Island, ...]:
    """The operators that onnxruntime runs in float though the file is quantised, joined where they touch.

    Raises:
        ExportError: onnxruntime cannot open the file.
    """
    graph = as_run(model).graph
    floating = {v.name for v in graph.input if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    floating -= {tensor.name for tensor in graph.initializer}
    alone = []
    for node in graph.node:  # in topological order, as onnxruntime saves it
        if node.op_type == "DequantizeLinear":
            floating.update(node.output)
        elif node.op_type != "QuantizeLinear" and floating.intersection(node.input):
            floating.update(node.output)
            alone.append(node)
    return joined(alone)


def tensorrt_islands(model: bytes) -> tuple[Island, ...]:
    """The same for TensorRT, by the file alone: what neither reads a pair nor ends a convolution."""
    graph = _Graph(onnx.load_from_string(model))
    alone = []
    for node in graph.nodes:
        makers = [graph.makers.get(name) for name in node.input]
        if any(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
            continue
        if node.op_type not in (*_PAIR, *_JOINS_A_CONVOLUTION) and any(makers):
            alone.append(node)
    return joined(alone)


def joined(nodes: Sequence[Any]) -> tuple[Island, ...]:
    """Islands of ``nodes``, which come in topological order, where one reads what another makes."""
    island_of: dict[str, int] = {}
    islands: dict[int, list[str]] = {}
    for index, node in enumerate(nodes):
        touched = sorted({island_of[name] for name in node.input if name in island_of})
        home = touched[0] if touched else index
        islands.setdefault(home, []).append(f"{node.op_type} {node.name}".strip())
        for other in touched[1:]:
            islands[home] += islands.pop(other)
            island_of = {name: home if at == other else at for name, at in island_of.items()}
        island_of.update(dict.fromkeys(node.output, home))
    return tuple(Island(tuple(operators)) for operators in islands.values())


def check_tensorrt(model: bytes) -> tuple[RuleBreak, ...]:
    """Every place where a Q/DQ file breaks TensorRT's rules; empty for one that it takes whole."""
    graph = _Graph(onnx.load_from_string(model))
    found = []
    for node in graph.nodes:
        rules = _pair_rules if node.op_type in _PAIR else _weighted_rules
        found += [RuleBreak(f"{node.op_type} {node.name}", problem) for problem in rules(graph, node)]
    return tuple(found)


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.inputs = {value.name for value in model.graph.input}

    def is_weight(self, node: Any) -> bool:
        """Whether a Q or DQ stands on a constant."""
        source = node.input[0]
        maker = self.makers.get(source)
        return source in self.constants or (maker is not None and maker.input[0] in self.constants)


def _pair_rules(graph: _Graph, node: Any) -> Iterator[Problem]:
    scale = graph.constants.get(node.input[1])
    if scale is None or not (scale > 0).all():
        yield Problem("its scale is not a positive constant", "calibrate on frames that reach this tensor")
        return
    zero = graph.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    stored = graph.constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
    integers = stored if stored is not None else zero
    dtype = np.dtype(np.uint8) if integers is None else integers.dtype  # ONNX's default type is uint8
    if dtype == np.int32:
        yield Problem("dequantises int32", "leave the bias in float")
    elif dtype != np.int8:
        yield Problem(f"is {dtype}, not int8", "quantise with the recipe s8s8")
    if zero is not None and zero.any():
        yield Problem("its zero point is not 0", "quantise with the recipe s8s8")
    if scale.size > 1 and not graph.is_weight(node):
        yield Problem("has several scales for an activation", "use one scale per activation tensor")


def _weighted_rules(graph: _Graph, node: Any) -> Iterator[Problem]:
    if node.op_type not in (*_CONVOLUTIONS, "Gemm", "MatMul"):
        return
    makers = [graph.makers.get(name) for name in node.input]
    dequantised = [maker is not None and maker.op_type == "DequantizeLinear" for maker in makers]
    if not all(dequantised[:2]):
        where = "image" if not dequantised[0] else "weight"
        yield Problem(f"its {where} has no Q/DQ pair", "quantise the inputs of every weighted operator")
        return
    if any(dequantised[2:]):
        yield Problem("its bias is quantised", "leave the bias in float")
    yield from _channel_rules(graph, node, makers[1])


def _channel_rules(graph: _Graph, node: Any, weight: Any) -> Iterator[Problem]:
    if node.op_type not in _CONVOLUTIONS or not graph.is_weight(weight):
        return
    wanted = 0 if node.op_type == "Conv" else 1
    source = weight.input[0]
    values = graph.constants.get(source)
    if values is None:
        values = graph.constants[graph.makers[source].input[0]]
    scale = graph.constants[weight.input[1]]
    axis = next((a.i for a in weight.attribute if a.name == "axis"), 1) % values.ndim
    if scale.size == 1 and values.shape[wanted] > 1:
        yield Problem("its weight has one scale for all channels", "quantise per channel")
    elif scale.size > 1 and (axis, scale.size) != (wanted, values.shape[wanted]):
        yield Problem(
            f"its weight has {scale.size} scales along axis {axis}",
            f"give it one per output channel, along axis {wanted}",
        )
