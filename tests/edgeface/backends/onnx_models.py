"""ONNX files for tests, written byte by byte: the `onnx` package is part of the workshop alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeface.bundle import InputSpec, ModelSpec, OutputSpec

# float32, uint8, int8
_TYPES = {np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int8): 3}
WEIGHT = np.array([[1, 0, 0], [0, 8, 0], [0, 0, -1], [0.5, 0.25, 1]], np.float32)  # powers of 2: exact sums
HEIGHT, WIDTH = 8, 6

SPEC = ModelSpec(
    task="parsing",
    artifact="parsing.onnx",
    format="onnx",
    precision="int8",
    input=InputSpec("image", (1, HEIGHT, WIDTH, 3), "int8", 1 / 128, 0, 128),
    outputs=(
        OutputSpec("map", 0, (1, HEIGHT // 2, WIDTH // 2, 4), "int8", 1 / 64, 3),
        OutputSpec("mean", 1, (1, 1, 1, 4), "uint8", 1 / 100, 128),
    ),
    crop=None,
    head={},
    labels=None,
)


def noise(seed: int = 0) -> dict[str, Any]:
    """Inputs for `SPEC`."""
    values = np.random.default_rng(seed).integers(-128, 128, SPEC.input.shape, dtype=np.int8)
    return {"image": values}


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, array: np.ndarray, more: bytes = b"") -> bytes:
    dims = b"".join(field(1, side) for side in array.shape)
    return dims + field(2, _TYPES[array.dtype]) + field(8, name) + field(9, array.tobytes()) + more


def node(operator: str, inputs: list[str], outputs: list[str], **attributes: list[int]) -> bytes:
    data = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    data += field(4, operator)
    for name, values in attributes.items():
        numbers = b"".join(field(8, value) for value in values)
        data += field(5, field(1, name) + numbers + field(20, 7))
    return data


def value_info(name: str, shape: tuple[int, ...], kind: int = 1) -> bytes:
    dims = b"".join(field(1, field(1, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def model(nodes: list[bytes], constants: list[bytes], inputs: list[bytes], outputs: list[bytes]) -> bytes:
    parts = [(1, nodes), (2, [b"tiny"]), (5, constants), (11, inputs), (12, outputs)]
    graph = b"".join(field(number, item) for number, items in parts for item in items)
    return field(1, 8) + field(8, field(1, "") + field(2, 17)) + field(7, graph)


_MIDDLE = np.uint8(128)


def student(
    zero_point: Any = _MIDDLE,
    scale: float = 1 / 128,
    *,
    grid: bool = True,
    image: tuple[int, ...] = (1, 3, HEIGHT, WIDTH),
    names: tuple[str, str] = ("map", "mean"),
    weight: bytes | None = None,
    divide: bool = False,
) -> bytes:
    """Put the image on a grid, convolve every second pixel by `WEIGHT`, and give the map and its mean."""
    zero = np.asarray(zero_point)
    constants = [
        tensor("w", WEIGHT.reshape(4, 3, 1, 1)) if weight is None else weight,
        tensor("scale", np.array(scale, np.float32)),
        tensor("zero", zero),
        tensor("nothing", np.array(0, np.float32)),
    ]
    pair = [
        node("QuantizeLinear", ["image", "scale", "zero"], ["stored"]),
        node("DequantizeLinear", ["stored", "scale", "zero"], ["real"]),
    ]
    first = "conv" if divide else names[0]
    nodes = [
        *(pair if grid else []),
        node("Conv", ["real" if grid else "image", "w"], [first], strides=[2, 2], kernel_shape=[1, 1]),
        node("GlobalAveragePool", [first], [names[1]]),
        *([node("Div", [first, "nothing"], [names[0]])] if divide else []),
    ]
    half = (1, 4, (image[2] + 1) // 2, (image[3] + 1) // 2)
    outputs = [value_info(names[0], half), value_info(names[1], (1, 4, 1, 1))]
    return model(nodes, constants, [value_info("image", image)], outputs)


def expected(stored: np.ndarray) -> dict[str, np.ndarray]:
    """What `student` makes of a stored image, by numpy in float64."""
    real = stored[0].astype(np.float64)[::2, ::2] / 128 @ WEIGHT.T.astype(np.float64)
    values = {"map": real[None], "mean": real.mean((0, 1))[None, None, None]}
    found = {}
    for output in SPEC.outputs:
        limits = np.iinfo(output.dtype)
        steps = np.rint(values[output.name] / output.scale) + output.zero_point
        found[output.name] = np.clip(steps, limits.min, limits.max).astype(output.dtype)
    return found
