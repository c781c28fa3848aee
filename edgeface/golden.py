"""A known question with a known answer, to find out whether a runtime computes what the model says.

The question is a drawn face under a veil of SHA-3's stream, in whole numbers, so that it is the same on
every machine and in every version of NumPy. A face, because a student says little about anything else: to
coloured blocks alone one gave nearly the answer that it gave to their negative. The veil, because a clean
drawing leaves most of a network at rest. The answer of int8 kernels is the same to the bit on x86-64 and the
ARM CPUs (LiteRT's XNNPACK and onnxruntime agree), so a bundle can hold its digest. Accelerators round
otherwise: `agrees` compares them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeface.manifest import ModelSpec

__all__ = ["agrees", "golden_digest", "golden_input", "is_right"]

_BLOCK = 8  # pixels of the veil: a noise of single pixels is blurred away by a network's first layers
_WALL = (90, 110, 130)
# Ellipses in 1/64 of the shorter side, painted in turn: centre, half axes, colour.
_FACE = (
    ((32, 34), (22, 28), (205, 160, 135)),
    ((22, 26), (5, 3), (240, 240, 240)),
    ((42, 26), (5, 3), (240, 240, 240)),
    ((22, 26), (2, 2), (40, 30, 30)),
    ((42, 26), (2, 2), (40, 30, 30)),
    ((22, 20), (6, 1), (70, 45, 35)),
    ((42, 20), (6, 1), (70, 45, 35)),
    ((32, 36), (3, 5), (180, 125, 105)),
    ((32, 48), (9, 4), (150, 40, 50)),
    ((32, 47), (6, 1), (245, 245, 240)),
)
# The built-in students on LiteRT's two sets of kernels: 1.2 steps apart on average, and 7 at most. Answers to
# the same picture with its colours inverted are 7 or more steps apart in some output of each, with red and
# blue swapped 4 or more.
_MEAN_STEPS = 2.0
_FAR_STEPS, _FAR_SHARE = 16, 0.02


def golden_input(spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """The question for a model: a drawn face under coloured blocks of 8 pixels, as its input tensor."""
    height, width = spec.input.height, spec.input.width
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    stream = hashlib.shake_256(f"edgeface.golden/2 {spec.task}".encode()).digest(rows * columns * 3)
    blocks = np.frombuffer(stream, np.uint8).reshape(rows, columns, 3)
    veil = np.kron(blocks, np.ones((_BLOCK, _BLOCK, 1), np.uint8))[:height, :width]
    picture = (_drawn_face(height, width).astype(np.int16) + veil) // 2
    stored = (picture - spec.input.mean)[None]
    return {spec.input.name: np.ascontiguousarray(stored.astype(spec.input.dtype))}


def _drawn_face(height: int, width: int) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]: a face in the middle."""
    side = min(height, width)
    # Doubled, so that a pixel's centre is a whole number of the units 1 / (64 sides).
    down = 2 * np.arange(height, dtype=np.int64)[:, np.newaxis] + 1
    across = 2 * np.arange(width, dtype=np.int64) + 1
    x, y = (across - width + side) * 32, (down - height + side) * 32
    picture = np.full((height, width, 3), _WALL, np.uint8)
    for (center_x, center_y), (half_x, half_y), colour in _FACE:
        far = ((x - center_x * side) * half_y) ** 2 + ((y - center_y * side) * half_x) ** 2
        picture[far <= (half_x * half_y * side) ** 2] = colour
    return picture


def golden_digest(spec: ModelSpec, outputs: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of the answer: every output as stored, in the order of the header."""
    digest = hashlib.sha256()
    for output in spec.outputs:
        digest.update(np.ascontiguousarray(outputs[output.name]).tobytes())
    return digest.hexdigest()


def agrees(spec: ModelSpec, outputs: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> bool:
    """True if two answers differ by rounding alone, output by output.

    Allowed are 2 steps of the output's scale on average, and more than 16 in 2 % of the values.
    """
    for output in spec.outputs:
        apart = np.abs(outputs[output.name].astype(np.int16) - wanted[output.name].astype(np.int16))
        if apart.mean() > _MEAN_STEPS or (apart > _FAR_STEPS).mean() > _FAR_SHARE:
            return False
    return True


def is_right(
    spec: ModelSpec, outputs: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]] | None
) -> bool:
    """True if an answer is the bundle's by its digest, else like the CPU's ``wanted`` one.

    With neither a digest nor the CPU's answer nobody can tell, and it counts as right.
    """
    if spec.golden is not None and golden_digest(spec, outputs) == spec.golden:
        return True
    if wanted is not None:
        return agrees(spec, outputs, wanted)
    return spec.golden is None
