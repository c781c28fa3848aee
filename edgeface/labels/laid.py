"""A map of labels laid over a frame: between cells the greatest logit wins, or the greatest share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["lay_over"]


def lay_over(
    labels: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    logits: NDArray[np.generic] | None = None,
) -> NDArray[np.uint8]:
    """Return uint8 [H, W], 0 outside the box: the label with the greatest bilinear share at each pixel.

    A pixel lies between the centres of four cells. That draws a slanted border as a line, where the nearest
    cell alone would draw stairs. Interpolated logits put the line where the model saw it; between four cells
    of one label that label wins in both ways.

    Args:
        labels: uint8 [h, w], a label per cell.
        box: x, y, width, height of what the cells cover, in frame pixels; it may stick out of the frame.
        size: Height and width of the frame, pixels.
        logits: [h, w, classes], of which `labels` are the greatest, in equal steps; without them the label
            with the greatest share wins.
    """
    x, y, width, height = box
    down = _Between.of(size[0], y, height, labels.shape[0])
    across = _Between.of(size[1], x, width, labels.shape[1])
    frame = np.zeros(size, dtype=np.uint8)
    frame[down.pixels, across.pixels] = _blended(labels, down, across, logits)
    return frame


@dataclass(frozen=True, slots=True)
class _Between:
    """Along one axis: the pixels that a row of cells covers, and the cells whose centres they lie between."""

    pixels: slice
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float64]
    """Of the higher cell; the lower one has the rest."""

    @classmethod
    def of(cls, pixels: int, start: float, length: float, cells: int) -> _Between:
        place = (np.arange(pixels) - start) * (cells / length)  # cell j spans j to j + 1
        inside = np.flatnonzero((place >= 0) & (place < cells))
        first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        centred = place[first:last] - 0.5
        low = np.floor(centred).astype(np.intp)
        return cls(slice(first, last), np.maximum(low, 0), np.minimum(low + 1, cells - 1), centred - low)


def _blended(
    labels: NDArray[np.uint8], down: _Between, across: _Between, logits: NDArray[np.generic] | None
) -> NDArray[np.uint8]:
    corners = [(rows, columns) for rows in (down.low, down.high) for columns in (across.low, across.high)]
    named = [labels[rows][:, columns] for rows, columns in corners]
    blended = named[0].copy()
    # Most pixels lie between four cells of one label; only the others are weighed.
    mixed = np.nonzero((named[1] != blended) | (named[2] != blended) | (named[3] != blended))
    y, x = down.share[mixed[0]], across.share[mixed[1]]
    shares = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    if logits is not None:
        cells = ((rows[mixed[0]], columns[mixed[1]]) for rows, columns in corners)
        likely = sum(share[:, np.newaxis] * logits[cell] for share, cell in zip(shares, cells, strict=True))
        blended[mixed] = np.argmax(likely, axis=1)
        return blended
    names = np.stack([corner[mixed] for corner in named])
    votes = np.stack([(shares * (names == name)).sum(axis=0) for name in names])
    blended[mixed] = np.take_along_axis(names, votes.argmax(axis=0)[np.newaxis], axis=0)[0]
    return blended
