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
from edgeface.camera.synthetic import Actor, Place, SyntheticCamera, orbit, visits
from edgeface.errors import ArgumentError, CameraError, FrameError
from edgeface.frame import read_image

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

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
    "visits",
]

_ANY = Mode()


@contextlib.contextmanager
def open_camera(
    source: int | str | os.PathLike[str],
    mode: Mode = _ANY,
    *,
    loop: bool = False,
    live: bool = False,
    wait: bool = False,
) -> Iterator[Camera]:
    """Open what a user would call a camera, and close it at the end of the block.

    Args:
        source: the number or path of a USB camera (0, "0", "/dev/video0"); "picamera" or "picamera:1"; an
            address "rtsp://..."; a film; a folder of pictures; "synthetic:PHOTO", before which the face of a
            photo comes and goes, for programs to be tried without a camera.
        mode: what to ask a camera for; the others are as they are.
        loop: begin a film or folder again at its end.
        live: give a film, a folder or the synthetic camera in its own time, frames that nobody takes being
            lost; otherwise they wait. A camera is always live.
        wait: a camera may come later; without it, one that is absent is an error.

    Raises:
        CameraError: it cannot be opened.
        ArgumentError: the source is not a number, a path or an address.
    """
    camera = _opened(source, mode, loop, live, wait)
    try:
        yield camera
    finally:
        camera.close()


def _opened(source: int | str | os.PathLike[str], mode: Mode, loop: bool, live: bool, wait: bool) -> Camera:
    if isinstance(source, bool) or not isinstance(source, (int, str, Path)):
        raise ArgumentError(f"a camera is a number, a path or an address, not {source!r}")
    text = str(source)
    device = _device(text, mode)
    if device is not None:
        return SteadyCamera(device, wait=wait)
    kind, _, photo = text.partition(":")
    if kind == "synthetic" and photo:
        return _synthetic(photo, live)
    if Path(text).is_dir():
        return FolderCamera(text, loop=loop, live=live)
    return VideoFile(text, loop=loop, live=live)


def _device(text: str, mode: Mode) -> Callable[[], Camera] | None:
    """What opens a camera that can be lost and come back; None: a file, which cannot."""
    kind, _, number = text.partition(":")
    if text.isdecimal() or text.startswith("/dev/"):
        return partial(UsbCamera, int(text) if text.isdecimal() else text, mode)
    if text.startswith(("rtsp://", "rtsps://")):
        return partial(NetworkCamera, text)
    if kind == "picamera" and (not number or number.isdecimal()):
        return partial(PiCamera, int(number or 0), mode)
    return None


def _synthetic(photo: str, live: bool) -> Camera:
    try:
        return visits(read_image(photo).rgb, live=live)
    except FrameError as error:
        raise CameraError(f"synthetic:{photo}: the photo cannot be used: {error}") from error
