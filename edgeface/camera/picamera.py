"""The cameras of a Raspberry Pi's ribbon connector, through Picamera2 and libcamera."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edgeface.camera.base import Mode
from edgeface.errors import CameraError
from edgeface.frame import Frame

__all__ = ["PiCamera"]

_USUAL = Mode(640, 480, 30.0)
_SILENCE = 1.0  # seconds
_OLD = 2_000_000_000  # nanoseconds; a sensor's time that is older is of another clock


class PiCamera:
    """A camera of libcamera. Its frames carry the time at which the sensor began to see them.

    Args:
        number: which one, from 0.
        mode: what to ask for; the nearest that the sensor offers is taken, see `mode`.

    Raises:
        CameraError: Picamera2 is not installed, there is no such camera, or it is in use.
    """

    live = True

    def __init__(self, number: int = 0, mode: Mode = _USUAL) -> None:
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise CameraError(
                "Picamera2 is not installed: sudo apt install python3-picamera2, and make the virtual "
                "environment with --system-site-packages so that it is seen"
            ) from error
        self.name, self.ended = f"picamera:{number}", False
        self._device: Any = None
        try:
            self._device = Picamera2(number)
            # libcamera's names tell the order in a word of memory: BGR888 is R, G, B in the array.
            config: dict[str, Any] = {"main": {"format": "BGR888"}, "buffer_count": 3}
            if mode.width is not None:
                config["main"]["size"] = (mode.width, mode.height)
            if mode.rate is not None:
                config["controls"] = {"FrameRate": mode.rate}
            self._device.configure(self._device.create_video_configuration(**config))
            self._device.start()
            width, height = self._device.camera_configuration()["main"]["size"]
        except (RuntimeError, IndexError, OSError, ValueError) as error:
            self.close()
            raise CameraError(
                f"{self.name}: cannot be opened ({error}); see `rpicam-hello --list-cameras`"
            ) from error
        self.mode = Mode(width, height, mode.rate)

    def read(self) -> Frame | None:
        """Return the next frame; see `edgeface.camera.Camera`."""
        device = self._device
        if device is None:
            return None
        try:
            request = device.wait(device.capture_request(wait=False), timeout=_SILENCE)
            try:
                rgb = np.ascontiguousarray(request.make_array("main"))
                stamp = int(request.get_metadata().get("SensorTimestamp", 0))
            finally:
                request.release()
        except (RuntimeError, OSError, TimeoutError) as error:
            if self._device is None:  # closed by another thread
                return None
            raise CameraError(f"{self.name}: gives no pictures; check its ribbon cable") from error
        now = time.monotonic_ns()
        return Frame(rgb, stamp if 0 <= now - stamp < _OLD else now, self.name)

    def close(self) -> None:
        """Stop the sensor and give it back."""
        self.ended = True
        device, self._device = self._device, None
        if device is not None:
            device.close()
