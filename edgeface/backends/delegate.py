"""Loads a delegate of LiteRT out of a shared library, and says why when that fails.

LiteRT's own loader holds Python's lock while the library works, so that a library that hangs stops every
thread, and says "Failed to load delegate" without a reason when the library gives none
(google-coral/pycoral issue 108). The plug-in interface is two functions,
``tflite_plugin_create_delegate`` and ``tflite_plugin_destroy_delegate``
(tensorflow/lite/delegates/external/external_delegate_interface.h).
"""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING

from edgeface.backends.coral import REBUILD, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DelegateFaultError", "PluginDelegate"]

_OTHER_MACHINE = re.compile(r"wrong ELF class|invalid ELF header|Exec format")
_OTHER_SYSTEM = re.compile(r"undefined symbol|version `[^']+' not found")
_NOT_FOUND = re.compile(r"^(\S+): cannot open shared object file")
_GCC = re.compile(r"COMPILER=(\d+)\.")
_MOST_TEXT = 2000
_GOOGLES_GCC = 6  # Debian stretch's; every rebuild against a newer TensorFlow needs at least 7
_LAST_PAIRED = (2, 11)


class DelegateFaultError(Exception):
    """A delegate cannot be had; carries the `Fault`. It does not leave the backends."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class PluginDelegate:
    """A delegate in the form that the Python interpreters of LiteRT and tflite-runtime take.

    It must outlive the interpreter that it was given to.

    Args:
        library: name or path of the shared library.
        options: for the library, as text.
        runtime: name and version of what will use it, for example ``("tflite-runtime", (2, 14))``.

    Raises:
        DelegateFaultError: the library is missing, does not fit, or gives no delegate.
    """

    def __init__(
        self, library: str, options: Mapping[str, str], runtime: tuple[str, tuple[int, ...]]
    ) -> None:
        self._pointer: int | None = None
        try:
            # CDLL and not PyDLL: a library that hangs must not hold Python's lock.
            self._library = ctypes.CDLL(library)
            create = self._library.tflite_plugin_create_delegate
            self._destroy = self._library.tflite_plugin_destroy_delegate
        except OSError as error:
            raise DelegateFaultError(_unloadable(library, str(error))) from error
        except AttributeError as error:
            seen = f"{library} has no tflite_plugin_create_delegate and _destroy_delegate"
            raise DelegateFaultError(Fault("library missing", seen, _INSTALL)) from error
        self._refuse_old_build(library, runtime)
        said: list[str] = []
        reporter = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(
            lambda text: said.append((text or b"").decode("utf-8", "replace"))
        )
        keys = (ctypes.c_char_p * len(options))(*(key.encode() for key in options))
        values = (ctypes.c_char_p * len(options))(*(value.encode() for value in options.values()))
        create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, type(reporter)]
        create.restype = ctypes.c_void_p
        self._destroy.argtypes = [ctypes.c_void_p]
        self._destroy.restype = None
        self._pointer = create(keys, values, len(options), reporter)
        if not self._pointer:
            reason = "".join(said)[:_MOST_TEXT] or "without a reason"
            raise DelegateFaultError(Fault("refused", f"{library} gives no delegate ({reason})", _BUSY))

    def close(self) -> None:
        """Destroy the delegate. Closing twice is allowed."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._destroy(pointer)

    def __del__(self) -> None:
        self.close()

    def _get_native_delegate_pointer(self) -> int | None:
        """Called by the interpreter."""
        return self._pointer

    def _refuse_old_build(self, library: str, runtime: tuple[str, tuple[int, ...]]) -> None:
        name, version = runtime
        try:
            function = self._library.edgetpu_version
        except AttributeError:  # no libedgetpu
            return
        function.restype = ctypes.c_char_p
        text = (function() or b"").decode("utf-8", "replace")
        compiler = _GCC.search(text)
        recent = name != "tflite-runtime" or version[:2] > _LAST_PAIRED
        if compiler and int(compiler[1]) <= _GOOGLES_GCC and recent:
            shown = f"{name} {'.'.join(map(str, version))}"
            raise DelegateFaultError(
                Fault(
                    "wrong ABI pairing",
                    f"{library} is Google's build of 2021 or before ({text}), which crashes with {shown}",
                    REBUILD,
                )
            )


_INSTALL = f"{REBUILD}; Debian has no package of it"
_BUSY = (
    "another process may hold the device (sudo fuser /dev/apex_0, or stop what uses it); unplug it and plug "
    "it in again, on a port that gives it enough current"
)


def _unloadable(library: str, reason: str) -> Fault:
    if _OTHER_MACHINE.search(reason):
        return Fault("wrong ABI pairing", f"{library} is for another machine ({reason})", REBUILD)
    if _OTHER_SYSTEM.search(reason):
        return Fault("wrong ABI pairing", f"{library} does not fit this system ({reason})", REBUILD)
    missing = _NOT_FOUND.match(reason)
    if missing and missing[1] != library:
        package = "libusb-1.0-0" if "libusb" in missing[1] else f"the package that holds {missing[1]}"
        return Fault(
            "library missing", f"{library} needs {missing[1]}", f"run: sudo apt-get install {package}"
        )
    return Fault("library missing", f"{library} cannot be loaded ({reason})", _INSTALL)
