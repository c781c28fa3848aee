"""What is behind a rendered head: pictures that anybody may use, and surfaces that are made up.

The pictures lie in ``pictures`` (18 panoramas and 7 photos, CC0 or in the public domain, none with a
person; `gather` made them). They are few, so half of what is drawn is noise whose spectrum falls as a
photo's does, and dead leaves: discs and bricks of all sizes one over another, which have a photo's edges
(Baradad et al., "Learning to See by Looking at Noise", 2021)::

    backgrounds = Backgrounds()
    rgb = backgrounds.draw(rng, 256, 256)
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PICTURES", "Backgrounds"]

Picture = NDArray[np.uint8]
PICTURES = Path(__file__).with_name("pictures")
_LEAVES = (20, 120)  # how many lie in a picture


class Backgrounds:
    """Holds the pictures of ``folder``; those called ``panorama-*`` are equirectangular.

    Raises:
        ValueError: One of them cannot be read, or one of the two kinds is not there.
    """

    def __init__(self, folder: Path = PICTURES) -> None:
        self._panoramas = _read(folder, "panorama-*")
        self._photos = _read(folder, "photo-*")

    def draw(self, rng: np.random.Generator, width: int, height: int) -> Picture:
        """One background, RGB uint8 [height, width, 3]."""
        kind = rng.random()
        if kind < 0.35:
            return self._view(rng, width, height)
        if kind < 0.5:
            return self._piece(rng, width, height)
        return _leaves(rng, width, height) if kind < 0.75 else _noise(rng, width, height)

    def _view(self, rng: np.random.Generator, width: int, height: int) -> Picture:
        """What a camera sees from the middle of a panorama: 50 to 120 degrees, about level."""
        panorama = self._panoramas[rng.integers(len(self._panoramas))]
        rows, columns = panorama.shape[:2]
        reach = np.tan(np.radians(rng.uniform(25, 60)))
        x, y = np.meshgrid(
            np.linspace(-reach, reach, width), np.linspace(-reach, reach, height) * height / width
        )
        pitch = float(np.radians(np.clip(rng.normal(0, 15), -45, 45)))
        down, ahead = y * np.cos(pitch) - np.sin(pitch), np.cos(pitch) + y * np.sin(pitch)
        azimuth = np.arctan2(x, ahead) / (2 * np.pi) + rng.random()
        elevation = np.arctan2(down, np.hypot(x, ahead)) / np.pi + 0.5
        at = (azimuth % 1 * columns).astype(np.float32), (elevation * (rows - 1)).astype(np.float32)
        seen = cv2.remap(panorama, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        lit = seen.astype(np.float32) * np.exp(rng.normal(0, 0.25))
        return np.clip(lit, 0, 255).astype(np.uint8)

    def _piece(self, rng: np.random.Generator, width: int, height: int) -> Picture:
        """A piece of a photo, of any size and either way up."""
        photo = self._photos[rng.integers(len(self._photos))]
        rows, columns = photo.shape[:2]
        side = float(rng.uniform(0.2, 1.0)) * min(rows / height, columns / width)
        high, wide = max(8, int(side * height)), max(8, int(side * width))
        y, x = rng.integers(0, rows - high + 1), rng.integers(0, columns - wide + 1)
        piece = photo[y : y + high, x : x + wide]
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        if rng.random() < 0.3:
            piece = piece[::-1]
        if rng.random() < 0.3:
            piece = piece[:, :, rng.permutation(3)]
        return cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=cv2.INTER_AREA)


def _read(folder: Path, pattern: str) -> list[Picture]:
    found = []
    for path in sorted(folder.glob(pattern)):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"{path}: not a readable picture; check it out again")
        found.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    if not found:
        raise ValueError(f"{folder}: no {pattern} in it; give a folder with panorama-* and photo-* pictures")
    return found


def _palette(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Colours [count, 3] that go together: a tone, seldom a strong one, and what scatters about it."""
    middle, scatter = rng.uniform(20, 235) + rng.normal(0, 40, 3), rng.uniform(5, 45)
    shade = rng.normal(0, rng.uniform(10, 60), (count, 1))
    return np.clip(middle + rng.normal(0, scatter, (count, 3)) + shade, 0, 255).astype(np.float32)


def _noise(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Noise of which every octave is weaker than the one before, between two to five colours."""
    value = np.zeros((height, width), np.float32)
    fall, stretch = float(rng.uniform(0.4, 0.75)), float(np.exp(rng.normal(0, 0.6)))
    for octave in range(1, 8):
        across, down = max(2, round(2**octave * stretch)), max(2, round(2**octave / stretch))
        grid = rng.normal(0, fall**octave, (down, across)).astype(np.float32)
        value += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    value = (value - value.min()) / (np.ptp(value) + 1e-6)
    colours = _palette(rng, int(rng.integers(2, 6)))
    places = np.linspace(0, 1, len(colours))
    return np.dstack([np.interp(value, places, colours[:, c]) for c in range(3)]).astype(np.uint8)


def _leaves(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Discs and turned bricks one over another, the small ones the most, some of them ruled."""
    canvas = np.empty((height, width, 3), np.uint8)
    count = int(rng.integers(*_LEAVES))
    colours = _palette(rng, count + 1)
    canvas[:] = colours[count]
    low, high = 0.02 * width, 0.7 * width
    for colour in colours[:count]:
        side = float(low / np.sqrt(1 - rng.random() * (1 - (low / high) ** 2)))  # density falls as 1 / side^3
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        tone = tuple(float(c) for c in colour)
        if rng.random() < 0.4:
            cv2.circle(canvas, (int(x), int(y)), int(side / 2) + 1, tone, -1, cv2.LINE_AA)
            continue
        shape = (
            (x, y),
            (side, side * float(rng.uniform(0.2, 2.5))),
            float(rng.choice([0, 90, rng.uniform(0, 180)])),
        )
        corners = cv2.boxPoints(shape)
        cv2.fillPoly(canvas, [corners.astype(np.int32)], tone, cv2.LINE_AA)
        if rng.random() < 0.3:
            _rule(canvas, rng, corners)
    return cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.3, 3.0))) if rng.random() < 0.6 else canvas


def _rule(canvas: Picture, rng: np.random.Generator, corners: NDArray[np.float32]) -> None:
    """Lines across a brick: shelves, blinds, books."""
    tone = tuple(float(c) for c in rng.uniform(0, 255, 3))
    for share in np.linspace(0, 1, int(rng.integers(3, 9))):
        start, end = (
            corners[0] + (corners[1] - corners[0]) * share,
            corners[3] + (corners[2] - corners[3]) * share,
        )
        points = [tuple(int(v) for v in point) for point in (start, end)]
        cv2.line(canvas, *points, tone, 1, cv2.LINE_AA)
