"""The parsing map as a translucent wash of colour with smooth edges.

A map has about 128 x 128 cells and covers hundreds of picture pixels. Enlarged cell by cell it would show
stairs, and averaged it would blur, so each class is enlarged smoothly on its own and the classes then
compete: raised to a high power and made to sum to 1, the strongest takes the pixel and the border between two
is one soft pixel wide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.render.canvas import Canvas, Colour
    from edgeface.results import ParsingMap

__all__ = ["tint"]

_WORKED = 640  # longest side, in pixels, at which the classes compete
_FADE_CELLS = 4  # a crop ends in straight lines that no face has; the wash fades out before them


def tint(canvas: Canvas, parsing: ParsingMap, colours: Sequence[Colour], opacities: Sequence[float]) -> None:
    """Wash `colours[i]` over the pixels of class i, `opacities[i]` strong (0 leaves the picture as it is)."""
    box = parsing.bbox
    rows, columns = parsing.labels.shape
    x0, y0 = max(int(np.ceil(box.x)), 0), max(int(np.ceil(box.y)), 0)
    x1 = min(int(np.floor(box.x + box.width)) + 1, canvas.width)
    y1 = min(int(np.floor(box.y + box.height)) + 1, canvas.height)
    if x0 >= x1 or y0 >= y1:
        return
    step_x, step_y = box.width / columns, box.height / rows
    # picture pixel -> cell; cell i has its centre at box.x + (i + 0.5) * step
    to_cell = np.array(
        [
            [1 / step_x, 0, (x0 - box.x) / step_x - 0.5],
            [0, 1 / step_y, (y0 - box.y) / step_y - 0.5],
        ]
    )
    # above this size nobody sees the borders sharper, but everybody waits
    full = (x1 - x0, y1 - y0)
    reduce = max(1.0, max(full) / _WORKED)
    size = (max(1, round(full[0] / reduce)), max(1, round(full[1] / reduce)))
    for axis in (0, 1):
        ratio = full[axis] / size[axis]
        to_cell[axis, 2] += (ratio - 1) / 2 * to_cell[axis, axis]
        to_cell[axis, axis] *= ratio
    opacity, wash = _compete(parsing.labels, to_cell, size, colours, opacities)
    if size != full:
        opacity = np.asarray(cv2.resize(opacity, full, interpolation=cv2.INTER_LINEAR), np.float32)
        wash = np.asarray(cv2.resize(wash, full, interpolation=cv2.INTER_LINEAR), np.float32)
    region = canvas.rgb[y0:y1, x0:x1]
    region[...] = np.rint(region * (1 - opacity[..., None]) + wash).astype(np.uint8)


def _compete(
    labels: NDArray[np.uint8],
    to_cell: NDArray[np.float64],
    size: tuple[int, int],
    colours: Sequence[Colour],
    opacities: Sequence[float],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Opacity [h, w] and colour times opacity [h, w, 3] of the wash."""
    width, height = size
    sharpness = float(np.clip(2.5 / max(to_cell[0, 0], to_cell[1, 1]), 2.0, 12.0))
    total = np.full((height, width), 1e-6, np.float32)
    opacity = np.zeros((height, width), np.float32)
    wash = np.zeros((height, width, 3), np.float32)
    for label in np.unique(labels).tolist():
        cells = labels == label
        columns = _reach(cells.any(axis=0), to_cell[0, 0], to_cell[0, 2], width)
        rows = _reach(cells.any(axis=1), to_cell[1, 1], to_cell[1, 2], height)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = to_cell.copy()
        part[:, 2] += part[0, 0] * columns.start, part[1, 1] * rows.start
        share = cv2.GaussianBlur(cells.astype(np.float32), (0, 0), 0.8)
        share = _enlarged(share, part, (columns.stop - columns.start, rows.stop - rows.start))
        share = np.asarray(cv2.pow(share, sharpness), np.float32)
        total[rows, columns] += share
        if opacities[label] > 0:
            share = share * np.float32(opacities[label])
            opacity[rows, columns] += share
            wash[rows, columns] += share[..., None] * np.array(colours[label], np.float32)
    fade = _enlarged(_fade(*labels.shape), to_cell, size) / total
    return opacity * fade, wash * fade[..., None]


def _reach(used: NDArray[np.bool_], scale: float, offset: float, count: int) -> slice:
    """The pixels that the used cells of one axis touch, with the width of the blur around them."""
    cells = np.flatnonzero(used)
    first = (cells[0] - 4.0 - offset) / scale
    last = (cells[-1] + 4.0 - offset) / scale
    return slice(int(np.clip(np.floor(first), 0, count)), int(np.clip(np.ceil(last) + 1, 0, count)))


def _enlarged(
    plane: NDArray[np.float32], to_cell: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float32]:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(plane, to_cell, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _fade(rows: int, columns: int) -> NDArray[np.float32]:
    """1 inside, falling smoothly to 0 within `_FADE_CELLS` cells of the map's border."""

    def ramp(count: int) -> NDArray[np.float64]:
        away = np.minimum(np.arange(count), np.arange(count)[::-1])
        part = np.clip(away / _FADE_CELLS, 0, 1)
        return np.asarray(part * part * (3 - 2 * part), np.float64)

    return np.outer(ramp(rows), ramp(columns)).astype(np.float32)
