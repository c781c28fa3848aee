"""Cameras: one protocol, and whatever gives frames under it.

::

    with edgeface.open_camera(0) as camera:  # the first USB camera, opened again when it was unplugged
        frame = camera.read()

`open_camera` takes what a user would write; the classes are for more.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeface.camera.base import Camera, Mode
from edgeface.camera.folder import FolderCamera
from edgeface.camera.opencv import NetworkCamera, UsbCamera, VideoFile
from edgeface.camera.picamera import PiCamera
from edgeface.camera.scripted import ScriptedCamera
from edgeface.camera.steady import CameraHealth, SteadyCamera
from edgeface.camera.synthetic import Actor, Place, SyntheticCamera, orbit
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = [
    "Actor",
    "Camera",
    "CameraHealth",
    "FolderCamera",
    "Mode",
    "NetworkCamera",
    "PiCamera",
    "Place",
    "ScriptedCamera",
    "SteadyCamera",
    "SyntheticCamera",
    "UsbCamera",
    "VideoFile",
    "open_camera",
    "orbit",
]

_ANY = Mode()


@contextlib.contextmanager
def open_camera(
    source: int | str | os.PathLike[str], mode: Mode = _ANY, *, loop: bool = False, wait: bool = False
) -> Iterator[Camera]:
    """Open what a user would call a camera, and close it at the end of the block.

    Args:
        source: the number or path of a USB camera (0, "0", "/dev/video0"); "picamera" or "picamera:1"; an
            address "rtsp://..."; a film; a folder of pictures.
        mode: what to ask a camera for; films and folders are as they are.
        loop: begin a film or folder again at its end.
        wait: a camera may come later; without it, one that is absent is an error.

    Raises:
        CameraError: it cannot be opened.
        ArgumentError: the source is not a number, a path or an address.
    """
    camera = _opened(source, mode, loop, wait)
    try:
        yield camera
    finally:
        camera.close()


def _opened(source: int | str | os.PathLike[str], mode: Mode, loop: bool, wait: bool) -> Camera:
    if isinstance(source, bool) or not isinstance(source, (int, str, Path)):
        raise ArgumentError(f"a camera is a number, a path or an address, not {source!r}")
    text = str(source)
    if text.isdecimal():
        return SteadyCamera(partial(UsbCamera, int(text), mode), wait=wait)
    if text.startswith("/dev/"):
        return SteadyCamera(partial(UsbCamera, text, mode), wait=wait)
    if text.startswith(("rtsp://", "rtsps://")):
        return SteadyCamera(partial(NetworkCamera, text), wait=wait)
    kind, _, number = text.partition(":")
    if kind == "picamera" and (not number or number.isdecimal()):
        return SteadyCamera(partial(PiCamera, int(number or 0), mode), wait=wait)
    return FolderCamera(text, loop=loop) if Path(text).is_dir() else VideoFile(text, loop=loop)
