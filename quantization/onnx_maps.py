"""The ONNX operators that look at windows of a map or change its size, in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from .onnx_node import Node, Unreadable

__all__ = ["average_pool", "conv", "conv_transpose", "max_pool", "pad", "resize", "shuffled"]


def _borders(node: Node, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """Begin and end of each axis, in ONNX's order: all begins, all ends."""
    strides, dilations = node.get("strides", [1] * len(kernel)), node.get("dilations", [1] * len(kernel))
    kind = node.get("auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        return list(node.get("pads", [0] * 2 * len(kernel))) if kind == "NOTSET" else [0] * 2 * len(kernel)
    begins, ends = [], []
    for side, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(side / stride) - 1) * stride + (k - 1) * dilation + 1 - side)
        less, more = total // 2, total - total // 2
        begins.append(less if kind == "SAME_UPPER" else more)
        ends.append(more if kind == "SAME_UPPER" else less)
    return begins + ends


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """What a symmetric padding cannot say is padded beforehand; the rest is left to the operator."""
    half = len(pads) // 2
    if list(pads[:half]) == list(pads[half:]):
        return x, list(pads[:half])
    order = [p for begin, end in zip(pads[:half][::-1], pads[half:][::-1], strict=True) for p in (begin, end)]
    return functional.pad(x, order, value=value), [0] * half


def conv(node: Node, x: Sequence[Any]) -> Tensor:
    weight, bias = x[1], x[2] if len(x) > 2 else None
    kernel = list(weight.shape[2:])
    image, padding = _padded(x[0], _borders(node, x[0], kernel))
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(kernel)]
    return convolve(
        image,
        weight,
        bias,
        node.get("strides", 1),
        padding,
        node.get("dilations", 1),
        int(node.get("group", 1)),
    )


def conv_transpose(node: Node, x: Sequence[Any]) -> Tensor:
    kernel = list(x[1].shape[2:])
    node.refuse_unless(len(kernel) == 2, "a transposed convolution over other than two axes")
    node.refuse_unless("output_shape" not in node.attributes, "an output_shape")
    node.refuse_unless(node.get("auto_pad", "NOTSET") == "NOTSET", "an auto_pad")
    pads, extra = node.get("pads", [0] * 4), list(node.get("output_padding", [0, 0]))
    # What is cut off at the end beyond the begin is a negative output padding, which torch does not know.
    more = [end - begin for begin, end in zip(pads[:2], pads[2:], strict=True)]
    node.refuse_unless(all(e >= m for e, m in zip(extra, more, strict=True)), "padding that differs by side")
    return functional.conv_transpose2d(
        x[0],
        x[1],
        x[2] if len(x) > 2 else None,
        node.get("strides", 1),
        pads[:2],
        [e - m for e, m in zip(extra, more, strict=True)],
        int(node.get("group", 1)),
        node.get("dilations", 1),
    )


def max_pool(node: Node, x: Sequence[Any]) -> Tensor:
    kernel = node.attributes["kernel_shape"]
    node.refuse_unless(len(kernel) == 2 and node.count == 1, "a pool with indices or over other axes")
    image, padding = _padded(x[0], _borders(node, x[0], kernel), -math.inf)
    return functional.max_pool2d(
        image,
        kernel,
        node.get("strides", [1, 1]),
        padding,
        node.get("dilations", 1),
        bool(node.get("ceil_mode", 0)),
    )


def average_pool(node: Node, x: Sequence[Any]) -> Tensor:
    kernel = node.attributes["kernel_shape"]
    pads, counted = _borders(node, x[0], kernel), bool(node.get("count_include_pad", 0))
    uneven = pads[:2] != pads[2:]
    node.refuse_unless(len(kernel) == 2 and (counted or not uneven), "an average over an uneven border")
    image, padding = _padded(x[0], pads)
    strides, ceiling = node.get("strides", [1, 1]), bool(node.get("ceil_mode", 0))
    return functional.avg_pool2d(image, kernel, strides, padding, ceiling, counted)


def resize(node: Node, x: Sequence[Any]) -> Tensor:
    mode, where = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    if node.kind == "Upsample":
        where = "asymmetric"
    sizes = node.fixed[3] if len(node.fixed) > 3 else None
    scales = node.fixed[1 if node.kind == "Upsample" else 2] if len(node.fixed) > 1 else None
    if node.kind == "Upsample" and "scales" in node.attributes:
        scales = np.asarray(node.attributes["scales"])
    if sizes is None and (scales is None or not scales.size):
        raise Unreadable("its size is computed from the image; fix it in the file")
    before = np.array(x[0].shape)
    wanted = np.asarray(sizes) if sizes is not None else np.floor(before * scales)
    node.refuse_unless(len(before) == 4 and (wanted[:2] == before[:2]).all(), "a resize of other than a map")
    after = [int(side) for side in wanted[2:]]
    grows = [b and a % b == 0 for a, b in zip(after, x[0].shape[2:], strict=True)]
    if mode == "nearest":
        # Where each pixel becomes a block of whole pixels, all conventions but one agree.
        rounds = node.get("nearest_mode", "round_prefer_floor")
        same = all(grows) and (where == "half_pixel" or rounds == "floor")
        node.refuse_unless(same and where != "align_corners", f"nearest resize by {where}, {rounds}")
        return functional.interpolate(x[0], size=after, mode="nearest")
    node.refuse_unless(mode == "linear", f"{mode} resize")
    half = where in ("half_pixel", "pytorch_half_pixel")
    node.refuse_unless(half or where == "align_corners", f"linear resize by {where}")
    return functional.interpolate(x[0], size=after, mode="bilinear", align_corners=not half)


def pad(node: Node, x: Sequence[Any]) -> Tensor:
    pads, mode = node.whole(1, "pads"), node.get("mode", "constant")
    node.refuse_unless(len(node.fixed) < 4 or node.fixed[3] is None, "padding of named axes")
    fill = node.get("value", 0.0)
    if len(node.fixed) > 2 and node.fixed[2] is not None:
        fill = float(node.fixed[2])
    half = len(pads) // 2
    order = [p for i in reversed(range(half)) for p in (pads[i], pads[i + half])]
    if mode == "constant":
        return functional.pad(x[0], order, value=fill)
    node.refuse_unless(mode in ("reflect", "edge"), f"{mode} padding")
    node.refuse_unless(not any(order[4:]), f"{mode} padding of other than a map")
    return functional.pad(x[0], order[:4], mode="reflect" if mode == "reflect" else "replicate")


def shuffled(node: Node, x: Sequence[Any]) -> Tensor:
    size = int(node.attributes["blocksize"])
    if node.kind == "SpaceToDepth":
        n, c, h, w = x[0].shape
        blocks = x[0].reshape(n, c, h // size, size, w // size, size)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * size * size, h // size, w // size)
    if node.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x[0], size)
    n, c, h, w = x[0].shape
    blocks = x[0].reshape(n, size, size, c // size**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // size**2, h * size, w * size)
