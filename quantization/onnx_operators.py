"""What each ONNX operator computes, in torch: a table from its name to a function of one node.

Of `ai.onnx` and of the few that onnxruntime's first level of optimisation writes in its place. The functions
follow the specification's text (onnx.ai, "ONNX Operators"); what of it a network for images does not use
(dilated pools of ceiling mode with indices, resizes with a region of interest, ...) is refused by name
instead of being computed wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from . import onnx_maps as maps
from .onnx_node import Node, Operator, Unreadable

__all__ = ["OPERATORS"]


def _batch_norm(node: Node, x: Sequence[Any]) -> Tensor:
    image, scale, bias, mean, variance = x[:5]
    return functional.batch_norm(image, mean, variance, scale, bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Sequence[Any]) -> Tensor:
    axis = int(node.get("axis", -1)) % x[0].ndim
    shape, bias = x[0].shape[axis:], x[2] if len(x) > 2 else None
    return functional.layer_norm(x[0], shape, x[1], bias, node.get("epsilon", 1e-5))


def _gemm(node: Node, x: Sequence[Any]) -> Tensor:
    a = x[0].T if node.get("transA", 0) else x[0]
    b = x[1].T if node.get("transB", 0) else x[1]
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if (alpha, beta) == (1, 1) and len(x) > 2 and x[2].ndim == 1:
        return functional.linear(a, b.T, x[2])  # what the converter knows as one operator
    return alpha * (a @ b) + (beta * x[2] if len(x) > 2 else 0.0)


def _prelu(node: Node, x: Sequence[Any]) -> Tensor:
    slope = x[1]
    if slope.numel() in (1, x[0].shape[1]) and slope.numel() == max(slope.shape, default=1):
        return functional.prelu(x[0], slope.reshape(-1))
    return torch.where(x[0] < 0, x[0] * slope, x[0])


def _clip(node: Node, x: Sequence[Any]) -> Tensor:
    low, high = (
        node.attributes.get(name, None if value is None else float(value))
        for name, value in zip(("min", "max"), (*node.fixed[1:], None, None), strict=False)
    )
    if (low, high) == (0, 6):
        return functional.relu6(x[0])
    return torch.clamp(x[0], low, high)


def _hard_sigmoid(node: Node, x: Sequence[Any]) -> Tensor:
    """Written with ReLU6, which a .tflite joins to the sum before it; a ReLU up to 1 has no int8 form."""
    slope, middle = 6 * node.get("alpha", 0.2), 6 * node.get("beta", 0.5)
    steep = x[0] if abs(slope - 1) < 1e-6 else slope * x[0]
    return functional.relu6(steep + middle) / 6


def _softmax(node: Node, x: Sequence[Any]) -> Tensor:
    return functional.softmax(x[0], int(node.get("axis", -1)))


def _reshape(node: Node, x: Sequence[Any]) -> Tensor:
    shape = list(node.whole(1, "shape"))
    if not node.get("allowzero", 0):
        shape = [x[0].shape[i] if side == 0 else side for i, side in enumerate(shape)]
    return x[0].reshape(shape)


def _flatten(node: Node, x: Sequence[Any]) -> Tensor:
    axis = int(node.get("axis", 1))
    return x[0].reshape(math.prod(x[0].shape[:axis]), -1)


def _squeeze(node: Node, x: Sequence[Any]) -> Tensor:
    axes = node.whole(1, "axes")
    return x[0].squeeze() if axes is None else x[0].squeeze(tuple(axes))


def _unsqueeze(node: Node, x: Sequence[Any]) -> Tensor:
    axes, result = node.whole(1, "axes"), x[0]
    for axis in sorted(a % (x[0].ndim + len(axes)) for a in axes):
        result = result.unsqueeze(axis)
    return result


def _split(node: Node, x: Sequence[Any]) -> Sequence[Tensor]:
    axis = int(node.get("axis", 0))
    side = x[0].shape[axis]
    sizes = node.whole(1, "split") or [math.ceil(side / node.count)] * (node.count - 1)
    return x[0].split([*sizes, side - sum(sizes)][: node.count], axis)


def _slice(node: Node, x: Sequence[Any]) -> Tensor:
    starts, ends = node.whole(1, "starts"), node.whole(2, "ends")
    axes = node.whole(3, "axes") or list(range(len(starts)))
    steps = node.whole(4, "steps") or [1] * len(starts)
    node.refuse_unless(min(steps) > 0, "a slice that runs backwards")
    index = [slice(None)] * x[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = slice(start, min(end, x[0].shape[axis]), step)
    return x[0][tuple(index)]


def _gather(node: Node, x: Sequence[Any]) -> Tensor:
    axis, places = int(node.get("axis", 0)), node.fixed[1]
    if places is None:
        raise Unreadable("its indices are computed from the image")
    where = torch.from_numpy(np.asarray(places % x[0].shape[axis], np.int64))
    taken = x[0].index_select(axis, where.reshape(-1))
    return taken.reshape(*x[0].shape[:axis], *places.shape, *x[0].shape[axis % x[0].ndim + 1 :])


def _reduce(how: Callable[..., Tensor]) -> Operator:
    def reduced(node: Node, x: Sequence[Any]) -> Tensor:
        axes = node.whole(1, "axes")
        if not axes and node.get("noop_with_empty_axes", 0):
            return x[0]
        every = tuple(axes) if axes else tuple(range(x[0].ndim))
        return how(x[0], every, bool(node.get("keepdims", 1)))

    return reduced


def _folded(two: Callable[[Any, Any], Any]) -> Operator:
    """Of any number of inputs, one after the other."""

    def all_of(_: Node, x: Sequence[Any]) -> Any:
        result = x[0]
        for other in x[1:]:
            result = two(result, other)
        return result

    return all_of


def _of(function: Callable[..., Any]) -> Operator:
    """Of the inputs alone."""
    return lambda _, x: function(*x)


def _with(function: Callable[..., Any], **defaults: Any) -> Operator:
    """Of one input and the named attributes, in torch's order."""
    return lambda node, x: function(x[0], *(node.get(name, value) for name, value in defaults.items()))


