"""LiteRT on the CPU, with its XNNPACK kernels: the default on x86 and ARM boards.

One interpreter per session, one thread by default: networks this small lose more to waking a pool than they
win. Inputs are copied in and outputs copied out (together about ten microseconds a frame), because views into
the interpreter's memory would change under their reader and forbid the next run.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.backends.tflite_graph import check_graph
from edgeface.errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.bundle import ModelSpec

__all__ = ["LiteRTBackend", "LiteRTSession", "create"]


class LiteRTBackend:
    """Opens ``tflite`` artifacts with ``ai_edge_litert``, or ``tflite_runtime`` where only that is there."""

    name = "litert"
    formats = frozenset({"tflite"})

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> LiteRTSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return LiteRTSession(spec, artifact, threads)


class LiteRTSession:
    """One interpreter behind a lock."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        try:
            interpreter = _interpreter_class()(model_content=artifact, num_threads=threads)
            interpreter.allocate_tensors()
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise DeviceError(f"artifact '{spec.artifact}': LiteRT cannot open it ({error})") from error
        check_graph(spec, inputs, outputs)
        self._spec = spec
        self._lock = threading.Lock()
        self._interpreter: Any = interpreter
        self._input: int = inputs[0]["index"]
        self._outputs: list[tuple[str, int]] = [(o.name, outputs[o.index]["index"]) for o in spec.outputs]
        self._ran = Ran("litert", _delegate(interpreter), precision=spec.precision, threads=threads)

    @property
    def ran(self) -> Ran:
        """What runs the model; with no delegate it is LiteRT's plain and much slower kernels."""
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
                raise DeviceError(f"model {self._spec.task!r}: LiteRT failed ({error})") from error

    def close(self) -> None:
        """Drop the interpreter; waits for a run in progress."""
        with self._lock:
            self._interpreter = None


def create() -> LiteRTBackend:
    """The backend, for `edgeface.backends.base.select`."""
    return LiteRTBackend()


def _interpreter_class() -> Any:
    # Imported here: reading a bundle or listing models must not cost the runtime's import.
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as missing:
        try:  # the last one with wheels for 32-bit ARM
            from tflite_runtime.interpreter import Interpreter as OlderInterpreter
        except ImportError:
            raise DeviceError(
                "LiteRT is not installed; run: pip install ai-edge-litert (on 32-bit ARM: tflite-runtime)"
            ) from missing
        return OlderInterpreter
    return Interpreter


def _delegate(interpreter: Any) -> str | None:
    """XNNPACK, if it took a part of the graph: LiteRT drops it in silence where cpuinfo cannot read /sys.

    LiteRT appends the nodes of a delegate to the graph's own, and lists no operators in its public API.
    """
    graph = interpreter._interpreter
    return "XNNPACK" if graph.NodeName(graph.NumNodes() - 1) == "DELEGATE" else None
