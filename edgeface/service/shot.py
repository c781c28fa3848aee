"""One frame of the live view in the forms in which it is shown, each made once and only if somebody asks."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeface.errors import FrameError
from edgeface.render import OverlayStyle, draw_overlay
from edgeface.service.privacy import counts_of, hide_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.results import BBox, Face
    from edgeface.stream import Moment
    from edgeface.tracks import TrackEvent, TrackResult

__all__ = ["Seen", "Shot", "dumped"]

_QUALITY = 80
_OUTSIDE = OverlayStyle(landmarks=False, parsing=False, legend=False)  # of a hidden face no shape is drawn
_LONGEST = 1280  # pixels of the longer side of a picture that is shown


@dataclass(frozen=True, slots=True)
class Seen:
    """What was made of a frame: the tracker's result, and what must be hidden in its picture."""

    result: TrackResult
    faces: tuple[Face, ...] = ()
    boxes: tuple[BBox, ...] = ()


class Shot:
    """A frame and its result, to be shown to any number of viewers. Safe for several threads.

    Args:
        number: grows from shot to shot, also from one camera to the next.
        moment: the frame and what was made of it.
        privacy: as in `ServiceSettings`.
        rate: frames per second, lately.
    """

    def __init__(self, number: int, moment: Moment[Seen], privacy: str, rate: float) -> None:
        self.number, self.moment, self.rate = number, moment, rate
        self._privacy = privacy
        self._lock = threading.Lock()
        self._text: str | None = None
        self._jpegs: dict[bool, bytes] = {}

    def values(self) -> dict[str, Any]:
        """Return the result as `analyze --json` writes it, with "stream"; in private, counts and events."""
        result, moment = self.moment.result.result, self.moment
        said = counts_of(result) if self._privacy == "counts" else result.to_dict()
        said["stream"] = {"number": self.number, **moment.to_dict(), "fps": round(self.rate, 2)}
        return said

    def text(self, missed: Sequence[TrackEvent] = ()) -> str:
        """Return `values` as JSON, the events before its own being those of shots that a viewer missed."""
        if missed:
            values = self.values()
            return dumped({**values, "events": [*(event.to_dict() for event in missed), *values["events"]]})
        with self._lock:
            if self._text is None:
                self._text = dumped(self.values())
            return self._text

    def jpeg(self, overlay: bool) -> bytes:
        """Return its picture as JPEG, with faces hidden where that is asked for.

        Raises:
            FrameError: no picture is shown in this kind of privacy.
        """
        if self._privacy == "counts":
            raise FrameError("no pictures are shown: this service gives counts and events alone")
        with self._lock:
            if overlay not in self._jpegs:
                self._jpegs[overlay] = encoded(self._picture(overlay))
            return self._jpegs[overlay]

    def _picture(self, overlay: bool) -> NDArray[np.uint8]:
        seen, rgb = self.moment.result, self.moment.frame.rgb
        style = OverlayStyle()
        if self._privacy in ("blur", "mask"):
            rgb = hide_faces(rgb, seen.faces, seen.boxes, blur=self._privacy == "blur")
            style = _OUTSIDE
        return draw_overlay(rgb, seen.result.frame, style) if overlay else rgb


def encoded(rgb: NDArray[np.uint8]) -> bytes:
    """Write a picture, uint8 [H, W, 3], as JPEG, its longer side at most 1280 pixels."""
    height, width = rgb.shape[:2]
    scale = _LONGEST / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not done:
        raise FrameError(f"a picture of {width} x {height} pixels cannot be written as JPEG")
    return data.tobytes()


def dumped(values: dict[str, Any]) -> str:
    """Write JSON in one line; what is not a number of JSON is a defect here, and raises."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
