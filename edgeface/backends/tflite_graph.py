"""Whether the graph in an interpreter is the one that a bundle's header describes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgeface.errors import BundleError

if TYPE_CHECKING:
    from edgeface.bundle import InputSpec, ModelSpec, OutputSpec

__all__ = ["check_graph"]


def check_graph(spec: ModelSpec, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Refuse a graph other than the header's: decoding with another scale would be quietly wrong.

    Args:
        spec: the header's model.
        inputs: what the interpreter tells of its inputs.
        outputs: the same of its outputs.

    Raises:
        BundleError: a tensor is missing or of another shape, type, scale or zero point.
    """
    if len(inputs) != 1:
        raise BundleError(f"artifact '{spec.artifact}': has {len(inputs)} inputs, edgeface feeds one")
    _check_tensor(spec, spec.input, inputs[0])
    for output in spec.outputs:
        if output.index >= len(outputs):
            raise BundleError(
                f"artifact '{spec.artifact}': has {len(outputs)} outputs, none at {output.index}"
            )
        _check_tensor(spec, output, outputs[output.index])


def _check_tensor(spec: ModelSpec, wanted: InputSpec | OutputSpec, got: dict[str, Any]) -> None:
    scale, zero_point = got["quantization"]
    shape, dtype = tuple(int(side) for side in got["shape"]), got["dtype"].__name__
    same_scale = math.isclose(scale, wanted.scale, rel_tol=1e-5) and zero_point == wanted.zero_point
    if shape != wanted.shape or dtype != wanted.dtype or not same_scale:
        raise BundleError(
            f"artifact '{spec.artifact}': tensor {wanted.name!r} is {dtype} {list(shape)} with scale "
            f"{scale:.6g} and zero point {zero_point}; the header says {wanted.dtype} {list(wanted.shape)}, "
            f"{wanted.scale:.6g} and {wanted.zero_point}; pack the bundle again"
        )
