"""Where else to look for faces that are too small in the whole frame: overlapping tiles, each seen larger.

The detector sees every picture at one size, so that a face far away in a large frame is a few pixels there.
Tiles of the frame show it larger (slicing-aided inference: Akyon et al., 2022, arXiv:2202.06934), at scales
that double up to the one at which the smallest face wanted is clear: no tile need hold a face much larger
than the smallest that it is for, and neighbours share little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeface.geometry import iou_matrix, nms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.heads.detection import Detection

__all__ = ["Tile", "merged", "tiles"]

_CLEAR = 20.0  # pixels of the detector's input; a larger face is found hardly more surely (recall by size)
# Pixels of the input that neighbours share: the largest face that is not clear at half their scale, and room
# about it.
_SHARED = 3 * _CLEAR
_SAME = 0.4  # overlap of two boxes of one face, one of them seen in a tile
_WITHIN = 0.6  # share of the smaller of two boxes in the larger, beyond which they may be of one face
_LOOSE = 4.0  # times the area of a surer box in it: a face behind, not the same one seen badly


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of the frame, whole pixels."""

    x: int
    y: int
    width: int
    height: int

    def holds(self, detection: Detection, width: int, height: int) -> bool:
        """Whether a face, in pixels of a frame of this size, is not cut where the tile cuts the frame."""
        box = detection.bbox
        return (
            (self.x == 0 or box.x > self.x)
            and (self.y == 0 or box.y > self.y)
            and (self.x + self.width == width or box.x + box.width < self.x + self.width - 1)
            and (self.y + self.height == height or box.y + box.height < self.y + self.height - 1)
        )


def tiles(frame: tuple[int, int], seen: tuple[int, int], scale: float, smallest: float) -> list[Tile]:
    """Where to look beside the whole frame, coarse before fine; nowhere if it shows such a face clearly.

    Args:
        frame: (width, height), pixels.
        seen: (width, height) of the detector's input.
        scale: Input pixels per pixel of the frame when the detector sees all of it.
        smallest: The larger side of the smallest face that is to be found, pixels of the frame.
    """
    finest = _CLEAR / smallest
    levels = max(0, math.ceil(math.log2(finest / scale) - 1e-9))
    found = []
    for level in reversed(range(levels)):
        larger = finest / 2**level
        wide, high = (min(length, round(side / larger)) for length, side in zip(frame, seen, strict=True))
        across = _starts(frame[0], wide, _SHARED / larger)
        down = _starts(frame[1], high, _SHARED / larger)
        found += [Tile(x, y, wide, high) for y in down for x in across]
    return found


def _starts(length: int, tile: int, shared: float) -> list[int]:
    """Where the fewest tiles begin that cover a length, evenly, and share at least so much."""
    if tile >= length:
        return [0]
    count = math.ceil((length - tile) / max(tile - shared, tile / 4)) + 1
    return [round(k * (length - tile) / (count - 1)) for k in range(count)]


def merged(whole: Sequence[Detection], tiled: Sequence[Detection]) -> tuple[list[Detection], list[bool]]:
    """Each face once, best score first, and whether the whole frame did not show it.

    Of boxes that overlap the surest stays; no part of its face does, and no loose box about it.
    """
    found = [*whole, *tiled]
    boxes = _rows(found)
    kept = [found[i] for i in nms(boxes, [one.bbox.score for one in found], _SAME)]
    kept = [one for k, one in enumerate(kept) if not any(_same(one, surer) for surer in kept[:k])]
    near = iou_matrix(_rows(kept), _rows(whole)).max(axis=1, initial=0.0)
    return kept, [overlap <= _SAME for overlap in near.tolist()]


def _rows(found: Sequence[Detection]) -> NDArray[np.float64]:
    boxes = [(one.bbox.x, one.bbox.y, one.bbox.width, one.bbox.height) for one in found]
    return np.array(boxes, np.float64).reshape(-1, 4)


def _same(one: Detection, surer: Detection) -> bool:
    a, b = one.bbox, surer.bbox
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    within = min(across, down) > 0 and across * down > _WITHIN * min(a.area, b.area)
    return within and a.area < _LOOSE * b.area
