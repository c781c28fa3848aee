"""Where updates come from and whom to believe: the file that the device's image brings along.

``/etc/edgeface/update.json``, with the publisher's ``root.json`` beside it::

    {"schema": "edgeface.update/1", "source": "https://updates.example.org/edgeface/", "ring": "stable"}
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from edgeface.errors import BundleError
from edgeface.manifest import Section
from edgeface.update.errors import SettingsError

__all__ = ["Settings", "settings_path"]

_SCHEMA = "edgeface.update/1"
_MOST_BYTES = 512 << 10
_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a device knows of its updates.

    Attributes:
        source: Address of the repository, or its folder on this machine (a stick).
        root: The root of trust, TUF metadata: the bytes of ``root.json`` as the device's image brought it.
        ring: Which of the publisher's rings this device is in: a release that names rings is for those alone.
    """

    source: str
    root: bytes
    ring: str

    @classmethod
    def load(cls, path: Path, source: str | None = None) -> Settings:
        """Read the file and the ``root.json`` beside it.

        Args:
            path: the file; it need not be there where ``source`` is given.
            source: stands in for the one in the file.

        Raises:
            SettingsError: one of them is missing, is no such file, or names no place to look.
        """
        told, ring = "", "stable"
        try:
            section = Section(json.loads(_read(path)), "update")
            if section.text("schema") != _SCHEMA:
                raise section.fail("schema", _SCHEMA)
            told = section.text("source")
            ring = section.text("ring")
            section.done()
        except FileNotFoundError as error:
            if source is None:
                raise SettingsError(
                    f"no {path}, so nobody told this device where updates come from; write the file, or say "
                    "--from ADDRESS"
                ) from error
        except (OSError, ValueError, RecursionError, BundleError) as error:
            raise SettingsError(f"{path}: cannot be used ({error}); write it anew") from error
        root = path.with_name("root.json")
        try:
            trusted = _read(root)
        except OSError as error:
            raise SettingsError(
                f"no root of trust at {root} ({error.strerror}), so nobody is believed; put the publisher's "
                "root.json there"
            ) from error
        return cls(_place(str(source or told)), trusted, ring)


def settings_path() -> Path:
    """Where the file is: ``EDGEFACE_UPDATE``, or ``/etc/edgeface/update.json``."""
    return Path(os.environ.get("EDGEFACE_UPDATE") or "/etc/edgeface/update.json")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)


def _place(source: str) -> str:
    if source.startswith(_SCHEMES):
        return source.rstrip("/")
    folder = Path(source)
    if not (folder / "metadata").is_dir():
        raise SettingsError(
            f"source {source}: is neither an address (https://...) nor the folder of a repository, which "
            "has metadata/ and targets/ in it; mount the stick, or check the path"
        )
    return str(folder.resolve())
