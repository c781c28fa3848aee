"""The disk of the counting board: a Debian root, the built wheel, the frame, and networks to compare with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import BenchmarkError
from firmware.emulation import machine, roots

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Board", "emulator_version", "mesh_from", "scratch"]

_RELEASE = "bookworm"
_INSIDE = Path(__file__).with_name("inside.py")
_PYTHONPATH = "/opt/edgeface:/opt/site"
# In a .task file, and in a wheel of mediapipe.
_MESHES = ("face_landmarks_detector.tflite", "face_landmark.tflite")


@dataclass(frozen=True)
class Board:
    """A kernel and a disk; `count` boots them with one core."""

    kernel: Path
    disk: Path
    job: str

    @classmethod
    def made(
        cls,
        checkout: Path,
        folder: Path,
        *,
        frame: NDArray[np.uint8],
        runs: int,
        exactly: dict[str, str],
        others: dict[str, bytes],
    ) -> Board:
        """Build the wheel of ``checkout`` and a disk with it in ``folder``.

        Args:
            checkout: the repository.
            folder: an empty folder on the disk of the cache.
            frame: uint8 [H, W, 3] RGB.
            runs: how often everything is counted.
            exactly: distribution -> version, as in `firmware.emulation.roots.wheels`.
            others: name -> `.tflite` file.

        Raises:
            EmulationError: something could not be downloaded or built.
        """
        cache = roots.cache_folder()
        wheel = roots.build_wheel(checkout, folder)
        found = roots.wheels(cache, wheel, _RELEASE, exactly)
        tree = folder / "tree"
        # Hard links: the disk is made from them, and nothing writes to them in between.
        shutil.copytree(roots.root(cache, _RELEASE), tree, symlinks=True, copy_function=os.link)
        site = roots.site(cache, wheel, _RELEASE, found)
        shutil.copytree(site, tree / "opt/site", symlinks=True, copy_function=os.link)
        roots.install(_RELEASE, tree / "opt/edgeface", ["--no-deps", str(wheel)])
        shutil.copy2(_INSIDE, tree / "opt/inside.py")
        np.save(tree / "opt/frame.npy", frame)
        arguments = ["/opt/frame.npy", str(runs)]
        for number, (name, content) in enumerate(others.items()):
            (tree / f"opt/{number}.tflite").write_bytes(content)
            arguments.append(f"{name}=/opt/{number}.tflite")
        quoted = " ".join(f"'{argument}'" for argument in arguments)
        settings = f"PYTHONPATH={_PYTHONPATH} PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp"
        job = machine.script(f"{settings} /usr/bin/python3 /opt/inside.py {quoted}")
        (tree / "job").write_text(job)
        machine.disk(tree, folder / "disk.ext4")
        shutil.rmtree(tree)
        return cls(machine.kernel(cache), folder / "disk.ext4", job)

    def count(self, core: str) -> dict[str, Any]:
        """What `inside.py` told, run on ``core``.

        Raises:
            EmulationError: the board failed.
            BenchmarkError: it did not tell its counts.
        """
        told = machine.boot(self.kernel, self.disk, core)
        try:
            counted: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise BenchmarkError(f"{core}: no counts among what it printed:\n{told[-1500:]}") from error
        return counted

    @property
    def kernel_version(self) -> str:
        """The kernel that counts, too: its interrupts are in long counts."""
        return (self.kernel / "version").read_text()


def mesh_from(path: Path) -> bytes:
    """MediaPipe's face mesh: a `.tflite` file, or the one inside a `.task` file or a wheel of mediapipe.

    Raises:
        BenchmarkError: there is none.
    """
    try:
        if path.suffix == ".tflite":
            return path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if Path(name).name in _MESHES:
                    return archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise BenchmarkError(f"{path}: cannot be read ({error}); name a .tflite, .task or .whl") from error
    raise BenchmarkError(f"{path}: holds none of {', '.join(_MESHES)}; name MediaPipe's face_landmarker.task")


def emulator_version() -> str:
    """Of `qemu-system-aarch64`, as it says it."""
    done = subprocess.run(["qemu-system-aarch64", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else "unknown"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for a board, on the disk of the cache because of its hard links."""
    return tempfile.TemporaryDirectory(dir=roots.cache_folder(), prefix=".board-")
