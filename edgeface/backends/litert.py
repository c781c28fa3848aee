"""LiteRT on the CPU, with its XNNPACK kernels: the default on x86 and ARM boards.

One interpreter per session, one thread by default: networks this small lose more to waking a pool than they
win. Inputs are copied in and outputs copied out (together about ten microseconds a frame), because views into
the interpreter's memory would change under their reader and forbid the next run.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Tensors, check_inputs
from edgeface.errors import BundleError, DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import InputSpec, ModelSpec, OutputSpec

__all__ = ["LiteRTBackend", "LiteRTSession", "create"]


class LiteRTBackend:
    """Opens ``tflite`` artifacts with ``ai_edge_litert``."""

    name = "litert"
    formats = frozenset({"tflite"})

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> LiteRTSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return LiteRTSession(spec, artifact, threads)


class LiteRTSession:
    """One interpreter behind a lock."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        # Imported here: reading a bundle or listing models must not cost the runtime's import.
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise DeviceError("LiteRT is not installed; run: pip install ai-edge-litert") from error
        try:
            interpreter = Interpreter(model_content=artifact, num_threads=threads)
            interpreter.allocate_tensors()
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise DeviceError(f"artifact '{spec.artifact}': LiteRT cannot open it ({error})") from error
        _check_graph(spec, inputs, outputs)
        self._spec = spec
        self._lock = threading.Lock()
        self._interpreter: Any = interpreter
        self._input: int = inputs[0]["index"]
        self._outputs: list[tuple[str, int]] = [(o.name, outputs[o.index]["index"]) for o in spec.outputs]

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run once; see `edgeface.backends.base.Session.run`."""
        image = check_inputs(self._spec, tensors)
        with self._lock:
            interpreter = self._interpreter
            if interpreter is None:
                raise DeviceError(f"model {self._spec.task!r}: the session is closed")
            try:
                interpreter.set_tensor(self._input, image)
                interpreter.invoke()
                return {name: interpreter.get_tensor(index) for name, index in self._outputs}
            except (RuntimeError, ValueError) as error:
                raise DeviceError(f"model {self._spec.task!r}: LiteRT failed ({error})") from error

    def close(self) -> None:
        """Drop the interpreter; waits for a run in progress."""
        with self._lock:
            self._interpreter = None


def create() -> LiteRTBackend:
    """The backend, for `edgeface.backends.base.select`."""
    return LiteRTBackend()


def _check_graph(spec: ModelSpec, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Refuse a graph other than the header's: decoding with another scale would be quietly wrong."""
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
