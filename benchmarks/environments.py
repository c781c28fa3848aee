"""Environments of their own for the peers: their needs do not fit beside EdgeFace's, nor beside each other's.

Each is made by the command that needs it, once, into the user's cache; only then is a network needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError

__all__ = ["MEDIAPIPE", "NodeEnvironment", "PythonEnvironment", "default_cache"]


def default_cache() -> Path:
    """Where environments of peers are kept: `edgeface-benchmarks` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeface-benchmarks"


@dataclass(frozen=True)
class PythonEnvironment:
    """A virtual environment of exactly these packages.

    Attributes:
        name: Of its folder.
        packages: What pip installs, with what they need.
        alone: What pip installs without what it declares to need.
        newest: The newest Python that there are wheels for, as (3, 12); None: this one.
    """

    name: str
    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()
    newest: tuple[int, int] | None = None

    def interpreter(self, cache: Path) -> Path:
        """Its Python; made on the first call.

        Raises:
            BenchmarkError: this Python is too new for the wheels, or the installation failed.
        """
        version = sys.version_info[:2]
        if self.newest is not None and version > self.newest:
            raise BenchmarkError(
                f"{self.name} has no wheel for Python {version[0]}.{version[1]}: run the benchmark with "
                f"Python {self.newest[0]}.{self.newest[1]} or older"
            )
        folder = self.folder(cache)
        python = folder / "bin" / "python"
        if self.is_ready(folder):
            return python
        shutil.rmtree(folder, ignore_errors=True)
        self._run(sys.executable, "-m", "venv", str(folder))
        install = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        self._run(*install, *self.packages)
        if self.alone:
            self._run(*install, "--no-deps", *self.alone)
        _stamp(folder).write_text(self._digest())  # last: an interrupted installation is begun again
        return python

    def folder(self, cache: Path) -> Path:
        """Where in the cache it is."""
        return cache / f"{self.name}-python{sys.version_info[0]}.{sys.version_info[1]}"

    def is_ready(self, folder: Path) -> bool:
        """Whether `folder` holds a finished environment of exactly these packages."""
        return _stamped(folder, self._digest()) and (folder / "bin" / "python").exists()

    def _digest(self) -> str:
        return hashlib.sha256("\n".join((*self.packages, "alone:", *self.alone)).encode()).hexdigest()

    def _run(self, *command: str) -> None:
        _run(self.name, command, None)


@dataclass(frozen=True)
class NodeEnvironment:
    """A folder of npm packages for the Node of this machine. No package's own scripts are run."""

    name: str
    packages: tuple[str, ...]

    def interpreter(self, _cache: Path) -> Path:
        """Node.

        Raises:
            BenchmarkError: it is not installed.
        """
        node = shutil.which("node")
        if node is None or shutil.which("npm") is None:
            raise BenchmarkError("node and npm are not installed: install Node 18 or newer")
        return Path(node)

    def folder(self, cache: Path) -> Path:
        """The folder with `node_modules` in it; filled on the first call.

        Raises:
            BenchmarkError: npm failed.
        """
        folder = cache / f"{self.name}-node"
        digest = hashlib.sha256("\n".join(self.packages).encode()).hexdigest()
        if _stamped(folder, digest):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"name": "peers", "private": True}))
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", "--loglevel=error")
        _run(self.name, ("npm", "install", *options, *self.packages), folder)
        _stamp(folder).write_text(digest)
        return folder


# What `import mediapipe` loads. The wheel also declares jax and jaxlib, half a gigabyte that nothing on this
# way imports, so it is installed without its declared dependencies and these are named here.
MEDIAPIPE = PythonEnvironment(
    "mediapipe-0.10.14",
    (
        "numpy==1.26.4",
        "protobuf==4.25.9",
        "opencv-contrib-python==4.11.0.86",
        "absl-py",
        "attrs",
        "flatbuffers",
        "matplotlib",
        "sounddevice",
    ),
    alone=("mediapipe==0.10.14",),
    newest=(3, 12),
)


def _stamp(folder: Path) -> Path:
    return folder / "installed"


def _stamped(folder: Path, digest: str) -> bool:
    return _stamp(folder).is_file() and _stamp(folder).read_text() == digest


def _run(name: str, command: tuple[str, ...], folder: Path | None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise BenchmarkError(
            f"could not make the environment of {name}: {' '.join(command)}\n{done.stderr[-1500:]}"
        )
