"""The seam between EdgeFace and a runtime: open a model, run tensors through it, close it."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeface.errors import ArgumentError, DeviceError, EdgeFaceError
from edgeface.results import Ran

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from edgeface.bundle import ModelSpec

__all__ = [
    "Backend",
    "Ran",
    "Session",
    "Tensors",
    "check_inputs",
    "create",
    "installed",
    "known",
    "select",
]

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
"""Named tensors as the model stores them (quantised, batch axis included)."""

_FIRST = "litert"  # what "auto" looks at before all others: it runs everywhere
_OFFERS = re.compile(r"^OFFERS = (\{[^}]*\})", re.MULTILINE)
_GROUP = "edgeface.backends"
_METADATA = ("dist-info", "egg-info")  # what ends the names of pip's folders, and of apt's


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

    @property
    def ran(self) -> Ran:
        """What really runs this model, once it has run; before that, what is known from opening it."""

    def close(self) -> None:
        """Give the model's memory back. Closing twice is allowed."""


@runtime_checkable
class Backend(Protocol):
    """A runtime that opens models of some artifact formats.

    A file ``npu.py`` of this folder is one if it says, in a line of its own, which backends it offers and
    which formats each of them opens::

        OFFERS = {"npu": ("tflite",), "npu:fast": ("tflite",)}

    That line is read and not run, because an import of every backend would make that of EdgeFace longer by a
    seventh. A name begins with the file's; without formats it is one that must be asked for.

    The function ``create`` of the file makes it, quickly: no import of the runtime, no opening of a device.
    Where the machine plainly lacks something (the runtime's package, its library, the device) ``create``
    raises a `DeviceError` that names it with the mend. It may take an option, what stands after the colon of
    ``backend="edgetpu:usb:0"``.

    One that builds something for minutes when it opens a model for the first time has two more methods:
    ``ready(artifact) -> bool`` tells, quickly, whether that was done, and ``forget(artifact)`` deletes it.
    ``"auto"`` then waits for `edgeface models warmup`. A third, ``built(artifact) -> frozenset[str]``, gives
    the names of this backend with other options that this was done for: ``"auto"`` looks at these, too.

    One that is known to crash or hang for a certain cause has ``suspicion``, a text that names it with the
    mend: whoever isolates it adds that to a `DeviceCrashedError` or `DeviceHungError`.
    """

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


def known(formats: frozenset[str] | None = None) -> tuple[str, ...]:
    """The names of all backends, those of other distributions last; not all of them work on this machine.

    With ``formats``, those alone that may open one of them.
    """
    own = _own()
    opening = [name for name, opened in own.items() if (opened if formats is None else opened & formats)]
    return (*opening, *sorted(set(_entry_points()) - own.keys() - {"auto"}))


def create(name: str) -> Backend:
    """The backend called ``name``: one of `known`, or ``isolated`` around one, with an option after a colon.

    Raises:
        ArgumentError: there is no backend of that name, or it takes no option.
        DeviceError: the machine lacks what the backend needs, or another distribution's backend is broken.
    """
    if name == "auto":
        raise ArgumentError(f"backend 'auto': is a choice among others; name one of {list(known())} here")
    head, _, option = name.partition(":")
    if head in _own():
        factory: Any = importlib.import_module(f"edgeface.backends.{head}").create
    else:
        entry = _entry_points().get(head)
        if entry is None:
            raise ArgumentError(f"backend {name!r}: unknown; choose 'auto' or one of {list(known())}")
        factory = _loaded(entry)
    if option and not inspect.signature(factory).parameters:
        raise ArgumentError(f"backend {name!r}: takes no option; write {head!r}")
    try:
        backend = factory(option) if option else factory()
    except EdgeFaceError:
        raise
    except Exception as error:  # code of other people: whatever it raises becomes one typed error here
        raise DeviceError(f"backend {name!r}: failed to start ({error!r}); ask its makers") from error
    if not isinstance(backend, Backend):
        raise DeviceError(f"backend {name!r}: its create() gave a {type(backend).__name__}; ask its makers")
    return backend


def select(name: str, formats: frozenset[str]) -> Backend:
    """The backend called ``name``, or with ``"auto"`` the first one that opens all the given ``formats``.

    Raises:
        ArgumentError: there is no backend of that name.
        DeviceError: none opens these formats, or the machine lacks what the named one needs.
    """
    missing = []
    for candidate in known(formats) if name == "auto" else (name,):
        try:
            backend = create(candidate)
        except DeviceError as error:
            if name != "auto":
                raise
            missing.append(str(error))
            continue
        if formats <= backend.formats:
            return backend
    reason = "; ".join(["use another bundle", *missing])
    raise DeviceError(f"backend {name!r}: cannot open models of the formats {sorted(formats)}; {reason}")


def installed() -> tuple[tuple[str, str], ...]:
    """Every installed distribution as (name-version, metadata), sorted; it changes whenever one is installed.

    A listing of folders, because `importlib.metadata` alone takes a tenth of the time to the first result.
    """
    found: set[tuple[str, str]] = set()
    for folder in map(os.fspath, sys.path):
        try:
            names = os.listdir(folder or os.curdir)  # noqa: PTH208  a quarter of the time of pathlib's
        except OSError:  # an entry of sys.path may be an archive, or nothing
            continue
        for name in names:
            stem, dot, ending = name.rpartition(".")
            if dot and ending in _METADATA:
                found.add((stem, f"{folder}{os.sep}{name}" if folder else name))
    return tuple(sorted(found))


@lru_cache(maxsize=1)
def _own() -> dict[str, frozenset[str]]:
    """The backends of this folder, each with the formats that it opens."""
    found: dict[str, frozenset[str]] = {}
    for path in sorted(Path(__file__).parent.glob("*.py"), key=lambda path: (path.stem != _FIRST, path)):
        line = _OFFERS.search(path.read_text("utf-8"))
        if line:
            found |= {name: frozenset(formats) for name, formats in ast.literal_eval(line[1]).items()}
    return found


def _entry_points() -> dict[str, EntryPoint]:
    """The backends of other distributions, as they were when this process first asked."""
    return _entry_points_on(tuple(map(os.fspath, sys.path)))


@lru_cache(maxsize=1)
def _entry_points_on(_path: tuple[str, ...]) -> dict[str, EntryPoint]:
    # Most machines have none and pay for no `importlib.metadata`.
    for _, metadata in installed():
        try:
            text = Path(metadata, "entry_points.txt").read_bytes()
        except OSError:  # most distributions have none
            continue
        if f"[{_GROUP}]".encode() in text:
            from importlib.metadata import entry_points

            return {entry.name: entry for entry in entry_points(group=_GROUP)}
    return {}


def _loaded(entry: EntryPoint) -> Any:
    try:
        value = entry.load()
    except Exception as error:  # an import runs code of other people
        raise DeviceError(
            f"backend {entry.name!r}: {entry.value} cannot be loaded ({error!r}); reinstall its distribution"
        ) from error
    factory = getattr(value, "create", value)
    if not callable(factory):
        raise DeviceError(f"backend {entry.name!r}: {entry.value} has no create(); ask its makers")
    return factory


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
