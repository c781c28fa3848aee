"""A z-buffer for small triangles in numpy: every candidate pixel of every triangle at once, the nearest wins.

The triangles of a head are a few pixels each, so listing the pixels of their bounding boxes wastes little. A
candidate's distance and number share one 64-bit key, whose minimum over a pixel is its nearest candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fragments", "Raster"]

Array = NDArray[np.float32]
_EMPTY = np.uint64(2**64 - 1)
_EDGE = np.float32(-1e-4)  # a pixel centre on the border of two triangles belongs to both: no cracks


@dataclass(frozen=True, slots=True)
class Fragments:
    """What is seen of a mesh: one entry per covered pixel.

    Attributes:
        pixel: int64 [N], row * width + column, ascending.
        triangle: int64 [N], the row of the triangles given.
        weight: float32 [N, 3], perspective-correct shares of its three corners.
        depth: float32 [height, width], the distance of what is seen, infinite where nothing is.
    """

    pixel: NDArray[np.int64]
    triangle: NDArray[np.int64]
    weight: Array
    depth: Array

    def blend(self, values: Array, corners: NDArray[np.int64]) -> Array:
        """Vertex ``values`` [V] or [V, C] at the pixels, float32; ``corners`` [T, 3]: their vertices."""
        at = corners[self.triangle]
        weight = self.weight if values.ndim == 1 else self.weight[:, :, None]
        found = values[at[:, 0]] * weight[:, 0]
        found += values[at[:, 1]] * weight[:, 1]
        found += values[at[:, 2]] * weight[:, 2]
        return found


class Raster:
    """Draws meshes into buffers that it keeps between calls of one size."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.uint64)

    def draw(
        self, points: Array, distance: Array, triangles: NDArray[np.int64], size: tuple[int, int]
    ) -> Fragments:
        """What is seen of the triangles that face the viewer.

        Args:
            points: float32 [V, 2], pixels, y down; pixel centres at integers.
            distance: float32 [V], greater than 0, growing away from the viewer.
            triangles: int64 [T, 3]; counter-clockwise on the screen (as seen, y up) means facing.
            size: Width and height of the picture.
        """
        width, height = size
        x, y = (points[:, k][triangles] for k in (0, 1))
        (x_low, x_high), (y_low, y_high) = _range(x), _range(y)
        ax, ay = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
        bx, by = x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]
        area = ay * bx - ax * by
        left = np.maximum(np.ceil(x_low), 0).astype(np.int32)
        right = np.minimum(np.floor(x_high), width - 1).astype(np.int32)
        top = np.maximum(np.ceil(y_low), 0).astype(np.int32)
        bottom = np.minimum(np.floor(y_high), height - 1).astype(np.int32)
        facing = np.flatnonzero((area > 1e-9) & (right >= left) & (bottom >= top))
        columns = (right - left + 1)[facing]
        count = columns * (bottom - top + 1)[facing]
        own = np.repeat(np.arange(len(facing)), count)
        step = (np.arange(len(own)) - np.repeat(np.cumsum(count) - count, count)).astype(np.int32)
        row, column = np.divmod(step, columns[own])
        tri = facing[own]
        column += left[tri]
        row += top[tri]
        dx, dy = column.astype(np.float32) - x[tri, 0], row.astype(np.float32) - y[tri, 0]
        scale = 1 / area[tri]
        second = (dy * bx[tri] - dx * by[tri]) * scale
        third = (ay[tri] * dx - ax[tri] * dy) * scale
        inside = np.flatnonzero((second >= _EDGE) & (third >= _EDGE) & (second + third <= 1 - _EDGE))
        tri, second, third = tri[inside], second[inside], third[inside]
        pixel = row[inside] * width + column[inside]
        corners = triangles[tri]
        # Shares on the screen over distances, normalised, are the shares on the surface.
        weight = np.stack([1 - second - third, second, third], axis=1)
        weight /= distance[corners]
        nearness = weight[:, :1] + weight[:, 1:2] + weight[:, 2:]
        weight /= nearness
        depth = 1 / nearness[:, 0]
        keys = self._cleared(width * height)
        # The bits of positive floats order as the floats do.
        np.minimum.at(
            keys,
            pixel,
            (depth.view(np.uint32).astype(np.uint64) << 32) | np.arange(len(tri), dtype=np.uint64),
        )
        seen = np.flatnonzero(keys != _EMPTY)
        chosen = (keys[seen] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        buffer = np.full(width * height, np.inf, np.float32)
        buffer[seen] = depth[chosen]
        return Fragments(seen, tri[chosen], weight[chosen], buffer.reshape(height, width))

    def _cleared(self, count: int) -> NDArray[np.uint64]:
        if len(self._keys) != count:
            self._keys = np.empty(count, np.uint64)
        self._keys[:] = _EMPTY
        return self._keys


def _range(v: Array) -> tuple[Array, Array]:
    """Least and greatest of each row of three; numpy's reduction along so short an axis is slow."""
    a, b, c = v[:, 0], v[:, 1], v[:, 2]
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
