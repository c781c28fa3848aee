"""What a run was: on what it was made, by which packages, and digests of files and folders."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "EXPORT",
    "TRAINING",
    "commit",
    "digest",
    "machine",
    "numbers_or_null",
    "versions",
    "write_bytes",
    "write_json",
]

TRAINING = ("numpy", "opencv-python-headless", "torch")
EXPORT = ("ai-edge-litert", "ai-edge-quantizer", "litert-converter", "litert-torch", "onnx", "onnxruntime")
_HERE = Path(__file__).parent


def digest(path: Path) -> str | None:
    """SHA-256 of a file, or of a folder's names and contents; None where nothing is."""
    if path.is_dir():
        rows = [f"{p.relative_to(path)} {digest(p)}" for p in sorted(path.rglob("*")) if p.is_file()]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()
    if not path.exists():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions by package; what is not installed says so."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, Any]:
    """The machine's type, as far as it decides about bits: not its name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": named[0] if named else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The checkout's commit, with ``-dirty`` where files differ from it; None without one."""
    command = ("git", "describe", "--always", "--dirty", "--exclude=*")
    try:
        told = subprocess.run(command, cwd=_HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it is either the old one or the whole new one, whenever the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, values: Mapping[str, Any] | list[Any]) -> None:
    """The same for JSON; what is no number becomes null, for JSON has no word for it."""
    text = json.dumps(numbers_or_null(values), indent=1, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def numbers_or_null(values: Any) -> Any:
    """JSON values with None for every NaN and infinity in them."""
    if isinstance(values, Mapping):
        return {name: numbers_or_null(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [numbers_or_null(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
