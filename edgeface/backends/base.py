"""The seam between EdgeFace and a runtime: open a model, run tensors through it, close it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArgumentError, DeviceError

if TYPE_CHECKING:
    from edgeface.bundle import ModelSpec

__all__ = ["Backend", "Session", "Tensors", "check_inputs", "select"]

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
"""Named tensors as the model stores them (quantised, batch axis included)."""

# Name -> module with a `create()` that returns the backend. In the order in which "auto" tries them.
_MODULES = {"litert": "edgeface.backends.litert"}


@runtime_checkable
class Session(Protocol):
    """One opened model. Safe to call from several threads; calls are answered one after the other."""

    def run(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Run the model once.

        Args:
            tensors: every input of the `ModelSpec`, with exactly its shape and type. They are copied.

        Returns:
            Every output of the `ModelSpec`, by name, raw (not dequantised). The arrays belong to the caller:
            a later run does not change them.

        Raises:
            DeviceError: an input is missing or of a wrong shape or type, the runtime failed, or the session
            is closed.
        """

    def close(self) -> None:
        """Give the model's memory back. Closing twice is allowed."""


@runtime_checkable
class Backend(Protocol):
    """A runtime that opens models of some artifact formats."""

    @property
    def name(self) -> str:
        """Short name, as shown in results."""

    @property
    def formats(self) -> frozenset[str]:
        """The artifact formats that `open` accepts, for example ``{"tflite"}``."""

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Session:
        """Open a verified ``artifact`` that ``spec`` describes, to run on ``threads`` threads.

        Raises:
            BundleError: the artifact is not the model that ``spec`` describes.
            DeviceError: the runtime is missing or cannot open the model.
        """


def select(name: str, formats: frozenset[str]) -> Backend:
    """The backend called ``name``, or with ``"auto"`` the first one that opens all the given ``formats``.

    Raises:
        ArgumentError: there is no backend of that name.
        DeviceError: none opens these formats.
    """
    if name != "auto" and name not in _MODULES:
        raise ArgumentError(f"backend {name!r}: unknown; choose 'auto' or one of {sorted(_MODULES)}")
    for candidate in _MODULES if name == "auto" else (name,):
        backend = cast("Backend", importlib.import_module(_MODULES[candidate]).create())
        if formats <= backend.formats:
            return backend
    raise DeviceError(
        f"backend {name!r}: cannot open models of the formats {sorted(formats)}; use another bundle"
    )


def check_inputs(spec: ModelSpec, tensors: Tensors) -> NDArray[Any]:
    """The image tensor in ``tensors``, after checking that it is exactly what ``spec`` asks for.

    Raises:
        DeviceError: it is missing, accompanied by others, or of a wrong shape or type.
    """
    wanted = spec.input
    value: object = tensors.get(wanted.name)  # what callers pass at run time need not be what they promised
    if value is None or len(tensors) != 1:
        raise DeviceError(f"model {spec.task!r}: takes one input {wanted.name!r}, got {sorted(tensors)}")
    if not isinstance(value, np.ndarray) or value.shape != wanted.shape or value.dtype != wanted.dtype:
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise DeviceError(
            f"model {spec.task!r}: input {wanted.name!r} must be "
            f"{wanted.dtype} {list(wanted.shape)}, got {got}"
        )
    return value
