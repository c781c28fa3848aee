"""What the CPU's and the Edge TPU's backend share: a .tflite file in an interpreter of LiteRT or its elder.

The graph in it must be the one that a bundle's header describes.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.errors import BundleError, DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import InputSpec, ModelSpec, OutputSpec

__all__ = ["InterpreterSession", "check_graph", "check_installed", "runtime"]

_RUNTIMES = ("ai_edge_litert", "tflite_runtime")  # the second is the last with wheels for 32-bit ARM
_ABSENT = "LiteRT is not installed; run: pip install ai-edge-litert (on 32-bit ARM: tflite-runtime)"


class InterpreterSession:
    """One interpreter, its tensors allocated, behind a lock.

    Raises:
        BundleError: the graph is not the header's.
    """

    _failed: ClassVar[str] = "LiteRT failed ({error})"

    def __init__(self, spec: ModelSpec, interpreter: Any, ran: Ran) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        check_graph(spec, inputs, outputs)
        self._spec = spec
        self._lock = threading.Lock()
        self._interpreter: Any = interpreter
        self._input: int = inputs[0]["index"]
        self._outputs: list[tuple[str, int]] = [(o.name, outputs[o.index]["index"]) for o in spec.outputs]
        self._ran = ran

    @property
    def ran(self) -> Ran:
        """What runs the model."""
        return self._ran

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
                told = self._failed.format(error=error)
                raise DeviceError(f"model {self._spec.task!r}: {told}") from error

    def close(self) -> None:
        """Drop the interpreter; waits for a run in progress."""
        with self._lock:
            self._interpreter = None


def check_installed() -> None:
    """Look for a runtime, quickly and without its import.

    Raises:
        DeviceError: there is none.
    """
    if not any(importlib.util.find_spec(name) for name in _RUNTIMES):
        raise DeviceError(_ABSENT)


def runtime() -> tuple[str, Any]:
    """The installed runtime's distribution and its interpreter; LiteRT before the older tflite-runtime.

    Raises:
        DeviceError: there is neither.
    """
    # Imported here: reading a bundle or listing models must not cost the runtime's import.
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as missing:
        try:
            from tflite_runtime.interpreter import Interpreter as OlderInterpreter
        except ImportError:
            raise DeviceError(_ABSENT) from missing
        return "tflite-runtime", OlderInterpreter
    return "ai-edge-litert", Interpreter


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
