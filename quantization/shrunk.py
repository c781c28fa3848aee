"""A face shown as small as asked: its photo, shrunk, in a black frame of 640 x 480.

How small a face a detector still finds is told by faces of one size at a time; photos of people hold large
ones. Shrunk by pixel areas, a face is sharper than one that a camera sees from afar, and nothing is around
the photo: what is measured so is nearer to the best case than to the worst.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import BBox

__all__ = ["SIZES", "shrunk"]

SIZES = (20, 24, 32, 40, 60)
"""Pixels of the larger side of the box; the first is the smallest face that the detector is for."""

_WIDTH, _HEIGHT = 640, 480


def shrunk(rgb: NDArray[np.uint8], box: BBox, side: int) -> tuple[NDArray[np.uint8], BBox]:
    """The frame [480, 640, 3] and where `box` lies in it, its larger side `side` pixels.

    The photo is in the middle; if it is larger than the frame, the part nearest to the face is shown.
    """
    scale = side / max(box.width, box.height)
    high, wide = (max(round(length * scale), 1) for length in rgb.shape[:2])
    x, y = wide / rgb.shape[1], high / rgb.shape[0]  # the scale, after rounding
    there = BBox((box.x + 0.5) * x - 0.5, (box.y + 0.5) * y - 0.5, box.width * x, box.height * y, 1.0)
    left, top = _start(wide, there.center[0], _WIDTH), _start(high, there.center[1], _HEIGHT)
    small = cv2.resize(rgb, (wide, high), interpolation=cv2.INTER_AREA)
    seen = small[max(-top, 0) : _HEIGHT - top, max(-left, 0) : _WIDTH - left]
    frame = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    row, column = max(top, 0), max(left, 0)
    frame[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    return frame, BBox(there.x + left, there.y + top, there.width, there.height, 1.0)


def _start(length: int, middle: float, frame: int) -> int:
    """Where the photo begins on one axis of the frame; below 0 if it is longer."""
    if length <= frame:
        return (frame - length) // 2
    return min(0, max(frame - length, round(frame / 2 - middle)))
