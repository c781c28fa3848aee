"""A camera that is opened again whenever it is lost, and watched for pictures that stand still.

OpenCV can give the last picture for ever after a camera was unplugged, and drivers hang in the same way: a
sensor always trembles in its last bits, so the same picture again and again is no camera any more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeface.camera.base import Mode
from edgeface.errors import ArgumentError, CameraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeface.camera.base import Camera
    from edgeface.frame import Frame

__all__ = ["CameraHealth", "SteadyCamera"]

_FIRST, _FACTOR, _MOST = 0.25, 2.0, 1.5  # seconds between two attempts to open it
_SLICE = 0.1  # seconds that one `read` waits for an attempt, so that its caller can stop


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """What has happened to a camera so far.

    Attributes:
        lost: Why it gives no frames now; empty when it does.
        losses: How often it was lost, for whatever reason.
        freezes: How often because its picture stood still.
        resizes: How often the size of its frames changed.
    """

    lost: str = ""
    losses: int = 0
    freezes: int = 0
    resizes: int = 0


class SteadyCamera:
    """Keeps a live camera going: unplugged, silent or frozen, it is opened again until it gives frames.

    While it is lost, `read` gives None about ten times a second. A film or folder ends as it always does.

    Args:
        opener: opens the camera; called again after each loss, ever less often, every 1.5 s at least.
        freeze_after: seconds of the same picture after which it is frozen; None: a still picture is right, as
            it is of a test card.
        silent_after: seconds without a frame after which it is lost.
        wait: do not mind when it is absent at first.
        clock: seconds that only grow; tests bring their own.
        sleep: waits so many seconds; the same.

    Raises:
        CameraError: it cannot be opened, and ``wait`` is false.
        ArgumentError: a time is not above 0.
    """

    def __init__(
        self,
        opener: Callable[[], Camera],
        *,
        freeze_after: float | None = 1.5,
        silent_after: float = 2.0,
        wait: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not silent_after > 0 or not (freeze_after is None or freeze_after > 0):
            raise ArgumentError(
                f"freeze_after {freeze_after} and silent_after {silent_after} must be seconds above 0"
            )
        self.name, self.live, self.mode, self.ended = "camera", True, Mode(), False
        self.health = CameraHealth()
        self._open, self._freeze_after, self._silent_after = opener, freeze_after, silent_after
        self._clock, self._sleep = clock, sleep
        self._camera: Camera | None = None
        self._pause, self._again = _FIRST, clock()
        self._last: Frame | None = None
        self._changed = self._heard = clock()
        try:
            self._opened()
        except CameraError as error:
            if not wait:
                raise
            self._lose(str(error))

    def read(self) -> Frame | None:
        """Return the next frame; None while the camera is lost. See `edgeface.camera.Camera`."""
        if self.ended:
            return None
        camera = self._camera or self._reopened()
        if camera is None:
            return None
        try:
            frame = camera.read()
        except CameraError as error:
            self._lose(str(error))
            return None
        if frame is None:
            if camera.ended and not camera.live:
                self.ended = True
            elif camera.ended:
                self._lose(f"{self.name}: the stream ended")
            elif self._clock() - self._heard > self._silent_after:
                self._lose(f"{self.name}: no picture for {self._silent_after} s")
            return None
        self._heard = self._clock()
        if camera.live and self._freeze_after is not None and self._stands_still(frame, self._freeze_after):
            return None
        if self._last is not None and self._last.rgb.shape != frame.rgb.shape:
            self.health = replace(self.health, resizes=self.health.resizes + 1)
        if self.health.lost:
            self._pause = _FIRST
            self.health = replace(self.health, lost="")
        self._last = frame
        return frame

    def close(self) -> None:
        """Close the camera for good."""
        self.ended = True
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()

    def _opened(self) -> Camera:
        camera = self._open()
        self._camera = camera
        self.name, self.live, self.mode = camera.name, camera.live, camera.mode
        self._changed = self._heard = self._clock()
        return camera

    def _reopened(self) -> Camera | None:
        rest = self._again - self._clock()
        if rest > 0:
            self._sleep(min(rest, _SLICE))
            return None
        try:
            return self._opened()
        except CameraError as error:
            self._lose(str(error))
            return None

    def _lose(self, reason: str, frozen: bool = False) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.close()
        counted = not self.health.lost  # one loss, however many attempts it takes to come back
        self.health = replace(
            self.health,
            lost=reason,
            losses=self.health.losses + counted,
            freezes=self.health.freezes + (counted and frozen),
        )
        self._again = self._clock() + self._pause
        self._pause = min(_MOST, self._pause * _FACTOR)

    def _stands_still(self, frame: Frame, longest: float) -> bool:
        """True if this frame is not to be given: the picture has not changed for too long."""
        now = self._clock()
        if self._last is None or not _same(self._last.rgb, frame.rgb):
            self._changed = now
            return False
        if now - self._changed >= longest:
            self._lose(f"{self.name}: the same picture for {now - self._changed:.1f} s", frozen=True)
        # Opened again, and still what it showed before: that is no proof of life.
        return bool(self.health.lost)


def _same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """True if two pictures are; where they differ, which is nearly always, a few rows tell."""
    return np.array_equal(one[::32], other[::32]) and np.array_equal(one, other)
