"""A camera that composes faces moving over a background, for tests and demos without a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeface.camera.base import Mode
from edgeface.camera.pace import Pace
from edgeface.errors import ArgumentError
from edgeface.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["Actor", "Place", "SyntheticCamera", "orbit", "visits"]

_WALL = (92, 104, 118)
_VISIT = 12.0  # seconds from one visit to the next


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cut-out is shown: its centre in pixels, pixels per pixel of the cut-out, lean in degrees."""

    x: float
    y: float
    scale: float = 1.0
    roll: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """A cut-out that moves.

    Attributes:
        rgba: uint8 [H, W, 4], straight alpha.
        path: Where it is at a time in seconds; None: not in the picture.

    Raises:
        ArgumentError: `rgba` is not such an array.
    """

    rgba: NDArray[np.uint8]
    path: Callable[[float], Place | None]

    def __post_init__(self) -> None:
        rgba = np.asarray(self.rgba)
        if rgba.dtype != np.uint8 or rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.size == 0:
            raise ArgumentError(
                f"a cut-out is uint8 [H, W, 4], not {rgba.dtype} {list(rgba.shape)}; add an alpha channel"
            )


def orbit(
    centre: tuple[float, float], reach: tuple[float, float], period: float = 6.0, scale: float = 1.0
) -> Callable[[float], Place]:
    """Return a path: a figure of eight about `centre`, `reach` pixels to each side, in `period` seconds."""

    def path(seconds: float) -> Place:
        turn = 2 * math.pi * seconds / period
        x, y = centre[0] + reach[0] * math.sin(turn), centre[1] + reach[1] * math.sin(2 * turn)
        return Place(x, y, scale)

    return path


def visits(photo: NDArray[np.uint8], rate: float = 20.0, live: bool = False) -> SyntheticCamera:
    """Return a camera before which somebody comes, stays and goes, again and again: a demo without a camera.

    Of every twelve seconds the photo is absent for one, comes near for four, stays for three, goes for three
    and is absent again.

    Args:
        photo: uint8 [H, W, 3], with a face in its upper half.
        rate: frames per second, of 640 x 480 pixels.
        live: as of `SyntheticCamera`.
    """
    height, width = photo.shape[:2]
    edge = 1 + min(height, width) // 16
    alpha = np.zeros((height, width), np.uint8)
    alpha[edge : height - edge, edge : width - edge] = 255
    rgba = np.dstack([photo, cv2.blur(alpha, (edge, edge), borderType=cv2.BORDER_CONSTANT)])

    def path(seconds: float) -> Place | None:
        since = seconds % _VISIT
        near = float(np.interp(since, (1, 5, 8, 11), (0, 1, 1, 0)))
        if not 1 < since < 11:
            return None
        scale = (0.45 + 1.05 * near) * 480 / height
        top = 100 - 95 * near
        return Place(320 + 24 * math.sin(seconds), top + scale * height / 2, scale)

    wall = np.full((480, 640, 3), _WALL, np.uint8)
    return SyntheticCamera([Actor(rgba, path)], wall, rate=rate, live=live)


class SyntheticCamera:
    """Composes its frames; the same arguments give the same pixels.

    Args:
        actors: the cut-outs, the one farthest away first.
        background: uint8 [H, W, 3]; its size is that of the frames.
        rate: frames per second.
        count: frames until it ends; None: for ever.
        noise: standard deviation of the sensor's noise, grey levels.
        live: give each frame when its time has come, stamped with the monotonic clock as `Pace` does;
            otherwise at once, stamped from 0.
        seed: of the noise.

    Raises:
        ArgumentError: the background is no picture, or a number is out of range.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        background: NDArray[np.uint8],
        *,
        rate: float = 30.0,
        count: int | None = None,
        noise: float = 2.0,
        live: bool = False,
        seed: int = 0,
    ) -> None:
        self._background = Frame.from_array(background, timestamp_ns=0, source="background").rgb
        if not 0 < rate < 1e5 or not 0 <= noise < 256 or (count is not None and count < 0):
            raise ArgumentError(
                f"a rate of {rate}, a noise of {noise}, {count} frames: use numbers from 0 on"
            )
        self.name, self.live, self.ended = "synthetic", live, False
        height, width = self._background.shape[:2]
        self.mode = Mode(width, height, rate)
        self._actors, self._count, self._noise = tuple(actors), count, noise
        self._rng = np.random.default_rng(seed)
        self._strip: NDArray[np.int16] | None = None
        self._index = 0
        self._pace = Pace(rate, live)

    def read(self) -> Frame | None:
        """Return the next frame; see `edgeface.camera.Camera`."""
        if self._count is not None and self._index >= self._count:
            self.ended = True
        if self.ended:
            return None
        # A live scene goes on while nobody looks.
        picture = self._composed(self._pace.due(self._index) / 1e9)
        at = self._pace.stamp(self._index)
        self._index += 1
        return Frame(picture, at, self.name)

    def close(self) -> None:
        """End it."""
        self.ended = True

    def _composed(self, seconds: float) -> NDArray[np.uint8]:
        picture = self._background.copy()
        for actor in self._actors:
            place = actor.path(seconds)
            if place is not None:
                _lay(picture, actor.rgba, place)
        if self._noise:
            # A strip of noise read from a random place: new noise for every pixel would take longer than the
            # analysis that this is to feed.
            if self._strip is None:
                long = self._rng.normal(0, self._noise, picture.size + 100_003)
                self._strip = np.rint(long).astype(np.int16)
            first = int(self._rng.integers(0, 100_003))
            part = self._strip[first : first + picture.size].reshape(picture.shape)
            picture = np.asarray(cv2.add(picture, part, dtype=cv2.CV_8U), np.uint8)
        return picture


def _lay(picture: NDArray[np.uint8], rgba: NDArray[np.uint8], place: Place) -> None:
    """Blend a cut-out into a picture, in place and to a fraction of a pixel."""
    height, width = rgba.shape[:2]
    turn = math.radians(place.roll)
    a, b = place.scale * math.cos(turn), place.scale * math.sin(turn)
    matrix = np.array([[a, -b, 0.0], [b, a, 0.0]])
    matrix[:, 2] = (place.x, place.y) - matrix[:, :2] @ ((width - 1) / 2, (height - 1) / 2)
    corners = np.array([[x, y, 1] for x in (-1, width) for y in (-1, height)]) @ matrix.T
    low = np.maximum(np.floor(corners.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (picture.shape[1], picture.shape[0]))
    if (high <= low).any():
        return
    matrix[:, 2] -= low
    # Colours weighted by their alpha, so that what is transparent leaves no fringe.
    weighted = rgba.astype(np.float32)
    weighted[..., :3] *= weighted[..., 3:] / 255
    laid = cv2.warpAffine(weighted, matrix, tuple((high - low).tolist()), flags=cv2.INTER_LINEAR)
    part = picture[low[1] : high[1], low[0] : high[0]]
    part[...] = np.rint(laid[..., :3] + part * (1 - laid[..., 3:] / 255)).clip(0, 255)
