"""Cameras and films that OpenCV opens: V4L2 and USB, video files, RTSP."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeface.camera.base import Mode
from edgeface.camera.pace import Pace
from edgeface.errors import CameraError, FrameError
from edgeface.frame import Frame, ImageLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["NetworkCamera", "UsbCamera", "VideoFile"]

_ANY = Mode()
_LIMITS = ImageLimits()
_USUAL_RATE = 25.0
_INDEXED = frozenset({".mp4", ".m4v", ".mov", ".avi"})  # whose announced number of frames can be believed
_SILENCE = 1  # seconds after which OpenCV gives up waiting for a frame; it would wait for ten
_OLD = 2_000_000_000  # nanoseconds; a driver's time that is older is of another clock
_PLAIN = 640 * 480  # more pixels than this do not fit through USB 2 as they are at 30 fps


class _Capture:
    """A `cv2.VideoCapture` that converts once, says why it fails and can be closed while it reads."""

    live = True

    def __init__(
        self,
        name: str,
        capture: cv2.VideoCapture,
        mend: str,
        smaller: str = "ask for a smaller mode",
        limits: ImageLimits = _LIMITS,
    ) -> None:
        self.name = name
        self.ended = False
        self._lock = threading.Lock()
        self._capture: cv2.VideoCapture | None = capture
        if not capture.isOpened():
            self.close()
            raise CameraError(f"{name}: cannot be opened; {mend}")
        width, height = (
            int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > limits.max_pixels or max(width, height) > limits.max_side:
            self.close()
            raise CameraError(
                f"{name}: {width} x {height} pixels are over the limit of {limits.max_pixels} pixels and "
                f"{limits.max_side} per side: {smaller}"
            )
        rate = capture.get(cv2.CAP_PROP_FPS)
        # A thousand is the clock of a container that does not know its rate.
        usual = math.isfinite(rate) and 1.0 <= rate < 1000.0
        known = width > 0 < height
        self.mode = Mode(width if known else None, height if known else None, rate if usual else None)

    def close(self) -> None:
        """Give the device back; waits for a read in progress."""
        self.ended = True
        with self._lock:
            if self._capture is not None:
                self._capture.release()
            self._capture = None

    def _grab(self) -> tuple[NDArray[np.uint8] | None, float]:
        """The next picture in RGB, None if there is none; and its time as OpenCV tells it, milliseconds."""
        with self._lock:
            if self._capture is None:
                return None, 0.0
            with quiet():
                try:
                    ok, bgr = self._capture.read()
                except cv2.error as error:
                    raise FrameError(f"{self.name}: the decoder refuses a picture") from error
                at = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if not ok or bgr.size == 0:
            return None, 0.0
        # In place: the capture gives its own copy each time.
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), np.uint8), at


class UsbCamera(_Capture):
    """A camera of Video4Linux: USB, or a CSI camera whose driver offers plain pictures.

    Args:
        device: its number or path ("/dev/video0").
        mode: what to ask for; the driver takes the nearest that it has, see `mode`.

    Raises:
        CameraError: there is no such camera, it is in use, or it gives no pictures.
    """

    def __init__(self, device: int | str = 0, mode: Mode = _ANY) -> None:
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(_SILENCE))
        path = f"/dev/video{device}" if isinstance(device, int) else str(device)
        if not Path(path).exists():
            raise CameraError(
                f"{path}: there is no such camera; is it plugged in? `ls /dev/video*` lists them"
            )
        with quiet():
            capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
            if mode.width is not None and mode.height is not None:
                if mode.width * mode.height > _PLAIN:
                    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
                capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.width)
                capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.height)
            if mode.rate is not None:
                capture.set(cv2.CAP_PROP_FPS, mode.rate)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._path = path
        super().__init__(path, capture, "is it in use, and may you read it (group video)?")

    def read(self) -> Frame | None:
        """Return the next frame; see `edgeface.camera.Camera`."""
        rgb, at = self._grab()
        now = time.monotonic_ns()
        if rgb is None:
            if self.ended:
                return None
            gone = "was unplugged" if not Path(self._path).exists() else "gives no pictures"
            raise CameraError(f"{self.name}: the camera {gone}; check its cable and open it anew")
        # Video4Linux stamps with the monotonic clock; a driver that does not is overruled.
        stamp = round(at * 1e6)
        return Frame(rgb, stamp if 0 <= now - stamp < _OLD else now, self.name)


class NetworkCamera(_Capture):
    """A camera that sends RTSP, read through OpenCV's FFmpeg. Its pictures are stamped when they arrive.

    The address may hold a password; messages and results leave it out.

    Raises:
        CameraError: it does not answer.
    """

    def __init__(self, address: str) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        wait = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * _SILENCE]
        with quiet():
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, wait)
        super().__init__(_public(address), capture, "is it reachable, and is the address right?")

    def read(self) -> Frame | None:
        """Return the next frame; see `edgeface.camera.Camera`."""
        rgb, _ = self._grab()
        if rgb is None:
            if self.ended:
                return None
            raise CameraError(
                f"{self.name}: the camera sends no pictures; check the network and open it anew"
            )
        return Frame(rgb, time.monotonic_ns(), self.name)


class VideoFile(_Capture):
    """The frames of a film, each named by the file and its number there ("film.mp4#12", from 0).

    Args:
        path: the file.
        loop: begin again at the end; the times go on.
        live: give each frame when its time has come, as a camera would, stamped with the monotonic clock as
            `Pace` does; otherwise at once, stamped with the time in the film. A live film is named without
            its folder, because what a camera shows goes to others.
        limits: the largest pictures that are taken.

    Raises:
        CameraError: the file is no film that can be read, or its pictures are larger than `limits` allow.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        loop: bool = False,
        live: bool = False,
        limits: ImageLimits = _LIMITS,
    ) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        self._path, self._loop, self.live = Path(path), loop, live
        self._index = self._since_start = 0
        shown = self._path.name if live else str(self._path)
        if not self._path.is_file():
            self.ended = True
            raise CameraError(f"{shown}: there is no such file; check the path")
        capture = self._opened()
        mend = "is it a video, is it complete, and does it play elsewhere?"
        super().__init__(shown, capture, mend, "resize the video", limits)
        self.rate = self.mode.rate or _USUAL_RATE
        """Frames per second that the times follow."""
        self._pace = Pace(self.rate, live)
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if math.isfinite(count) and 0 < count < 1e9 else None
        """How many frames the file announces; None if it does not."""

    def read(self) -> Frame | None:
        """Return the next frame; see `edgeface.camera.Camera`.

        Raises:
            CameraError: not a single frame can be decoded; or the film ended long before it should, and is
                not to begin again. The frames until then were given.
        """
        if self.ended:
            return None
        rgb, _ = self._grab()
        if rgb is None and self._loop and self._since_start:
            self._rewind()
            rgb, _ = self._grab()
        if rgb is None:
            self.ended = True
            self._complain()
            return None
        # Counted, because the times in films with odd codecs stand still or jump.
        frame = Frame(rgb, self._pace.stamp(self._index), f"{self.name}#{self._since_start}")
        self._index += 1
        self._since_start += 1
        return frame

    def _complain(self) -> None:
        """Raise if this is not where the film should end."""
        if self._index == 0:
            raise CameraError(
                f"{self.name}: no frame can be decoded; the file is damaged or of an unknown codec"
            )
        believed = self.count is not None and self._path.suffix.lower() in _INDEXED
        if believed and self._since_start < 0.9 * (self.count or 0) - 2:
            seen = f"{self._since_start} of {self.count} frames"
            raise CameraError(f"{self.name}: ends after {seen}; the file is cut or damaged")

    def _opened(self) -> cv2.VideoCapture:
        # An absolute path of an existing file is never taken for an address or a protocol.
        with quiet():
            return cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG)

    def _rewind(self) -> None:
        """Open it again: not every film can be wound back."""
        with self._lock:
            if self._capture is not None:
                self._capture.release()
                self._capture = self._opened()
        self._since_start = 0


def _public(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    return scheme + separator + rest.rpartition("@")[2] if separator else address


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """OpenCV answers with False or an empty picture; its log lines would only fill a kiosk's disk."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
