"""When the next frame of a source that has no clock of its own is due: a film, a folder, a drawing."""

from __future__ import annotations

import time

__all__ = ["Pace"]


class Pace:
    """Gives frames their times at an even rate, and keeps them when they are to come live.

    A reader who comes more than a frame too late gets the next one now, and those after it an even time
    later: a camera does not catch up either, and frames stamped with the past would look delayed for ever.

    Args:
        rate: frames per second.
        live: wait until a frame is due and stamp it with the monotonic clock; otherwise at once, from 0.
    """

    def __init__(self, rate: float, live: bool) -> None:
        self._rate, self._live = rate, live
        self._start_ns = time.monotonic_ns() if live else 0
        self._lost_ns = 0

    def due(self, index: int) -> int:
        """Return when frame `index` is due, nanoseconds since the start."""
        due = self._lost_ns + round(index / self._rate * 1e9)
        late = time.monotonic_ns() - self._start_ns - due if self._live else 0
        if late <= 1e9 / self._rate:
            return due
        self._lost_ns += late
        return due + late

    def stamp(self, index: int) -> int:
        """Return the time of frame `index`, nanoseconds, when it has come."""
        at = self._start_ns + self.due(index)
        if self._live:
            time.sleep(max(0, at - time.monotonic_ns()) * 1e-9)
        return at
