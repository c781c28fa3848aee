"""A known question with a known answer, to find out whether a runtime computes what the model says.

The question is made from SHA-3's stream, so that it is the same on every machine and in every version of
NumPy. The answer of int8 kernels is the same to the bit on x86-64 and the ARM CPUs (LiteRT's XNNPACK and
onnxruntime agree), so a bundle can hold its digest. Accelerators round otherwise: `agrees` compares them.
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

_BLOCK = 8  # pixels: a noise of single pixels leaves the landmark student as it was on a flat grey
# The built-in students on LiteRT's two sets of kernels: 0.7 steps apart on average, and 4 at most. The answer
# to the same picture with its colours inverted is 2.4 to 22 steps apart in some output of each.
_MEAN_STEPS = 2.0
_FAR_STEPS, _FAR_SHARE = 16, 0.02


def golden_input(spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """The question for a model: coloured blocks of 8 pixels, as its input tensor."""
    _, height, width, channels = spec.input.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    stream = hashlib.shake_256(f"edgeface.golden/1 {spec.task}".encode()).digest(rows * columns * channels)
    blocks = np.frombuffer(stream, np.uint8).reshape(rows, columns, channels)
    picture = np.kron(blocks, np.ones((_BLOCK, _BLOCK, 1), np.uint8))[None, :height, :width]
    stored = picture.astype(np.int16) - spec.input.mean
    return {spec.input.name: np.ascontiguousarray(stored.astype(spec.input.dtype))}


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
