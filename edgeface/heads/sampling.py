"""The quick way from a rectangle of whole frame pixels to a model's input.

`edgeface.geometry.warp` can turn and cut anywhere between pixels; most crops need neither. A crop that is
snapped to whole pixels (the map back into the frame is made from the snapped crop, so nothing is lost) can be
resized instead of warped: 0.03 instead of 0.07 ms for a 112 x 112 crop, 0.07 instead of 0.41 ms for the
detector's view of a 640 x 480 frame, on one x86 core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Window", "resample"]


@dataclass(frozen=True, slots=True)
class Window:
    """Whole pixels: columns ``left`` to ``left + width - 1``, rows ``top`` to ``top + height - 1``."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def around(cls, center: tuple[float, float], side: float) -> Window:
        """The square nearest to the one of ``side`` pixels around ``center`` (frame pixels)."""
        whole = max(1, round(side))
        # A square of n whole pixels from `left` on spans left - 0.5 to left + n - 0.5. Boxes of whole numbers
        # lie halfway between two squares: all go to the same side, so that a face that moves by one pixel
        # moves its square by one (`round` would go to the even one); 1e-3 keeps noise from deciding.
        left, top = (math.ceil(middle - whole / 2 - 1e-3) for middle in center)
        return cls(left, top, whole, whole)

    @property
    def center(self) -> tuple[float, float]:
        """Centre (x, y) in frame pixels."""
        return self.left + (self.width - 1) / 2, self.top + (self.height - 1) / 2

    def inside(self, rgb: NDArray[np.uint8]) -> bool:
        """Whether the frame ``rgb`` holds all of it."""
        height, width = rgb.shape[:2]
        return (
            self.left >= 0
            and self.top >= 0
            and self.left + self.width <= width
            and self.top + self.height <= height
        )


def resample(rgb: NDArray[np.uint8], window: Window, out: NDArray[np.uint8]) -> None:
    """Resize the pixels of ``window``, which lies inside ``rgb``, edge to edge into ``out`` uint8 [h, w, 3].

    Bilinear. Where that would skip pixels, the picture is first halved, often enough that it does not: a
    bilinear step by exactly two is the mean of four pixels and has a fast path in OpenCV, unlike averaging by
    other factors.
    """
    part = rgb[window.top : window.top + window.height, window.left : window.left + window.width]
    height, width = out.shape[:2]
    while part.shape[0] > 2 * height and part.shape[1] > 2 * width:
        half = ((part.shape[1] + 1) // 2, (part.shape[0] + 1) // 2)
        part = np.asarray(cv2.resize(part, half, interpolation=cv2.INTER_LINEAR), np.uint8)
    cv2.resize(part, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
