"""What a camera is: one method, `read`, and `close`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from edgeface.frame import Frame

__all__ = ["Camera", "Mode"]


@dataclass(frozen=True, slots=True)
class Mode:
    """What a camera is asked for, or what it gives; None: whatever it likes, or unknown.

    Attributes:
        width: Pixels.
        height: Pixels.
        rate: Frames per second.

    Raises:
        ArgumentError: A value is not above 0, or one side is given without the other.
    """

    width: int | None = None
    height: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.width, self.height, self.rate) if value is not None]
        if not all(0 < value < 1e5 for value in given) or (self.width is None) != (self.height is None):
            raise ArgumentError(f"{self}: width and height go together, and all are numbers above 0")


class Camera(Protocol):
    """Gives frames, one after the other. Used by one thread; only `close` may come from another.

    Attributes:
        name: What it is called in messages and results.
        live: Frames come in their own time, and one that is not read in time is gone. Otherwise (files) they
            wait until they are read.
        mode: What it gives, as far as it is known.
        ended: There will be no further frame: the film is over, or the camera is closed.
    """

    name: str
    live: bool
    mode: Mode
    ended: bool

    def read(self) -> Frame | None:
        """Return the next frame, its time as the camera tells it.

        Returns within about a second: None when nothing came in that time, or when it has `ended`.

        Raises:
            CameraError: the camera is lost; only a new one can give frames.
            FrameError: this one picture cannot be used; the next may.
        """

    def close(self) -> None:
        """Give the device back. Closing twice is allowed; `read` then gives None."""
