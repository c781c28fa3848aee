"""A backend that plays canned outputs, to test an application without a model and without a runtime.

So::

    backend = ScriptedBackend({"expression": {"logits": [0, 9, 0, 0, 0, 0, 0, 0]}})
    with edgeface.FaceAnalyzer(tasks=("expression",), backend=backend) as analyzer:
        face = analyzer.analyze(frame, boxes=[edgeface.BBox(10, 10, 80, 80)]).faces[0]
    assert face.expression.label == "happiness"
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    from edgeface.bundle import ModelSpec, OutputSpec

__all__ = ["Script", "ScriptedBackend", "ScriptedSession"]

Script: TypeAlias = Mapping[str, ArrayLike] | Callable[[Tensors], Mapping[str, ArrayLike]]
"""Outputs by name, or a function from the inputs to them. Real values: the session quantises them."""


class ScriptedBackend:
    """Plays ``scripts[task]`` for each task.

    Values are real numbers (logits, offsets, ...) and are quantised as the model's own output would be. An
    output that a script leaves out is filled with its smallest value, which for scores and logits means
    "nothing there". A function may raise to play a fault. ``opened`` lists the tasks opened so far, in order.

    Raises:
        ArgumentError: ``scripts`` is no mapping.
    """

    name = "scripted"
    formats = frozenset({"tflite"})

    def __init__(self, scripts: Mapping[str, Script]) -> None:
        if not isinstance(scripts, Mapping):
            raise ArgumentError(
                f"ScriptedBackend: scripts must map tasks to outputs, not be {type(scripts).__name__}; "
                "write {'expression': {}}"
            )
        self._scripts = dict(scripts)
        self.opened: list[str] = []

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> ScriptedSession:  # noqa: ARG002  no artifact is needed
        """Start playing; the artifact is not looked at.

        Raises:
            ArgumentError: there is no script for the task of ``spec``.
        """
        if spec.task not in self._scripts:
            raise ArgumentError(
                f"ScriptedBackend: no script for the task {spec.task!r}; add scripts[{spec.task!r}]"
            )
        self.opened.append(spec.task)
        return ScriptedSession(spec, self._scripts[spec.task], threads)


class ScriptedSession:
    """One script being played. ``calls`` counts the runs."""

    def __init__(self, spec: ModelSpec, script: Script, threads: int = 1) -> None:
        self._spec = spec
        self._ran = Ran("scripted", precision=spec.precision, threads=threads)
        self._script = script
        self._lock = threading.Lock()
        self._closed = False
        self.calls = 0

    @property
    def ran(self) -> Ran:
        """A script, on no device at all."""
        return self._ran

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Play the outputs; see `edgeface.backends.base.Session.run`.

        Raises:
            ArgumentError: the script names an unknown output or one of a wrong size.
            DeviceError: wrong inputs, or the session is closed.
        """
        check_inputs(self._spec, tensors)
        with self._lock:
            if self._closed:
                raise DeviceError(f"model {self._spec.task!r}: the session is closed")
            self.calls += 1
            values = self._script(tensors) if callable(self._script) else self._script
        unknown = set(values) - {output.name for output in self._spec.outputs}
        if unknown:
            raise ArgumentError(f"ScriptedBackend: {self._spec.task!r} has no outputs {sorted(unknown)}")
        return {output.name: _quantise(output, values.get(output.name)) for output in self._spec.outputs}

    def close(self) -> None:
        """Refuse further runs."""
        self._closed = True


def _quantise(spec: OutputSpec, value: ArrayLike | None) -> NDArray[Any]:
    if value is None:
        return np.full(spec.shape, spec.lowest, spec.dtype)
    limits = np.iinfo(spec.dtype)
    real = np.asarray(value, np.float64)
    stored = np.clip(np.rint(real / spec.scale) + spec.zero_point, limits.min, limits.max)
    if stored.size != np.prod(spec.shape):
        raise ArgumentError(
            f"ScriptedBackend: output {spec.name!r} has the shape {list(spec.shape)}, got {real.shape}"
        )
    quantised: NDArray[Any] = stored.astype(spec.dtype).reshape(spec.shape)
    return quantised
