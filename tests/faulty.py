"""An out-of-tree backend that fails for real, in native code, when it is told to.

`installed` makes it known as another distribution would, by an entry point; no file of EdgeFace names it.
``faulty:MODE`` opens every model well and answers with a function of the input, until the first value of an
input is `TRIGGER`; MODE says what happens then. Some modes fail earlier, see `_Backend.open` and `create`.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.backends.base import Ran, Tensors, check_inputs
from edgeface.backends.litert import LiteRTBackend
from edgeface.bundle import ModelSpec
from edgeface.errors import DeviceError
from edgeface.golden import golden_input

TRIGGER = 77
# An endless loop and an illegal instruction, as bytes of machine code.
_LOOP = {"x86_64": b"\xeb\xfe", "aarch64": b"\x00\x00\x00\x14"}
_ILLEGAL = {"x86_64": b"\x0f\x0b", "aarch64": b"\x00\x00\x00\x00"}
_PAGES: list[mmap.mmap] = []  # code that runs must stay


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the backend known, here and in child processes, by an entry point in ``folder``."""
    metadata = folder / "faulty-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[edgeface.backends]\nfaulty = tests.faulty\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])


def expected(spec: ModelSpec, tensors: Tensors) -> dict[str, np.ndarray]:
    """What a good run answers."""
    total = int(tensors[spec.input.name].astype(np.int64).sum())
    return {
        output.name: np.full(output.shape, (total + index) % 100, output.dtype)
        for index, output in enumerate(spec.outputs)
    }


def _native(code: bytes, holds_the_lock: bool) -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    _PAGES.append(page)
    kind = ctypes.PYFUNCTYPE if holds_the_lock else ctypes.CFUNCTYPE
    kind(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def fail(mode: str) -> None:
    """Do it."""
    machine = platform.machine()
    if mode == "segv":
        ctypes.string_at(0)
    elif mode == "sigill":
        _native(_ILLEGAL[machine], holds_the_lock=True)
    elif mode == "loop":
        _native(_LOOP[machine], holds_the_lock=True)
    elif mode == "spin":
        _native(_LOOP[machine], holds_the_lock=False)
    elif mode == "sleep":
        ctypes.PyDLL(None).sleep(600)  # Python's lock is held all the while
    elif mode == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif mode == "exit":
        os._exit(7)
    elif mode == "raise":
        raise DeviceError("the stick was pulled out")
    elif mode == "bug":
        raise KeyError("a defect")
    else:
        raise AssertionError(mode)


class _Session:
    def __init__(self, spec: ModelSpec, mode: str, threads: int) -> None:
        self._spec, self._mode, self._closed = spec, mode, False
        self.ran = Ran("faulty", "imagination", 3, spec.precision, threads)

    def run(self, tensors: Tensors) -> dict[str, np.ndarray]:
        image = check_inputs(self._spec, tensors)
        if self._closed:
            raise DeviceError("closed")
        if self._mode == "noisy":
            os.write(1, b"noise\n")
        if image.flat[0] == TRIGGER:
            if self._mode == "shape":
                return {output.name: np.zeros((1, 2), np.int8) for output in self._spec.outputs}
            fail(self._mode)
        return expected(self._spec, tensors)

    def close(self) -> None:
        self._closed = True
        if self._mode == "stuck":
            time.sleep(600)


class _Fast:
    """What LiteRT answers, in no time: the answers were computed while it was opened."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        inner = LiteRTBackend().open(spec, artifact, threads)
        self._answer = inner.run(golden_input(spec))
        inner.close()
        self.ran = Ran("faulty", "imagination", 0, spec.precision, threads)

    def run(self, tensors: Tensors) -> dict[str, np.ndarray]:
        return self._answer

    def close(self) -> None:
        pass


class _Honest:
    """LiteRT under another name: an out-of-tree backend that keeps to everything."""

    def __init__(self, spec: ModelSpec, artifact: bytes, threads: int) -> None:
        inner = LiteRTBackend().open(spec, artifact, threads)
        self.run, self.close = inner.run, inner.close
        self.ran = Ran("faulty", None, None, spec.precision, threads)


class _Backend:
    name = "faulty"
    formats = frozenset({"tflite"})

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def ready(self, artifact: bytes) -> bool:
        """As one that builds engines; what it has built is a file of each model's name."""
        folder = os.environ.get("EDGEFACE_FAULTY_BUILT")
        return folder is None or any(Path(folder).glob(hashlib.sha256(artifact).hexdigest()))

    def open(self, spec: ModelSpec, artifact: bytes, threads: int) -> Any:
        if self._mode in ("fast", "honest"):
            return {"fast": _Fast, "honest": _Honest}[self._mode](spec, artifact, threads)
        if Path(os.environ.get("EDGEFACE_FAULTY_FLAG", "/nowhere")).exists():
            fail("sleep")
        if self._mode.startswith("open-"):
            fail(self._mode.removeprefix("open-"))
        return _Session(spec, self._mode, threads)


def create(option: str = "") -> _Backend:
    """``EDGEFACE_FAULTY`` is the option of whoever writes none, as "auto" does."""
    option = option or os.environ.get("EDGEFACE_FAULTY", "good")
    if option == "absent":
        raise DeviceError("backend 'faulty': there is no such device; plug it in")
    if option == "broken":
        raise ZeroDivisionError("a defect")
    return _Backend(option)
