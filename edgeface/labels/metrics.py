"""How well two label maps agree: confusion matrix, IoU and F1 per class, accumulated over pixels.

The definitions are those of mmsegmentation (IoU) and of SegFace and CelebAMask-HQ's tables (F1): counts are
summed over all pixels of all pictures first, the ratio is taken once per class. A class that occurs neither
in the prediction nor in the truth has no value (NaN), so that a mean over classes must say what it leaves out
(``numpy.nanmean``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["confusion_matrix", "f1_per_class", "iou_per_class"]


def confusion_matrix(
    pred: NDArray[np.uint8], true: NDArray[np.uint8], n: int, ignore: int | None = 255
) -> NDArray[np.int64]:
    """Return int64 [n, n]: row = true class, column = predicted class, in pixels. Matrices add up.

    Args:
        pred: Predicted class ids, any shape.
        true: True class ids, the same shape.
        n: Number of classes.
        ignore: Pixels whose truth is this id do not count; None counts all.

    Raises:
        ArgumentError: The shapes differ, or a counted id is not below `n`.
    """
    if pred.shape != true.shape:
        raise ArgumentError(
            f"pred {pred.shape} and true {true.shape} differ in shape: resize one to the other first"
        )
    counted = np.ones(true.shape, dtype=bool) if ignore is None else true != ignore
    t, p = true[counted].astype(np.int64), pred[counted].astype(np.int64)
    if t.size and max(int(t.max()), int(p.max())) >= n:
        raise ArgumentError(f"a class id is {max(int(t.max()), int(p.max()))}, but n={n} allows 0 to {n - 1}")
    return np.bincount(t * n + p, minlength=n * n).reshape(n, n)


def iou_per_class(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return float64 [n]: intersection over union per class of a confusion matrix; NaN where absent."""
    hit = np.diag(matrix).astype(np.float64)
    return _ratio(hit, matrix.sum(axis=0) + matrix.sum(axis=1) - hit)


def f1_per_class(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return float64 [n]: F1 (Dice) per class of a confusion matrix; NaN where absent."""
    hit = np.diag(matrix).astype(np.float64)
    return _ratio(2.0 * hit, (matrix.sum(axis=0) + matrix.sum(axis=1)).astype(np.float64))


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=ratio, where=bottom > 0)
    return ratio
