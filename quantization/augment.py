"""Augmentation shared by the tasks: what a camera, its light and things in front of a face do to a picture.

All functions take and return RGB uint8 [H, W, 3] and draw from the generator they are given. `degrade` is
what every picture goes through; `damage` adds single kinds, by the shares that ``student.damage`` of a recipe
says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DAMAGES", "Image", "damage", "degrade", "occlude", "polygon_mask", "write"]

Image = NDArray[np.uint8]


def degrade(image: Image, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Colour, contrast, gamma, darkness, blur (focus, motion), few pixels, noise, JPEG: each now and then."""
    x = image
    if rng.random() < 0.85:
        x = _tone(x, rng, strength)
    if rng.random() < 0.12:
        x = _grey(x, rng)
    roll = rng.random()
    if roll < 0.12 * strength:
        x = _blur(x, rng)
    elif roll < 0.2 * strength:
        x = _motion(x, rng)
    elif roll < 0.34 * strength:
        x = _small(x, rng)
    if rng.random() < 0.3 * strength:
        x = _noise(x, rng)
    if rng.random() < 0.2 * strength:
        x = _jpeg(x, rng)
    return x


def damage(image: Image, rng: np.random.Generator, shares: Mapping[str, float]) -> Image:
    """Each of `DAMAGES` to its share of the pictures, in the order in which light reaches a file.

    Without shares nothing happens and nothing is drawn.
    """
    for name, kind in DAMAGES.items():
        if shares.get(name) and rng.random() < shares[name]:
            image = kind(image, rng)
    return image


def _dark(image: Image, rng: np.random.Generator) -> Image:
    """Low light: a twentieth to two fifths of it, with the noise that the camera's gain then shows."""
    light = float(rng.uniform(0.05, 0.4))
    height, width = image.shape[:2]
    grain = rng.standard_normal((height, width, 3), np.float32) * float(rng.uniform(1, 6))
    return cv2.add(cv2.convertScaleAbs(image, alpha=light), grain, dtype=cv2.CV_8U)


def _grey(image: Image, _: np.random.Generator) -> Image:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)


def _blur(image: Image, rng: np.random.Generator) -> Image:
    """Out of focus."""
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.8)))


def _motion(image: Image, rng: np.random.Generator) -> Image:
    """Blurred along a line of three to seven pixels."""
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    half = (length - 1) / 2
    ends = [(round(half + s * half * np.cos(angle)), round(half + s * half * np.sin(angle))) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _small(image: Image, rng: np.random.Generator) -> Image:
    """Of few pixels, enlarged."""
    height, width = image.shape[:2]
    factor = float(rng.uniform(0.3, 0.8))
    size = (max(8, int(width * factor)), max(8, int(height * factor)))
    return cv2.resize(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_LINEAR
    )


def _noise(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    grain = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32) * float(rng.uniform(2, 14))
    kind = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_LINEAR
    return cv2.add(image, cv2.resize(grain, (width, height), interpolation=kind), dtype=cv2.CV_8U)


def _jpeg(image: Image, rng: np.random.Generator) -> Image:
    """Blocks and rings of a quality of 15 to 69."""
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if ok else image


DAMAGES: Mapping[str, Callable[[Image, np.random.Generator], Image]] = MappingProxyType(
    {
        "dark": _dark,
        "grey": _grey,
        "blur": _blur,
        "motion": _motion,
        "small": _small,
        "noise": _noise,
        "jpeg": _jpeg,
    }
)
"""What can happen to a picture, by the names that a recipe has for it."""


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
