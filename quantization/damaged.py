"""Kinds of damage to a labelled picture, each at three or four fixed levels, from mild to hard.

Unlike `augment`, which draws how much, a level is exact, so that two gradings mean the same. Lengths and
areas are measured on the face, because a blur of three pixels is nothing to a large face and the end of a
small one. What a label says of the picture is kept true: points, boxes and masks turn with it, and what is
covered is unknown to a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from .datasets import Sample

__all__ = ["KINDS", "Kind"]

Rgb = NDArray[np.uint8]
_Damage = Callable[[Sample, Rgb, float, np.random.Generator], tuple[Sample, Rgb]]
_UNKNOWN = 255  # of a mask


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of damage.

    Attributes:
        what: What its levels are, in words.
        levels: From mild to hard.
        shown: How a level is written, a format.
        apply: Sample, its picture RGB uint8 [H, W, 3], level, generator -> both, damaged; neither is changed.
    """

    what: str
    levels: tuple[float, ...]
    shown: str
    apply: _Damage

    def show(self, level: float) -> str:
        """A level as people write it."""
        return self.shown.format(level).replace("%", " %")


def _side(sample: Sample) -> float:
    """The longer side of the largest face, pixels."""
    assert sample.boxes is not None  # noqa: S101  # for the type checker
    return float(sample.boxes[:, 2:].max())


def _blur(sample: Sample, rgb: Rgb, level: float, _: np.random.Generator) -> tuple[Sample, Rgb]:
    return sample, cv2.GaussianBlur(rgb, (0, 0), level * _side(sample))


def _dark(sample: Sample, rgb: Rgb, level: float, _: np.random.Generator) -> tuple[Sample, Rgb]:
    return sample, cv2.convertScaleAbs(rgb, alpha=level)


def _noise(sample: Sample, rgb: Rgb, level: float, rng: np.random.Generator) -> tuple[Sample, Rgb]:
    grain = rng.standard_normal(rgb.shape, np.float32) * np.float32(level)
    return sample, cv2.add(rgb, grain, dtype=cv2.CV_8U)


def _jpeg(sample: Sample, rgb: Rgb, level: float, _: np.random.Generator) -> tuple[Sample, Rgb]:
    ok, data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(level)])
    if not ok:
        raise ValueError(f"{sample.name}: the picture cannot be written as JPEG")
    return sample, np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


def _small(sample: Sample, rgb: Rgb, level: float, _: np.random.Generator) -> tuple[Sample, Rgb]:
    height, width = rgb.shape[:2]
    share = min(1.0, level / _side(sample))
    few = (max(1, round(width * share)), max(1, round(height * share)))
    shrunk = cv2.resize(rgb, few, interpolation=cv2.INTER_AREA)
    return sample, cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _covered(sample: Sample, rgb: Rgb, level: float, rng: np.random.Generator) -> tuple[Sample, Rgb]:
    """A box of one colour before every face, of its proportions, somewhere within it."""
    assert sample.boxes is not None  # noqa: S101  # for the type checker
    image, mask = rgb.copy(), None if sample.mask is None else sample.mask.copy()
    for x, y, width, height in sample.boxes.tolist():
        side = np.sqrt(level)
        left, top = rng.uniform(0, 1, 2) * (width * (1 - side), height * (1 - side)) + (x, y)
        colour = rng.integers(0, 256, 3, dtype=np.uint8)
        corners = np.rint([left, top, left + width * side, top + height * side]).astype(int)
        x0, y0, x1, y1 = np.maximum(corners, 0)
        image[y0:y1, x0:x1] = colour
        if mask is not None:
            mask[y0:y1, x0:x1] = _UNKNOWN
    return replace(sample, mask=mask), image


def _turned(sample: Sample, rgb: Rgb, level: float, rng: np.random.Generator) -> tuple[Sample, Rgb]:
    """The whole picture to either side, on a canvas that holds it; its border goes on around it.

    A box becomes the one around the turned ellipse that was in it.
    """
    height, width = rgb.shape[:2]
    angle = np.radians(level) * (1 if rng.random() < 0.5 else -1)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])  # clockwise on the screen
    size = tuple(int(np.ceil(x)) for x in np.abs(turn) @ (width, height) - 1e-6)
    shift = (np.array(size) - 1) / 2 - turn @ ((width - 1) / 2, (height - 1) / 2)
    matrix = np.column_stack([turn, shift])
    image = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    boxes, points, mask = sample.boxes, sample.points, sample.mask
    if boxes is not None:
        middle, half = (boxes[:, :2] + boxes[:, 2:] / 2) @ turn.T + shift, boxes[:, 2:] / 2
        half = np.sqrt(half**2 @ (turn**2).T)
        boxes = np.hstack([middle - half, 2 * half]).astype(np.float32)
    if points is not None:
        points = (points @ turn.T + shift).astype(np.float32)
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST, borderValue=_UNKNOWN)
    return replace(sample, boxes=boxes, points=points, mask=mask), image


def _grey(sample: Sample, rgb: Rgb, level: float, _: np.random.Generator) -> tuple[Sample, Rgb]:
    grey = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return sample, cv2.addWeighted(rgb, level, grey, 1 - level, 0)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "blur": Kind("blur, sigma in face sides", (0.02, 0.04, 0.08, 0.16), "{:.0%}", _blur),
        "darkness": Kind("light left", (0.25, 0.1, 0.05, 0.02), "{:.0%}", _dark),
        "noise": Kind("noise, sd in grey levels", (16, 32, 64, 128), "{:.0f}", _noise),
        "jpeg": Kind("JPEG quality", (30, 10, 5, 2), "{:.0f}", _jpeg),
        "resolution": Kind("pixels of the face", (32, 24, 16, 8), "{:.0f} px", _small),
        "occlusion": Kind("share of the face covered", (0.1, 0.2, 0.4, 0.6), "{:.0%}", _covered),
        "rotation": Kind("turned by degrees", (15, 30, 45, 90), "{:.0f}", _turned),
        "grey": Kind("colour left", (0.5, 0.25, 0.0), "{:.0%}", _grey),
    }
)
"""What can happen to a picture, by its name."""