def _instance_norm(node: Node, x: Sequence[Any]) -> Tensor:
    return functional.instance_norm(x[0], weight=x[1], bias=x[2], eps=node.get("epsilon", 1e-5))


def _cast(node: Node, x: Sequence[Any]) -> Tensor:
    known = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool}
    node.refuse_unless(node.attributes["to"] in known, f"a cast to type {node.attributes['to']}")
    return x[0].to(known[node.attributes["to"]])


def _normalised(node: Node, x: Sequence[Any]) -> Tensor:
    return functional.normalize(x[0], float(node.get("p", 2)), int(node.get("axis", -1)))


OPERATORS: Mapping[str, Operator] = {
    "Abs": _of(torch.abs),
    "Add": _of(torch.add),
    "AveragePool": maps.average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _of(torch.ceil),
    "Clip": _clip,
    "Concat": lambda node, x: torch.cat(list(x), int(node.attributes["axis"])),
    "Conv": maps.conv,
    "ConvTranspose": maps.conv_transpose,
    "Cos": _of(torch.cos),
    "DepthToSpace": maps.shuffled,
    "Div": _of(torch.div),
    "Dropout": lambda _, x: x[0],
    "Elu": _with(functional.elu, alpha=1.0),
    "Equal": _of(torch.eq),
    "Erf": _of(torch.erf),
    "Exp": _of(torch.exp),
    "Expand": lambda node, x: x[0] * torch.ones([max(1, s) for s in node.whole(1, "shape")]),
    "Flatten": _flatten,
    "Floor": _of(torch.floor),
    "Gather": _gather,
    "Gelu": lambda node, x: functional.gelu(x[0], approximate=node.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x[0].mean(tuple(range(2, x[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda _, x: x[0].amax(tuple(range(2, x[0].ndim)), keepdim=True),
    "Greater": _of(torch.gt),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of(functional.hardswish),
    "Identity": lambda _, x: x[0],
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _with(functional.leaky_relu, alpha=0.01),
    "Less": _of(torch.lt),
    "Log": _of(torch.log),
    "LogSoftmax": lambda node, x: functional.log_softmax(x[0], int(node.get("axis", -1))),
    "LpNormalization": _normalised,
    "MatMul": _of(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": maps.max_pool,
    "Min": _folded(torch.minimum),
    "Mish": _of(functional.mish),
    "Mul": _of(torch.mul),
    "Neg": _of(torch.neg),
    "PRelu": _prelu,
    "Pad": maps.pad,
    "Pow": _of(torch.pow),
    "Reciprocal": _of(torch.reciprocal),
    "ReduceL2": _reduce(lambda x, axes, kept: torch.sqrt(torch.square(x).sum(axes, keepdim=kept))),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _of(functional.relu),
    "Reshape": _reshape,
    "Resize": maps.resize,
    "Selu": _of(functional.selu),
    "Sigmoid": _of(torch.sigmoid),
    "Sin": _of(torch.sin),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _of(functional.softplus),
    "SpaceToDepth": maps.shuffled,
    "Split": _split,
    "Sqrt": _of(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _of(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _of(torch.tanh),
    "Tile": lambda node, x: x[0].repeat(node.whole(1, "repeats")),
    "Transpose": lambda node, x: x[0].permute(node.get("perm", list(reversed(range(x[0].ndim))))),
    "Unsqueeze": _unsqueeze,
    "Upsample": maps.resize,
    "Where": _of(torch.where),
}
