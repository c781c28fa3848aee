"""A backend in a package of its own: ``backend="npu"``, wherever this package is installed.

There is no NPU in it. LiteRT's interpreter stands in for the runtime of one, so that the example runs
everywhere; the lines that name it are those to replace. The rest is what EdgeFace asks of every backend
(`edgeface.backends.base`) and what ``tests/contract`` checks: typed errors that name the model and the mend,
a lock, inputs that are checked and left alone, outputs that belong to the caller, and the truth in ``ran``.
"""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.backends.tflite_graph import check_graph
from edgeface.errors import DeviceError

if TYPE_CHECKING:
    from edgeface.bundle import ModelSpec

__all__ = ["NpuBackend", "NpuSession", "create"]


class NpuBackend:
    """Opens ``tflite`` artifacts; a format of your own is another word here and in the bundle."""

    name = "npu"
    formats = frozenset({"tflite"})

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> NpuSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return NpuSession(spec, artifact, threads)


class NpuSession:
    """One opened model. Calls from several threads are answered one after the other."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        # Imported here: `edgeface models` and a bundle's check must not cost a runtime's import.
        from ai_edge_litert.interpreter import Interpreter

        try:
            runtime = Interpreter(model_content=artifact, num_threads=threads)
            runtime.allocate_tensors()
        except (RuntimeError, ValueError, TypeError) as error:
            raise DeviceError(f"artifact '{spec.artifact}': the NPU cannot open it ({error})") from error
        inputs, outputs = runtime.get_input_details(), runtime.get_output_details()
        check_graph(spec, inputs, outputs)  # decoding with another scale would be quietly wrong
        self._spec = spec
        self._lock = threading.Lock()
        self._runtime: Any = runtime
        self._input = inputs[0]["index"]
        self._outputs = {output.name: outputs[output.index]["index"] for output in spec.outputs}
        self._ran = Ran("npu", "stand-in", None, spec.precision, threads)

    @property
    def ran(self) -> Ran:
        """What runs the model; a runtime that leaves operators to the CPU says here how many."""
        return self._ran

    def run(self, tensors: Tensors) -> dict[str, Any]:
        """Run once; see `edgeface.backends.base.Session.run`."""
        image = check_inputs(self._spec, tensors)
        with self._lock:
            if self._runtime is None:
                raise DeviceError(f"model {self._spec.task!r}: the session is closed")
            try:
                self._runtime.set_tensor(self._input, image)
                self._runtime.invoke()
                return {name: self._runtime.get_tensor(index) for name, index in self._outputs.items()}
            except (RuntimeError, ValueError) as error:
                raise DeviceError(f"model {self._spec.task!r}: the NPU failed ({error})") from error

    def close(self) -> None:
        """Give the model back; waits for a run in progress."""
        with self._lock:
            self._runtime = None


def create() -> NpuBackend:
    """The backend; quickly, and without the runtime's import. Say here what the machine lacks.

    Raises:
        DeviceError: the runtime is not installed.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise DeviceError("backend 'npu': its runtime is not installed; run: pip install ai-edge-litert")
    return NpuBackend()
