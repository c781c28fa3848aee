"""Augmentation shared by the tasks: what a camera, its light and things in front of a face do to a picture.

All functions take and return RGB uint8 [H, W, 3] and draw from the generator they are given.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Image", "degrade", "occlude", "polygon_mask", "write"]

Image = NDArray[np.uint8]


def degrade(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Colour, contrast, gamma, darkness, blur (focus, motion), few pixels, noise, JPEG: each now and then."""
    x = image
    if rng.random() < 0.85:
        x = _tone(x, rng, strength)
    if rng.random() < 0.12:
        x = np.repeat(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    roll = rng.random()
    height, width = x.shape[:2]
    if roll < 0.12 * strength:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.8)))
    elif roll < 0.2 * strength:
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        half = (length - 1) / 2
        ends = [
            (round(half + s * half * np.cos(angle)), round(half + s * half * np.sin(angle))) for s in (-1, 1)
        ]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        x = cv2.filter2D(x, -1, kernel / kernel.sum())
    elif roll < 0.34 * strength:
        factor = float(rng.uniform(0.3, 0.8))
        small = cv2.resize(
            x, (max(8, int(width * factor)), max(8, int(height * factor))), interpolation=cv2.INTER_AREA
        )
        x = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.3 * strength:
        grain = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32) * float(
            rng.uniform(2, 14)
        )
        kind = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_LINEAR
        x = cv2.add(x, cv2.resize(grain, (width, height), interpolation=kind), dtype=cv2.CV_8U)
    if rng.random() < 0.2 * strength:
        ok, data = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
        if ok:
            x = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return x


def _tone(image: Image, rng: np.random.Generator, strength: float) -> Image:
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    gamma = float(np.exp(rng.normal(0, 0.3 * strength)))
    gain = np.exp(rng.normal(0, 0.1 * strength, 3)) * np.exp(rng.normal(0, 0.2 * strength))
    if rng.random() < 0.08 * strength:
        gain = gain * rng.uniform(0.15, 0.5)  # a dark room
    table = (levels**gamma - 0.5) * float(np.exp(rng.normal(0, 0.15 * strength))) + 0.5
    table = np.clip(table * gain * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(image, np.ascontiguousarray(table[None]))


def write(image: Image, rng: np.random.Generator) -> None:
    """Writes one to five lines of meaningless text into the picture, of any colour, size and slant."""
    height, width = image.shape[:2]
    face = int(
        rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX])
    )
    size = float(np.exp(rng.uniform(np.log(0.25), np.log(2.0))))
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    x, y = int(rng.uniform(-0.2, 0.8) * width), int(rng.uniform(0, 1) * height)
    for line in range(int(rng.integers(1, 6))):
        letters = "".join(chr(c) for c in rng.integers(65, 123, int(rng.integers(3, 24))))
        thick = int(rng.integers(1, 2 + int(2 * size)))
        cv2.putText(image, letters, (x, y + round(28 * size * line)), face, size, colour, thick, cv2.LINE_AA)


def polygon_mask(
    shape: tuple[int, int], rng: np.random.Generator, centre: NDArray[np.float64], radius: float
) -> Image:
    """A random blob, bar or box as a mask uint8 [H, W] of 0 and 255."""
    mask = np.zeros(shape, np.uint8)
    kind = rng.integers(3)
    angle = rng.uniform(0, 2 * np.pi)
    if kind == 0:
        turn = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach = radius * rng.uniform(0.6, 1.2, 9)
        corners = centre + np.stack([np.cos(turn) * reach, np.sin(turn) * reach], axis=1)
        cv2.fillPoly(mask, [corners.round().astype(np.int32)], 255)
    else:
        along, across = (radius * 3, radius * 0.35) if kind == 1 else (radius, radius * rng.uniform(0.5, 1))
        box = cv2.boxPoints(
            ((float(centre[0]), float(centre[1])), (2 * along, 2 * across), float(np.degrees(angle)))
        )
        cv2.fillPoly(mask, [box.round().astype(np.int32)], 255)
    return mask


def occlude(
    image: Image, rng: np.random.Generator, filler: Image, radius: tuple[float, float]
) -> tuple[Image, Image]:
    """Puts one thing in front of the picture; returns it and the mask uint8 [H, W] of what is hidden.

    The thing is a piece of ``filler`` (another photo of the same size) or a plain or skin-like colour with a
    soft edge.
    """
    height, width = image.shape[:2]
    centre = rng.uniform((0, 0), (width, height))
    mask = polygon_mask((height, width), rng, centre, float(rng.uniform(*radius)) * max(height, width))
    roll = rng.random()
    if roll < 0.5:
        thing = filler
    elif roll < 0.75:
        thing = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), image.shape)
    else:
        tone = np.array([224, 172, 105]) * rng.uniform(0.35, 1.1) + rng.normal(0, 12, 3)
        thing = np.broadcast_to(np.clip(tone, 0, 255).astype(np.uint8), image.shape)
    soft = cv2.GaussianBlur(mask, (3, 3), 0.7).astype(np.uint16)[:, :, None]
    return ((image * (255 - soft) + thing * soft) // 255).astype(np.uint8), mask
