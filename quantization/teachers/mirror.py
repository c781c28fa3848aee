"""A face seen in a mirror, and what was said of it brought back: a second view that costs no second teacher.

::

    MirrorError(ValueError)    nobody knows which points of a scheme change places; names those that are known
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68, flip_labels, parsing_scheme

from .answers import Answer, ExpressionAnswer, FacesAnswer, MapAnswer, PointsAnswer
from .crops import View

__all__ = ["FLIPS", "MirrorError", "mirrored", "mirrored_keypoints", "unmirrored"]

Array = NDArray[np.float32]

FLIPS: Mapping[str, tuple[int, ...]] = MappingProxyType({IBUG68.key: tuple(IBUG68.flip)})
"""Per scheme of points, which of the mirror image is which: ``mirror[FLIPS[scheme]]`` is in order again."""
_KEYPOINTS = (1, 0, 2, 4, 3)  # eyes, nose, corners of the mouth


class MirrorError(ValueError):
    """An answer whose left and right nobody can exchange."""


def mirrored(rgb: NDArray[np.uint8], box: Array) -> tuple[NDArray[np.uint8], Array]:
    """The picture [H, W, 3] and a box in it (x, y, width, height), seen in a mirror."""
    width = rgb.shape[1]
    return np.ascontiguousarray(rgb[:, ::-1]), np.array([width - 1 - box[0] - box[2], *box[1:]], np.float32)


def mirrored_keypoints(keypoints: Array, width: int) -> Array:
    """Eyes, nose and corners of the mouth [5, 2] in the mirror image of a picture ``width`` pixels wide."""
    return _across(keypoints[list(_KEYPOINTS)], width).astype(np.float32)


def unmirrored(said: Answer, width: int) -> Answer:
    """An answer about the mirror image as one about the picture itself, ``width`` pixels wide.

    Raises:
        MirrorError: It holds points of a scheme that `FLIPS` does not know, or coefficients.
    """
    if isinstance(said, ExpressionAnswer):
        return said
    if isinstance(said, MapAnswer):
        count = len(parsing_scheme(said.scheme))
        # The ids as one row of pixels, mirrored twice: left and right names stay exchanged.
        flip = flip_labels(np.arange(count, dtype=np.uint8)[None], said.scheme)[0, ::-1]
        (view, maps), labels = said.soft, flip_labels(said.labels, said.scheme)
        return MapAnswer(labels, maps[flip], _unmirrored_view(view, width), said.scheme)
    if isinstance(said, FacesAnswer):
        boxes = said.boxes.copy()
        boxes[:, 0] = width - 1 - boxes[:, 0] - boxes[:, 2]
        return FacesAnswer(boxes, said.scores)
    if isinstance(said, PointsAnswer) and said.scheme in FLIPS:
        points = _across(said.points[list(FLIPS[said.scheme])], width)
        return PointsAnswer(points.astype(np.float32), said.scheme)
    what = f"points of {said.scheme!r}" if isinstance(said, PointsAnswer) else "blendshapes"
    raise MirrorError(f"{what}: known are the mirror images of {', '.join(FLIPS)}; ask without --mirror")


def _unmirrored_view(view: View, width: int) -> View:
    return View(
        view.size,
        lambda points: view.to_crop(_across(points, width)),
        lambda cells: _across(view.to_frame(cells), width),
        circular=view.circular,
    )


def _across(points: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    """Points [..., 2] on the other side of the picture's middle."""
    moved = np.array(points, np.float64)
    moved[..., 0] = width - 1 - moved[..., 0]
    return moved
