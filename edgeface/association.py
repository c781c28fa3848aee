"""Which face of this frame is which face of the last one: where each is expected, and who fits best.

Pure functions and one small state of motion, tested without any model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeface.geometry import iou_matrix
from edgeface.results import BBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Motion", "affinity", "assign"]

_SETTLE = 0.05  # seconds in which the speed follows most of a change
_COAST = 0.5  # seconds after which a face that is not seen is expected to have stopped
_REACH = 1.0  # face sizes from where it is expected, beyond which a face is another one
_LIKE = 1.8  # times larger or smaller, beyond which it is another one, too


class Motion:
    """Where a face is expected: a box that moves on with the speed it had."""

    def __init__(self, box: BBox, time_ns: int) -> None:
        self.box = box
        """Where it was seen last."""
        self._time_ns = time_ns
        self._speed = (0.0, 0.0)

    def seen(self, box: BBox, time_ns: int) -> None:
        """Take where the face is now; a time not later than the last one moves the box and no speed."""
        step = (time_ns - self._time_ns) * 1e-9
        if step > 0:
            share = -math.expm1(-step / _SETTLE)
            now, before = box.center, self.box.center
            self._speed = tuple(  # type: ignore[assignment]  # of two floats, as both centres are
                old + share * ((a - b) / step - old)
                for old, a, b in zip(self._speed, now, before, strict=True)
            )
            self._time_ns = time_ns
        self.box = box

    def expected(self, time_ns: int) -> BBox:
        """Return the box for a moment; the speed fades, so that a face that was lost does not fly away."""
        step = max(0.0, (time_ns - self._time_ns) * 1e-9)
        reach = _COAST * -math.expm1(-step / _COAST)
        across, down = self._speed
        box = self.box
        return BBox(box.x + across * reach, box.y + down * reach, box.width, box.height, box.score)


def affinity(expected: Sequence[BBox], seen: Sequence[BBox]) -> NDArray[np.float64]:
    """Return float64 [N, M]: how well each seen box fits each expected one, 0 for not at all, at most 2.

    The overlap, and the nearness of the centres in face sizes: a quick face need not overlap with itself.
    """
    if not expected or not seen:
        return np.zeros((len(expected), len(seen)))
    one, two = (np.array([(b.x, b.y, b.width, b.height) for b in boxes]) for boxes in (expected, seen))
    sizes = [np.sqrt(boxes[:, 2] * boxes[:, 3]) for boxes in (one, two)]
    centres = [boxes[:, :2] + boxes[:, 2:] / 2 for boxes in (one, two)]
    mean = np.sqrt(sizes[0][:, None] * sizes[1][None])
    apart = np.hypot(*np.moveaxis(centres[0][:, None] - centres[1][None], -1, 0)) / mean
    like = np.abs(np.log(sizes[0][:, None] / sizes[1][None])) <= math.log(_LIKE)
    near = np.maximum(0.0, 1.0 - apart / _REACH)
    fit: NDArray[np.float64] = np.where((near > 0) & like, near + iou_matrix(one, two), 0.0)
    return fit


def assign(fit: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return pairs (row, column) with a fit above 0 whose sum of fits is the greatest: nobody twice.

    The Hungarian method with potentials (Kuhn, 1955; the form of Jonker and Volgenant, 1987), O(n^3): where
    two faces cross, the best pair taken first can force the second into the wrong one.
    """
    rows, columns = fit.shape
    if rows == 0 or columns == 0:
        return []
    if rows > columns:
        return sorted((row, column) for column, row in assign(fit.T))
    cost = -fit
    free_row, free_column = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, np.intp)  # 1-based; 0: free
    for row in range(1, rows + 1):
        row_of[0] = row
        slack, way = np.full(columns + 1, np.inf), np.zeros(columns + 1, np.intp)
        used = np.zeros(columns + 1, bool)
        column = 0
        while True:
            used[column] = True
            at = row_of[column]
            rest = cost[at - 1] - free_row[at] - free_column[1:]
            better = ~used[1:] & (rest < slack[1:])
            slack[1:][better] = rest[better]
            way[1:][better] = column
            open_slack = np.where(used, np.inf, slack)
            nearest = int(open_slack.argmin())
            step = open_slack[nearest]
            free_row[row_of[used]] += step
            free_column[used] -= step
            slack[~used] -= step
            column = nearest
            if row_of[column] == 0:
                break
        while column:
            row_of[column] = row_of[way[column]]
            column = int(way[column])
    pairs = ((int(row_of[column]) - 1, column - 1) for column in range(1, columns + 1) if row_of[column])
    return sorted((row, column) for row, column in pairs if fit[row, column] > 0)
