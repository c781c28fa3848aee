"""A folder of pictures as a camera."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.camera.base import Mode
from edgeface.camera.pace import Pace
from edgeface.errors import ArgumentError, CameraError
from edgeface.frame import Frame, read_image

if TYPE_CHECKING:
    import os

__all__ = ["FolderCamera"]

_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


class FolderCamera:
    """The pictures of a folder, sorted by name with numbers in order; hidden files and folders are left out.

    Args:
        path: the folder.
        rate: frames per second that the times of the frames pretend, or keep when ``live``.
        loop: begin again at the end; the times go on.
        live: give each picture when its time has come, stamped with the monotonic clock, as `Pace` does; and
            name it without its folder, because what a camera shows goes to others.

    Raises:
        CameraError: there is no such folder, or no picture in it.
        ArgumentError: the rate is not above 0.
    """

    def __init__(
        self, path: str | os.PathLike[str], rate: float = 2.0, loop: bool = False, live: bool = False
    ) -> None:
        if not 0 < rate < 1e5:
            raise ArgumentError(f"rate must be frames per second above 0, not {rate!r}")
        self.name, self.live, self.ended = Path(path).absolute().name if live else str(path), live, False
        self.mode = Mode(rate=rate)
        self._loop, self._index = loop, 0
        self._pace = Pace(rate, live)
        try:
            found = [
                item
                for item in Path(path).iterdir()
                if item.suffix.lower() in _PICTURES and not item.name.startswith(".") and item.is_file()
            ]
        except OSError as error:
            raise CameraError(f"{self.name}: cannot be read ({error.strerror}); give a folder") from error
        self._paths = sorted(found, key=_natural)
        if not self._paths:
            raise CameraError(f"{self.name}: no picture in this folder; JPEG, PNG, BMP and WebP are taken")

    def read(self) -> Frame | None:
        """Return the next picture; see `edgeface.camera.Camera`."""
        if self._index >= len(self._paths) and not self._loop:
            self.ended = True
        if self.ended:
            return None
        path = self._paths[self._index % len(self._paths)]
        at = self._pace.stamp(self._index)
        self._index += 1
        frame = read_image(path)
        return replace(frame, timestamp_ns=at, source=path.name if self.live else frame.source)

    def close(self) -> None:
        """End it."""
        self.ended = True


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order in which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
