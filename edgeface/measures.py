"""What a kiosk asks of a face beyond its points: are the eyes shut, is the mouth open, does it look here.

Measures of the picture, not of the mind: a face turned to the screen is taken for a look at it, as the head
carries most of a gaze (Stiefelhagen and Zhu, CHI 2002, "Head orientation and gaze direction in meetings").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeface.pose import HeadPose

__all__ = ["BlinkWatch", "FacingWatch", "Openness", "openness"]

_SHUT, _OPEN = 0.6, 0.75  # of the person's own open eye; between the two nothing changes
_FORGET = 10.0  # seconds in which the memory of the open eye fades
_LONGEST_BLINK = 0.5  # seconds; longer is a closed eye
_PROFILE = 40.0  # degrees of yaw beyond which the far eye is a guess


@dataclass(frozen=True, slots=True)
class Openness:
    """How open eyes and mouth are: height over width, so that it does not depend on the distance.

    Attributes:
        left_eye: Eye aspect ratio of the person's left eye (Soukupova and Cech, CVWW 2016, "Real-Time Eye
            Blink Detection using Facial Landmarks"): about 0.3 for an open eye, below 0.2 for a shut one; it
            differs between people and grows as the head turns away.
        right_eye: The same of the right eye.
        mouth: The same over the inner lips: 0 for a shut mouth, about 1 for a yawn.
    """

    left_eye: float
    right_eye: float
    mouth: float

    def to_dict(self) -> dict[str, float]:
        """Return the three ratios (three decimals)."""
        return {name: round(getattr(self, name), 3) for name in ("left_eye", "right_eye", "mouth")}


def openness(points: NDArray[np.float32]) -> Openness:
    """Measure eyes and mouth on the 68 points, float32 [68, 2]. A part without width gives 0."""
    # Plain floats: for so few points they are six times as quick as arrays.
    at = points.tolist()
    return Openness(
        left_eye=_ratio(at, ((43, 47), (44, 46)), 42, 45),
        right_eye=_ratio(at, ((37, 41), (38, 40)), 36, 39),
        mouth=_ratio(at, ((61, 67), (62, 66), (63, 65)), 60, 64),
    )


class BlinkWatch:
    """Tells shut eyes from open ones by the person's own open eyes, and counts blinks.

    Feed it points that are not smoothed: a blink takes a tenth of a second.
    """

    def __init__(self) -> None:
        self.shut = False
        """Both eyes are shut now."""
        self.blinks = 0
        """How often they were shut for half a second at most."""
        self._open = 0.0
        self._time_ns = self._since_ns = 0

    def update(self, measured: Openness, pose: HeadPose | None, time_ns: int) -> None:
        """Take the eyes of one moment; a head in profile changes nothing."""
        if pose is not None and abs(pose.yaw) > _PROFILE:
            return
        wide = (measured.left_eye + measured.right_eye) / 2
        step = max(0, time_ns - self._time_ns) * 1e-9 if self._open else 0.0
        self._time_ns = max(time_ns, self._time_ns)
        # Up at once, down slowly, and not at all while the eyes are shut.
        if wide >= self._open:
            self._open = wide
        elif not self.shut:
            self._open += min(1.0, step / _FORGET) * (wide - self._open)
        if not self.shut and wide < _SHUT * self._open:
            self.shut, self._since_ns = True, time_ns
        elif self.shut and wide > _OPEN * self._open:
            self.shut = False
            self.blinks += (time_ns - self._since_ns) * 1e-9 <= _LONGEST_BLINK


class FacingWatch:
    """Whether a head faces the camera, and with it the screen that it stands on.

    Args:
        within: degrees off the line to the camera at which facing begins.
        margin: it ends this many degrees farther out, so that it does not flicker.
    """

    def __init__(self, within: float, margin: float = 5.0) -> None:
        self._within, self._margin = within, margin
        self.facing = False
        """It faces the camera now."""
        self.total_ns = 0
        """For how long it did so far, nanoseconds."""
        self._time_ns: int | None = None

    def update(self, pose: HeadPose | None, time_ns: int) -> None:
        """Take the pose of one moment; None: not facing."""
        if self.facing and self._time_ns is not None:
            self.total_ns += max(0, time_ns - self._time_ns)
        limit = self._within + (self._margin if self.facing else 0.0)
        self.facing = pose is not None and pose.off_axis <= limit
        self._time_ns = time_ns


def _ratio(at: list[list[float]], lids: tuple[tuple[int, int], ...], start: int, end: int) -> float:
    width = math.dist(at[start], at[end])
    if width < 1e-6:
        return 0.0
    return sum(math.dist(at[upper], at[lower]) for upper, lower in lids) / (len(lids) * width)
