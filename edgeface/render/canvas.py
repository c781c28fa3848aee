"""Drawing that looks the same on every picture size: anti-aliased strokes, rounded panels and legible text.

OpenCV draws lines of whole-pixel thickness and, before its version 5, text out of bare strokes. Everything
here is therefore drawn larger than needed into a mask, reduced by area, and blended: thickness may be 1.3 px,
edges are soft, and text is readable with every OpenCV the package accepts. Text is ASCII for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeface.render.layout import Rect

__all__ = ["Canvas", "Colour", "TextMetrics", "text_mask", "text_metrics"]

Colour: TypeAlias = tuple[int, int, int]
Picture: TypeAlias = NDArray[np.uint8]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TRUE_TYPE = hasattr(cv2, "FontFace")  # OpenCV 5 maps the stroke fonts onto a real typeface
_SHIFT = 4  # drawing coordinates are handed to OpenCV in 1/16 px
_REFERENCE_SCALE = 4.0


@dataclass(frozen=True, slots=True)
class TextMetrics:
    """Size of one line of text in pixels: `width`, height of capitals above, `descent` below the baseline."""

    width: int
    cap: int
    descent: int


@lru_cache(maxsize=1)
def _reference() -> tuple[float, float]:
    """Height of a capital and depth of a descender, in pixels per unit of OpenCV's font scale."""
    rows = []
    for letter in "Hg":
        ink = np.zeros((240, 240), np.uint8)
        cv2.putText(ink, letter, (60, 140), _FONT, _REFERENCE_SCALE, 255, 1, cv2.LINE_AA)
        rows.append(np.flatnonzero(ink.max(axis=1) > 127))
    return (140.0 - rows[0][0]) / _REFERENCE_SCALE, max(rows[1][-1] - 140.0, 1.0) / _REFERENCE_SCALE


