"""Colours for what a portrait does not show: beside its mask, and around the head.

The colours of a head are kept on a globe about the skull's middle. What was not seen takes the colour of the
other side, or of what is near; the back of the head takes those of the last that is seen of the sides::

    globe = Globe(azimuth, elevation)  # of the mesh's vertices
    colours = globe.around(colour, trust)  # float32 [V, 3], wherever trust is 0 too
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Globe", "look_up", "smooth", "spread"]

Array = NDArray[np.float32]
_COLUMNS, _ROWS = 128, 64  # azimuths and elevations at which colours are kept


class Globe:
    """A map of the directions from the skull's middle, on which every vertex of a head has its place.

    Args:
        azimuth: float32 [V], radians from the face toward the picture's right.
        elevation: float32 [V], radians upward.
    """

    def __init__(self, azimuth: Array, elevation: Array) -> None:
        self._at = np.stack(
            [(azimuth / np.pi + 1) / 2 * (_COLUMNS - 1), (0.5 - elevation / np.pi) * (_ROWS - 1)], axis=1
        ).astype(np.float32)

    def around(self, colour: Array, trust: Array) -> Array:
        """Colours [V, 3] for the whole head: what the photo shows goes on around it.

        Args:
            colour: float32 [V, 3], the vertices' in the photo.
            trust: float32 [V] in [0, 1], how sure it is that the photo shows them.
        """
        at = np.rint(self._at).astype(int)
        index = at[:, 1] * _COLUMNS + at[:, 0]
        values = np.column_stack([colour * trust[:, None], trust])
        sums = [np.bincount(index, values[:, k], _ROWS * _COLUMNS) for k in range(4)]
        globe = np.stack(sums, axis=1).reshape(_ROWS, _COLUMNS, 4).astype(np.float32)
        globe /= np.maximum(globe[..., 3:], 1.0)
        globe += globe[:, ::-1] * (1 - globe[..., 3:]) * 0.3  # the other side, where it is all there is
        return look_up(_turned_round(_filled(globe), globe[..., 3]), self._at, cv2.INTER_LINEAR)


def spread(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo, RGB, with its background taken over by the colours at the border of ``mask``, [H, W]."""
    sure = cv2.erode((mask > 200).astype(np.uint8), np.ones((3, 3)), borderValue=1)
    if not sure.any():
        return photo
    _, label = cv2.distanceTransformWithLabels(1 - sure, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros((int(label.max()) + 1, 3), np.uint8)
    table[label[sure > 0]] = photo[sure > 0]
    return table[label]


def look_up(picture: NDArray, at: Array, how: int, border: int = cv2.BORDER_REPLICATE) -> NDArray:
    """The picture at places [N, 2], by OpenCV's interpolation ``how`` and its ``border``.

    It goes in rows of 1024, as OpenCV's pictures have less than 32768 of them.
    """
    padded = np.zeros((-(-len(at) // 1024) * 1024, 2), np.float32)
    padded[: len(at)] = at
    found = cv2.remap(picture, padded.reshape(-1, 1024, 2), None, how, borderMode=border)
    return found.reshape(-1, *picture.shape[2:])[: len(at)]


def smooth(value: Array, low: Array | float, high: Array | float) -> Array:
    """From 0 at ``low`` to 1 at ``high`` without a bend."""
    t = np.clip((value - low) / (np.asarray(high) - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _turned_round(filled: Array, weight: Array) -> Array:
    """The globe [H, W, 3], its back taken from the sides: the last 20 degrees seen, stretched around.

    Behind the ears, down to the nape, there is what is above them: hair, or a bald head's skin.
    """
    rows, columns = weight.shape
    azimuth = np.linspace(-180, 180, columns, dtype=np.float32)
    elevation = np.linspace(90, -90, rows, dtype=np.float32)[:, None]
    edge = np.empty((2, rows), np.float32)
    for side, sign in enumerate((-1, 1)):
        mine = (weight > 0.1) & (azimuth * sign > 30)
        edge[side] = np.where(mine.any(1), np.where(mine, np.abs(azimuth), 0).max(1), 75)
    edge = cv2.blur(np.clip(edge, 50, 110), (5, 1))

    def sampled(level: Array) -> Array:
        row = (0.5 - level / 180) * (rows - 1) * np.ones_like(azimuth)
        last = np.where(azimuth < 0, *(np.interp(row, np.arange(rows), e) for e in edge))
        past = np.maximum(np.abs(azimuth) - last, 0) / (180 - last)
        column = (np.where(past > 0, last - 20 * past, np.abs(azimuth)) * np.sign(azimuth) / 360 + 0.5) * (
            columns - 1
        )
        return cv2.remap(filled, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR)

    above = np.where(elevation < 38, 38 + (38 - elevation) * 0.3, elevation)
    raised = (smooth(np.abs(azimuth), 95, 120) * smooth(elevation, -45, -20))[..., None]
    return sampled(elevation) * (1 - raised) + sampled(above) * raised


def _filled(globe: Array) -> Array:
    """Colours [H, W, 3] from shares of colours and their weight [H, W, 4], by ever coarser means."""
    if min(globe.shape[:2]) <= 2:
        mean = globe.sum((0, 1))
        return np.broadcast_to(mean[:3] / max(float(mean[3]), 1e-6), (*globe.shape[:2], 3)).astype(np.float32)
    half = cv2.resize(globe, (globe.shape[1] // 2, globe.shape[0] // 2), interpolation=cv2.INTER_AREA)
    half /= np.maximum(half[..., 3:], 0.25)
    coarse = cv2.resize(_filled(half), globe.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    weight = np.clip(globe[..., 3:], 0, 1)
    own = globe[..., :3] / np.maximum(globe[..., 3:], 1e-6)
    return own * weight + coarse * (1 - weight)
