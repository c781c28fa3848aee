"""The user's cache folder: what is dear to find out and cheap to lose, such as which backend is the fastest.

``EDGEFACE_CACHE`` names the folder; without it, it is ``edgeface`` in ``XDG_CACHE_HOME`` or in ``~/.cache``.
Nothing here raises: on a read-only or full disk EdgeFace finds everything out anew, and that is all.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "recall", "remember"]

_MOST_BYTES = 1 << 20


def cache_folder() -> Path | None:
    """The folder, which need not exist yet; None where there is no home to hold one."""
    named = os.environ.get("EDGEFACE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():  # the XDG specification tells to ignore a relative one
        return Path(base, "edgeface")
    try:
        return Path.home() / ".cache" / "edgeface"
    except RuntimeError:  # a service without HOME and without an entry in the password file
        return None


def recall(name: str) -> dict[str, Any] | None:
    """The JSON object remembered as ``name``; None when there is none that can be read."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        with (folder / f"{name}.json").open("rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def remember(name: str, value: dict[str, Any]) -> bool:
    """Keep a JSON object as ``name``, whole or not at all; True if it was kept."""
    import tempfile  # slow to import, and most machines never have anything to remember

    folder = cache_folder()
    if folder is None:
        return False
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    except (OSError, ValueError):
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, allow_nan=False)
        Path(temporary).replace(folder / f"{name}.json")
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        return False
    return True
