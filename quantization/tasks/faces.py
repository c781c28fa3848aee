"""The faces that landmarks are learned from: cut out of photos, or rendered with points that are exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..progress import progress
from ..synthetic import FaceMaker, Head

__all__ = ["Face", "piece", "prepare", "rendered"]

Array = NDArray[np.float32]
_LONG_SIDE = 320  # photos are kept in memory no larger than this around a face
_CANVAS = 2.2  # sides of a rendered head's box: as far as the most jittered crop reaches


@dataclass(frozen=True, slots=True)
class Face:
    """A face with something around it; coordinates are pixels, centres at integers.

    Attributes:
        image: RGB uint8 [H, W, 3].
        box: float32 [4], x, y, width, height.
        points: float32 [68, 2], iBUG's.
        visible: bool [68], whether the head itself hides none of it.
        known: Whether a person or the renderer placed the points, and not a teacher.
        pointed: Whether anybody placed them; else they and ``visible`` say nothing.
        told: Whether ``visible`` says anything.
        movement: float32 [2, 43], the blendshapes of the picture and of its mirror image; None: not known.
    """

    image: NDArray[np.uint8]
    box: Array
    points: Array
    visible: NDArray[np.bool_]
    known: bool
    pointed: bool = True
    told: bool = True
    movement: Array | None = None

    def without_points(self) -> Face:
        """A face of which nobody said more than that it is there."""
        return replace(self, pointed=False, told=False)

    def without_visibility(self) -> Face:
        """A face of which nobody said which of its points are hidden."""
        return replace(self, told=False)


def prepare(
    rgb: NDArray[np.uint8], box: Array, points: Array, visible: NDArray[np.bool_], known: bool
) -> Face:
    """Cuts the surroundings of the face out, scaled down, so that all fit in memory and warp quickly."""
    side = float(max(box[2:]))
    middle = box[:2] + box[2:] / 2
    low = np.maximum(np.floor(middle - 1.3 * side), 0).astype(int)
    high = np.minimum(np.ceil(middle + 1.3 * side), rgb.shape[1::-1]).astype(int)
    cut = rgb[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, _LONG_SIDE / (2.6 * side))
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    cut = cv2.resize(cut, size, interpolation=cv2.INTER_AREA) if scale < 1 else np.ascontiguousarray(cut)
    points = (points - low + 0.5) * scale - 0.5
    box = np.concatenate([(box[:2] - low + 0.5) * scale - 0.5, box[2:] * scale])
    return Face(cut, box.astype(np.float32), points.astype(np.float32), visible, known)


def rendered(model: Path, photos: Sequence[NDArray[np.uint8]], count: int, side: int) -> list[Face]:
    """Heads of the 3D model, ``side`` pixels high, over pieces of ``photos``; face i depends on i alone.

    They look anywhere within 90 degrees of yaw and 40 of pitch and stand upright: who draws them turns them.
    """
    maker, canvas = FaceMaker(model), round(_CANVAS * side)
    middle = ((canvas - 1) / 2, (canvas - 1) / 2)
    faces = []
    for i in progress("rendered heads", range(count)):
        rng = np.random.default_rng([68, i])
        head = Head.draw(rng, maker.model.identities, middle, side)
        head = replace(head, pose=replace(head.pose, roll=0.0))
        seen = maker.render(head, piece(photos[rng.integers(len(photos))], rng, canvas))
        faces.append(Face(seen.image, seen.box, seen.annotated, seen.visible, True))
    return faces


def piece(photo: NDArray[np.uint8], rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A square of any size out of a photo, scaled to ``size``."""
    side = int(rng.integers(24, min(photo.shape[:2])))
    y, x = rng.integers(0, photo.shape[0] - side + 1), rng.integers(0, photo.shape[1] - side + 1)
    return cv2.resize(photo[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA)