@lru_cache(maxsize=1024)
def text_mask(text: str, cap: int, bold: bool = False) -> Picture:
    """Coverage mask (uint8 [h, w], read-only) of one line of text whose capitals are `cap` pixels high.

    `_above(cap)` rows of margin are above the capitals, for the letters that are higher; the baseline is the
    lower edge of the capitals.
    """
    factor = 2 if _TRUE_TYPE else 4
    per_scale, descent = _reference()
    weight = (2 if bold else 1) if _TRUE_TYPE else max(1, round(cap * factor * (0.15 if bold else 0.105)))
    # bare strokes are as much higher than asked as they are thick, half of it at either end
    extra = 0 if _TRUE_TYPE else weight
    scale = (cap * factor - extra) / per_scale
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, weight)
    rows = cap + 2 * _above(cap) + round(descent * cap / per_scale)
    # a few columns more than measured: some glyphs reach beyond their advance width
    ink = np.zeros((rows * factor, width + 4 * factor), np.uint8)
    cv2.putText(
        ink, text, (factor, (cap + _above(cap)) * factor - extra // 2), _FONT, scale, 255, weight, cv2.LINE_AA
    )
    columns = -(-ink.shape[1] // factor)
    mask = np.asarray(cv2.resize(ink, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
    used = np.flatnonzero(mask.max(axis=0))
    mask = np.ascontiguousarray(mask[:, : int(used[-1]) + 1 if used.size else 1])
    mask.setflags(write=False)
    return mask


def text_metrics(text: str, cap: int, bold: bool = False) -> TextMetrics:
    """Measure a line of text as `Canvas.text` will draw it."""
    mask = text_mask(text, cap, bold)
    return TextMetrics(width=mask.shape[1], cap=cap, descent=mask.shape[0] - cap - _above(cap))


def _above(cap: int) -> int:
    return 1 + cap // 8


def _thickness(pixels: float) -> int:
    """OpenCV's number for a line so thick: its smooth lines are 1.4 + twice the half of it wide, measured."""
    return max(1, 2 * round((pixels - 1.44) / 2))


class Canvas:
    """A picture being drawn on: RGB uint8 [H, W, 3], owned by the canvas, changed in place.

    Coordinates are pixels with centres at integers, as everywhere in the package. What lies outside the
    picture is cut off; nothing raises for it.
    """

    def __init__(self, rgb: Picture) -> None:
        self.rgb = rgb
        self.height, self.width = rgb.shape[:2]

    def blend(
        self, left: int, top: int, mask: NDArray[np.generic], colour: Colour, alpha: float = 1.0
    ) -> None:
        """Mix `colour` into the picture where `mask` (uint8 0..255 or float 0..1, [h, w]) covers it."""
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + mask.shape[1], self.width), min(top + mask.shape[0], self.height)
        if x0 >= x1 or y0 >= y1:
            return
        part = mask[y0 - top : y1 - top, x0 - left : x1 - left]
        unit = alpha / 255.0 if part.dtype == np.uint8 else alpha
        weight = (part.astype(np.float32) * np.float32(unit))[..., None]
        region = self.rgb[y0:y1, x0:x1]
        mixed = region + weight * (np.array(colour, np.float32) - region)
        region[...] = np.rint(mixed).astype(np.uint8)

    def text(
        self, left: int, baseline: int, text: str, cap: int, colour: Colour, *, bold: bool = False
    ) -> None:
        """Write one line; `left` is the first column and `baseline` the last row of its capitals."""
        self.blend(left, baseline + 1 - cap - _above(cap), text_mask(text, cap, bold), colour)

    def panel(
        self, rect: Rect, radius: float, colour: Colour, alpha: float, right: Colour | None = None
    ) -> None:
        """Fill a rectangle with round, smooth corners, its right half in `right` if that is given."""
        mask = _rounded(rect.width, rect.height, radius)
        half = rect.width if right in (None, colour) else rect.width // 2
        self.blend(rect.left, rect.top, mask[:, :half], colour, alpha)
        if right is not None and half < rect.width:
            self.blend(rect.left + half, rect.top, mask[:, half:], right, alpha)

    def strokes(
        self,
        lines: Sequence[tuple[NDArray[np.float32], bool]],
        thickness: float,
        colour: Colour,
        alpha: float = 1.0,
    ) -> None:
        """Draw polylines, each as points float32 [N, 2] and whether it is closed, `thickness` px wide."""
        if not lines:
            return
        stage = self._stage(np.concatenate([points for points, _ in lines]), thickness)
        if stage is None:
            return
        for points, closed in lines:
            cv2.polylines(
                stage.mask,
                [stage.fixed(points).reshape(-1, 1, 2)],
                closed,
                255,
                _thickness(thickness * stage.factor),
                cv2.LINE_AA,
                _SHIFT,
            )
        self.blend(stage.left, stage.top, stage.reduced(), colour, alpha)

    def dots(
        self,
        points: NDArray[np.float32],
        radius: float,
        colour: Colour,
        alpha: float = 1.0,
        *,
        ring: float | None = None,
    ) -> None:
        """Draw filled dots, or rings `ring` px wide, at points float32 [N, 2]."""
        if not len(points):
            return
        stage = self._stage(points, radius + 1)
        if stage is None:
            return
        # a smooth disc is drawn 0.7 px wider than asked
        size = max(1, round((radius * stage.factor - (0.7 if ring is None else 0)) * (1 << _SHIFT)))
        thickness = cv2.FILLED if ring is None else _thickness(ring * stage.factor)
        for x, y in stage.fixed(points).tolist():
            cv2.circle(stage.mask, (x, y), size, 255, thickness, cv2.LINE_AA, _SHIFT)
        self.blend(stage.left, stage.top, stage.reduced(), colour, alpha)

    def _stage(self, points: NDArray[np.float32], margin: float) -> _Stage | None:
        """The part of the picture that a drawing around `points` may touch, ready to be drawn large."""
        if not np.isfinite(points).all():
            return None
        low = np.floor(points.min(axis=0) - margin - 2)
        high = np.ceil(points.max(axis=0) + margin + 2)
        left, top = int(np.clip(low[0], 0, self.width)), int(np.clip(low[1], 0, self.height))
        right, bottom = int(np.clip(high[0] + 1, 0, self.width)), int(np.clip(high[1] + 1, 0, self.height))
        if left >= right or top >= bottom:
            return None
        longest = max(right - left, bottom - top)
        # bounds the mask to about 16 megapixels
        factor = 4 if longest <= 700 else 2 if longest <= 2000 else 1
        mask = np.zeros(((bottom - top) * factor, (right - left) * factor), np.uint8)
        return _Stage(mask, left, top, factor)


@dataclass(frozen=True, slots=True)
class _Stage:
    """A mask `factor` times as large as the part of the picture at `left`, `top` that it stands for."""

    mask: Picture
    left: int
    top: int
    factor: int

    def fixed(self, points: NDArray[np.float32]) -> NDArray[np.int32]:
        """Picture coordinates as OpenCV's fixed-point numbers; points far outside are pulled in, unseen."""
        local = (points - np.array([self.left, self.top], np.float32) + 0.5) * self.factor - 0.5
        fixed: NDArray[np.int32] = np.rint(np.clip(local, -30000, 60000) * (1 << _SHIFT)).astype(np.int32)
        return fixed

    def reduced(self) -> Picture:
        if self.factor == 1:
            return self.mask
        height, width = self.mask.shape
        size = (width // self.factor, height // self.factor)
        return np.asarray(cv2.resize(self.mask, size, interpolation=cv2.INTER_AREA), np.uint8)


@lru_cache(maxsize=256)
def _rounded(width: int, height: int, radius: float) -> NDArray[np.float32]:
    """Coverage of a rounded rectangle: its signed distance, clipped to one pixel of transition."""
    radius = min(radius, width / 2, height / 2)
    x = np.maximum(np.abs(np.arange(width) - (width - 1) / 2) - (width / 2 - radius), 0)
    y = np.maximum(np.abs(np.arange(height) - (height - 1) / 2) - (height / 2 - radius), 0)
    return np.asarray(np.clip(0.5 + radius - np.hypot(x[None, :], y[:, None]), 0, 1), np.float32)
