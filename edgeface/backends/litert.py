"""LiteRT on the CPU, with its XNNPACK kernels: the default on x86 and ARM boards.

One interpreter per session, one thread by default: networks this small lose more to waking a pool than they
win. Inputs are copied in and outputs copied out (together about ten microseconds a frame), because views into
the interpreter's memory would change under their reader and forbid the next run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Ran
from edgeface.backends.tflite_graph import InterpreterSession, check_installed, runtime
from edgeface.errors import DeviceError

if TYPE_CHECKING:
    from edgeface.bundle import ModelSpec

__all__ = ["OFFERS", "LiteRTBackend", "LiteRTSession", "create", "delegate_of"]

OFFERS = {"litert": ("tflite",)}


class LiteRTBackend:
    """Opens ``tflite`` artifacts with ``ai_edge_litert``, or ``tflite_runtime`` where only that is there."""

    name = "litert"
    formats = frozenset({"tflite"})

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> LiteRTSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return LiteRTSession(spec, artifact, threads)


class LiteRTSession(InterpreterSession):
    """The file on the CPU; with no delegate in ``ran`` it is LiteRT's plain and much slower kernels."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        try:
            interpreter = runtime()[1](model_content=artifact, num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise DeviceError(f"artifact '{spec.artifact}': LiteRT cannot open it ({error})") from error
        ran = Ran("litert", delegate_of(interpreter), precision=spec.precision, threads=threads)
        super().__init__(spec, interpreter, ran)


def create() -> LiteRTBackend:
    """The backend, for `edgeface.backends.base.create`.

    Raises:
        DeviceError: neither runtime is installed.
    """
    check_installed()
    return LiteRTBackend()


def delegate_of(interpreter: Any) -> str | None:
    """XNNPACK, if it took a part of the graph: LiteRT drops it in silence where cpuinfo cannot read /sys.

    LiteRT appends the nodes of a delegate to the graph's own, and lists no operators in its public API.
    """
    graph = interpreter._interpreter
    return "XNNPACK" if graph.NodeName(graph.NumNodes() - 1) == "DELEGATE" else None
