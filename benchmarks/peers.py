"""MediaPipe's own virtual environment: its needs (numpy 1, protobuf 4) do not fit beside EdgeFace's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import BenchmarkError

__all__ = ["default_cache", "is_ready", "mediapipe_python"]

# What `import mediapipe` loads. The wheel also declares jax and jaxlib, half a gigabyte that nothing on this
# way imports, so it is installed without its declared dependencies and these are named here.
_WHEEL = "mediapipe==0.10.14"
_NEEDS = (
    "numpy==1.26.4",
    "protobuf==4.25.9",
    "opencv-contrib-python==4.11.0.86",
    "absl-py",
    "attrs",
    "flatbuffers",
    "matplotlib",
    "sounddevice",
)
_PYTHONS = ((3, 9), (3, 12))


def default_cache() -> Path:
    """Where environments of peers are kept: `edgeface-benchmarks` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeface-benchmarks"


def _stamp() -> str:
    return hashlib.sha256("\n".join((_WHEEL, *_NEEDS)).encode()).hexdigest()


def is_ready(folder: Path) -> bool:
    """Whether `folder` holds a finished environment of exactly these versions."""
    stamp = folder / "installed"
    return stamp.is_file() and stamp.read_text() == _stamp() and (folder / "bin" / "python").exists()


def mediapipe_python(cache: Path) -> Path:
    """The Python that has MediaPipe; its environment is made on the first call, which needs the network.

    Raises:
        BenchmarkError: this Python has no MediaPipe 0.10.14 wheel, or the installation failed.
    """
    version = sys.version_info[:2]
    folder = cache / f"mediapipe-0.10.14-python{version[0]}.{version[1]}"
    python = folder / "bin" / "python"
    if is_ready(folder):
        return python
    if not _PYTHONS[0] <= version <= _PYTHONS[1]:
        raise BenchmarkError(
            f"MediaPipe 0.10.14 has no wheel for Python {version[0]}.{version[1]}: run the benchmark with "
            "Python 3.9 to 3.12, or name a Python that has it with --mediapipe-python"
        )
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, *_NEEDS])
    _run([*install, "--no-deps", _WHEEL])
    (folder / "installed").write_text(_stamp())  # last: an interrupted installation is begun again
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(
            f"could not make MediaPipe's environment: {' '.join(command)}\n{done.stderr[-1500:]}"
        )
