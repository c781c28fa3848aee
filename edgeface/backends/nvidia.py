"""Why CUDA or TensorRT is not there, and which package index fits this Jetson and this Python.

Every file is read below a ``root``, so that a tree of a board that is not here can be asked. What the
indexes serve is as of 2026-11, and told in these threads: microsoft/onnxruntime issue 20503 (the usual index
has no wheel for a Jetson), dusty-nv/jetson-containers issues 1283 (JetPack 6: cu126 with Ubuntu 22.04, cu129
with CUDA 12.9) and 1645 (JetPack 7: none).
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Board", "explain_absence", "read_board"]

_INDEX = "the Jetson AI Lab index (github.com/dusty-nv/jetson-containers gives its address)"
_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_JETPACK = {35: 5, 36: 6, 38: 7, 39: 7}  # Jetson Linux's major release -> JetPack's


@dataclass(frozen=True, slots=True)
class Board:
    """What the files of a machine say of its NVIDIA parts."""

    l4t: str | None
    """Release of Jetson Linux, for example ``36.4.3``; None when this is no Jetson."""
    cuda: str | None
    """Version of the CUDA toolkit that is installed, for example ``12.6``."""
    driver: bool
    """Whether a GPU's driver is loaded."""

    @property
    def jetpack(self) -> int | None:
        """JetPack's major version; None for no Jetson, or one of an unknown release."""
        return None if self.l4t is None else _JETPACK.get(int(self.l4t.split(".")[0]))


def read_board(root: Path = Path("/")) -> Board:
    """Look at the files below ``root``; what cannot be read counts as absent."""
    try:
        release = _RELEASE.search((root / "etc/nv_tegra_release").read_text(errors="replace"))
    except OSError:
        release = None
    try:
        known = json.loads((root / "usr/local/cuda/version.json").read_text())
        cuda = ".".join(str(known["cuda"]["version"]).split(".")[:2])
    except (OSError, ValueError, KeyError, TypeError):
        cuda = None
    # The last is a PC's GPU as Linux below Windows sees it.
    devices = ("dev/nvidia0", "dev/nvhost-gpu", "dev/nvgpu/igpu0", "proc/driver/nvidia/version", "dev/dxg")
    return Board(
        l4t=f"{release[1]}.{release[2]}" if release else None,
        cuda=cuda,
        driver=any((root / name).exists() for name in devices),
    )


def explain_absence(
    device: str, board: Board, python: tuple[int, int] = (sys.version_info[0], sys.version_info[1])
) -> str:
    """Why no onnxruntime offers ``device`` (``"cuda"`` or ``"tensorrt"``) here, and the mend, in one line."""
    name = {"cuda": "CUDA", "tensorrt": "TensorRT"}[device]
    shown = f"Python {python[0]}.{python[1]}"
    if board.l4t is not None:
        return f"no onnxruntime with {name} is installed (Jetson Linux {board.l4t}, {shown}): " + _jetson(
            device, board, python
        )
    if not board.driver:
        return f"{name}: no NVIDIA driver is loaded on this machine; use the CPU, or install the driver"
    gpu = "onnxruntime-gpu[cuda,cudnn]"
    more = " and pip install tensorrt" if device == "tensorrt" else ""
    return (
        f"no onnxruntime with {name} is installed ({shown}): run pip uninstall onnxruntime onnxruntime-gpu, "
        f"then pip install '{gpu}'{more}; the two packages overwrite each other, so only one may be there"
    )


def _jetson(device: str, board: Board, python: tuple[int, int]) -> str:
    if board.jetpack == 6:
        wanted = ((3, 10), (3, 12))
        part = "jp6/cu129" if board.cuda == "12.9" else "jp6/cu126"
        if python not in wanted:
            return (
                f"{part} of {_INDEX} has wheels for Python 3.10, JetPack 6's own (cu129: 3.12 too); make "
                "the environment with python3.10"
            )
        return (
            "run pip uninstall onnxruntime onnxruntime-gpu, then "
            f"pip install onnxruntime-gpu with --index-url to {part} of {_INDEX}"
        )
    if board.jetpack == 7:
        if device == "tensorrt":
            return "no public wheel for JetPack 7 has TensorRT; use onnx:cuda, or build onnxruntime"
        return "run pip uninstall onnxruntime, then pip install onnxruntime-gpu (Python 3.11 to 3.13)"
    if board.jetpack == 5:
        return "JetPack 5's own wheels end at Python 3.8, edgeface begins at 3.10; use the CPU or JetPack 6"
    return "no index is known for this release; use the CPU, or build onnxruntime for it"
