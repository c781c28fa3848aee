"""A Coral Edge TPU: LiteRT or tflite-runtime with libedgetpu's delegate, which our own loader brings in.

Opens ``edgetpu`` artifacts: .tflite files that `edgetpu_compiler` has compiled. ``edgetpu`` takes any device;
``edgetpu:usb:0`` and ``edgetpu:pci:1`` choose one. Google's `pycoral` is used where it is installed, because
it brings a runtime that fits its library; the package that the usual index calls pycoral is another thing and
is never imported.

A library that does not fit its runtime does not fail, it crashes (google-coral/edgetpu issue 812), so take
``isolated:edgetpu`` wherever the process must live on. ``EDGEFACE_LIBEDGETPU`` names another library than
``libedgetpu.so.1``; whoever names one is trusted to have a device for it, and none is looked for beforehand.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeface.backends.base import Ran
from edgeface.backends.coral import REBUILD, Fault, not_re_enumerated, parse_device, preventing
from edgeface.backends.delegate import DelegateFaultError, PluginDelegate
from edgeface.backends.tflite_graph import InterpreterSession, check_installed, runtime
from edgeface.errors import BundleError, DeviceError

if TYPE_CHECKING:
    from edgeface.bundle import ModelSpec

__all__ = ["OFFERS", "EdgeTpuBackend", "EdgeTpuSession", "create"]

OFFERS = {"edgetpu": ("edgetpu",)}

_LIBRARY = "libedgetpu.so.1"
_CUSTOM_OP = "edgetpu-custom-op"


class EdgeTpuBackend:
    """Opens ``edgetpu`` artifacts on one Coral device.

    Args:
        device: ``""`` for any, ``"usb"``, ``"usb:0"``, ``"pci"``, ``"pci:1"``.
        library: name or path of libedgetpu.
        root: where /sys and /dev are looked for.

    Raises:
        ArgumentError: ``device`` is none of these.
    """

    formats = frozenset({"edgetpu"})
    suspicion = (
        "the usual cause is a wrong ABI pairing: this libedgetpu was built for another runtime "
        f"(google-coral/edgetpu issue 812); {REBUILD}"
    )

    def __init__(self, device: str = "", library: str = _LIBRARY, root: Path = Path("/")) -> None:
        parse_device(device)
        self.name = f"edgetpu:{device}" if device else "edgetpu"
        self.device, self.library, self.root = device, library, root

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> EdgeTpuSession:
        """Open a model; see `edgeface.backends.base.Backend.open`."""
        return EdgeTpuSession(spec, artifact, threads, self)


class EdgeTpuSession(InterpreterSession):
    """The file with its delegate; ``ran`` says how many operators the compiler left to the CPU."""

    _failed = "the Edge TPU failed or was unplugged ({error}); plug it in again and open the model anew"

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int, backend: EdgeTpuBackend) -> None:
        if _CUSTOM_OP.encode() not in artifact:
            raise BundleError(
                f"artifact '{spec.artifact}': is not compiled for the Edge TPU; run edgeface models compile "
                "--target edgetpu"
            )
        try:
            interpreter, self._delegate = _interpreted(artifact, threads, backend)
            interpreter.allocate_tensors()
        except DelegateFaultError as error:
            raise DeviceError(_explained(backend, error.fault)) from error
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise DeviceError(
                f"artifact '{spec.artifact}': {backend.name!r} cannot open it ({error}); compile it with the "
                "edgetpu_compiler that fits this libedgetpu"
            ) from error
        # pycoral's interpreter takes no number of threads and has one.
        used = 1 if self._delegate is None else threads
        ran = Ran(backend.name, "libedgetpu", _left_on_cpu(interpreter), spec.precision, used)
        super().__init__(spec, interpreter, ran)

    def close(self) -> None:
        """Drop the interpreter, then its delegate; waits for a run in progress."""
        super().close()
        if self._delegate is not None:
            self._delegate.close()


def create(option: str = "") -> EdgeTpuBackend:
    """The backend, for `edgeface.backends.base.create`.

    Raises:
        ArgumentError: the option names no device.
        DeviceError: there is no such device, or none that this user may open, or no runtime is installed.
    """
    library = os.environ.get("EDGEFACE_LIBEDGETPU", "")
    backend = EdgeTpuBackend(option, library or _LIBRARY)
    fault = None if library else preventing(option)
    if fault is not None:
        raise DeviceError(f"backend {backend.name!r}: {fault}")
    check_installed()
    return backend


def _explained(backend: EdgeTpuBackend, fault: Fault) -> str:
    """A library that refuses gives no reason; the files of the machine often do."""
    if fault.cause == "refused":
        named = preventing(backend.device, backend.root) or not_re_enumerated(backend.device, backend.root)
        if named is not None:
            fault = Fault(named.cause, f"{named.seen} ({fault.seen})", named.mend)
    note = ""
    if _pycoral() == "foreign":
        note = "; the package pycoral that is installed is not Google's: pip uninstall pycoral"
    return f"backend {backend.name!r}: {fault}{note}"


def _interpreted(artifact: bytes, threads: int, backend: EdgeTpuBackend) -> tuple[Any, PluginDelegate | None]:
    """An interpreter, and the delegate in it that must be destroyed after it; pycoral sees to its own."""
    if _pycoral() == "Google's":
        from pycoral.utils.edgetpu import make_interpreter

        return make_interpreter(artifact, device=backend.device or None), None
    distribution, interpreter = runtime()
    version = tuple(map(int, re.findall(r"\d+", importlib.metadata.version(distribution))[:3]))
    options = {"device": backend.device} if backend.device else {}
    delegate = PluginDelegate(backend.library, options, (distribution, version))
    opened = interpreter(model_content=artifact, num_threads=threads, experimental_delegates=[delegate])
    return opened, delegate


def _pycoral() -> str | None:
    """Whose the installed `pycoral` is, without importing it: ``Google's``, ``foreign``, or None of them."""
    spec = importlib.util.find_spec("pycoral")
    if spec is None:
        return None
    folders = spec.submodule_search_locations or []
    return (
        "Google's" if any(Path(folder, "utils", "edgetpu.py").is_file() for folder in folders) else "foreign"
    )


def _left_on_cpu(interpreter: Any) -> int | None:
    """Operators of the file that are not the compiler's own; a delegate's nodes come on top of these."""
    graph: Any = getattr(interpreter, "_interpreter", None)
    try:
        names = [graph.NodeName(index) for index in range(graph.NumNodes())]
    except AttributeError:  # a runtime that does not tell
        return None
    return sum(name not in (_CUSTOM_OP, "DELEGATE") for name in names)
