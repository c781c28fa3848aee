"""Versions of what a backend runs on and no Python package holds: native libraries and the kernel's drivers.

A decision about backends is remembered together with these, because an update of one of them may make a
backend crash, answer wrongly or be the fastest. Every file is read below a ``root``.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.backends.nvidia import read_board

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["library_versions"]

# Coral's library; TensorRT, cuDNN, CUDA's runtime and driver.
_NAMES = ("libedgetpu.so", "libnvinfer.so", "libcudnn.so", "libcudart.so", "libcuda.so")
# Where Debian, Ubuntu, Jetson Linux and NVIDIA's own packages put them.
_FOLDERS = (
    "usr/local/lib",
    "usr/lib",
    "usr/lib/*-linux-gnu*",
    "usr/lib/*-linux-gnu*/nvidia",
    "usr/lib/*-linux-gnu*/tegra",
    "usr/local/cuda/lib64",
)
_DRIVERS = (
    "proc/driver/nvidia/version",
    "sys/module/nvidia/version",
    "sys/module/apex/srcversion",
    "sys/module/gasket/srcversion",
    "proc/sys/kernel/osrelease",
)


def library_versions(root: Path = Path("/")) -> list[str]:
    """A text for each library and driver that is there, and another one after any update of it."""
    board = read_board(root)
    found = [f"Jetson Linux {board.l4t}", f"CUDA {board.cuda}"]
    for name in _DRIVERS:
        with contextlib.suppress(OSError):  # most machines have not that driver
            found.append(f"{name} {(root / name).read_text(errors='replace').strip()}")
    return found + sorted(set(_stamps(root)))


def _stamps(root: Path) -> Iterator[str]:
    """Path, size and time of each library; the version is often a part of the name that a link leads to."""
    named = os.environ.get("EDGEFACE_LIBEDGETPU")
    if named:
        yield _stamp(Path(named))
    folders = [Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    for pattern in _FOLDERS:
        folders += root.glob(pattern)
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208  thousands of names, of which a few count
        except OSError:
            continue
        for name in names:
            if name.startswith(_NAMES):
                yield _stamp(folder / name)


def _stamp(path: Path) -> str:
    try:
        real = path.resolve()
        status = real.stat()
    except (OSError, RuntimeError):  # a link to nothing, or to itself
        return f"{path} leads nowhere"
    return f"{real} {status.st_size} {status.st_mtime_ns}"
