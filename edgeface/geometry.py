"""Where a pixel of the frame lies in a crop, and back: pure functions, no model.

Pixel centres are at integers, so a picture of width W spans -0.5 to W - 0.5 and a scaling by s maps x to
``s * (x + 0.5) - 0.5``. Matrices are float64 [2, 3] and always lead from the frame to the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Similarity",
    "crop_similarity",
    "iou_matrix",
    "letterbox",
    "nms",
    "roll_from_keypoints",
    "tanh_polar_points",
    "tanh_polar_points_inverse",
    "tanh_polar_unwarp",
    "tanh_polar_warp",
    "warp",
]

_Float = TypeVar("_Float", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Similarity:
    """A rotation, an even scaling and a shift.

    Attributes:
        matrix: float64 [2, 3]; ``crop = matrix[:, :2] @ frame + matrix[:, 2]``.
    """

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        # Plain floats: for six numbers they are ten times as quick as the general routines.
        a, b, x, c, d, y = matrix.ravel().tolist() if matrix.shape == (2, 3) else (0.0,) * 6
        if not all(map(math.isfinite, (a, b, x, c, d, y))) or a * d - b * c == 0.0:
            raise ArgumentError("a similarity needs a finite [2, 3] matrix that can be inverted")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @property
    def scale(self) -> float:
        """Crop pixels per frame pixel."""
        return math.hypot(self.matrix[0, 0], self.matrix[1, 0])

    def inverse(self) -> Similarity:
        """Return the way back, from the crop to the frame."""
        a, b, x, c, d, y = self.matrix.ravel().tolist()
        k = 1.0 / (a * d - b * c)
        return Similarity(
            np.array([[d * k, -b * k, (b * y - d * x) * k], [-c * k, a * k, (c * x - a * y) * k]])
        )

    def apply(self, points: NDArray[_Float]) -> NDArray[_Float]:
        """Return the mapped points [..., 2]: float64 for float64 points, float32 for all others."""
        mapped = np.asarray(points, dtype=np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return mapped.astype(np.float64 if np.asarray(points).dtype == np.float64 else np.float32)


def letterbox(width: int, height: int, out_width: int, out_height: int, max_scale: float = 4.0) -> Similarity:
    """Return the similarity that puts a whole picture into the top left of the output.

    Args:
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.
        out_width: Width of the output in pixels.
        out_height: Height of the output in pixels.
        max_scale: A small picture is enlarged by this factor at most. What remains free, right and below, is
            padding.

    Raises:
        ArgumentError: A side is not above 0.
    """
    if min(width, height, out_width, out_height) <= 0:
        raise ArgumentError(
            f"cannot letterbox {width} x {height} into {out_width} x {out_height}: sides must be above 0"
        )
    scale = min(out_width / width, out_height / height, max_scale)
    shift = 0.5 * scale - 0.5
    return Similarity(np.array([[scale, 0.0, shift], [0.0, scale, shift]]))


def crop_similarity(
    center: Sequence[float], side: float, roll_deg: float, out_width: int, out_height: int
) -> Similarity:
    """Return the similarity that cuts a square out of the frame and turns it upright.

    Args:
        center: Centre (x, y) of the square in frame pixels; it becomes the centre of the output.
        side: Side of the square in frame pixels; it fills the shorter side of the output.
        roll_deg: How far the content leans, degrees, positive clockwise on the screen; the crop undoes it.
        out_width: Width of the output in pixels.
        out_height: Height of the output in pixels.

    Raises:
        ArgumentError: A side is not above 0 or a number is not finite.
    """
    if not all(map(math.isfinite, (*center, side, roll_deg))) or side <= 0 or min(out_width, out_height) <= 0:
        raise ArgumentError(
            f"cannot crop {side} px around {tuple(center)}, turned by {roll_deg}, into "
            f"{out_width} x {out_height}: numbers must be finite and sides above 0"
        )
    scale = min(out_width, out_height) / side
    angle = math.radians(roll_deg)
    across, down = scale * math.cos(angle), scale * math.sin(angle)
    x, y = map(float, center)
    shift_x = (out_width - 1) / 2 - (across * x + down * y)
    shift_y = (out_height - 1) / 2 - (across * y - down * x)
    return Similarity(np.array([[across, down, shift_x], [-down, across, shift_y]]))


def warp(
    rgb: NDArray[np.uint8],
    similarity: Similarity,
    size: tuple[int, int],
    out: NDArray[np.uint8] | None = None,
    border: int = 0,
) -> NDArray[np.uint8]:
    """Return uint8 [height, width, 3]: the picture as the crop sees it, bilinear.

    Where the crop shrinks the picture more than twofold, the part that it needs is first halved by
    averaging, as often as it takes, so that fine texture does not alias.

    Args:
        rgb: uint8 [H, W, 3].
        similarity: From frame to crop.
        size: (width, height) of the crop.
        out: Buffer to write to, uint8 [height, width, 3], C-contiguous; a new one when None.
        border: Grey value outside the picture.

    Raises:
        ArgumentError: `out` has another shape or dtype.
    """
    width, height = size
    if out is None:
        out = np.empty((height, width, 3), dtype=np.uint8)
    elif out.shape != (height, width, 3) or out.dtype != np.uint8 or not out.flags.c_contiguous:
        raise ArgumentError(f"out must be a C-contiguous uint8 array of the shape {(height, width, 3)}")
    matrix = np.array(similarity.matrix)
    halvings = max(0, math.ceil(-math.log2(similarity.scale) - 1 - 1e-9))
    if halvings:
        rgb, matrix = _reduced(rgb, similarity, size, halvings)
        if rgb.size == 0:
            out[...] = border
            return out
    cv2.warpAffine(
        rgb, matrix, (width, height), dst=out, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border, border, border),
    )  # fmt: skip
    return out


def _reduced(
    rgb: NDArray[np.uint8], similarity: Similarity, size: tuple[int, int], halvings: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Halve what lies under the crop so many times; return it with the matrix that reads it."""
    corners = np.array([[x, y] for x in (-0.5, size[0] - 0.5) for y in (-0.5, size[1] - 0.5)])
    needed = similarity.inverse().apply(corners)
    cell = 2**halvings
    (x0, x1), (y0, y1) = (
        _whole_cells(needed[:, axis].min(), needed[:, axis].max(), rgb.shape[1 - axis], cell)
        for axis in (0, 1)
    )
    part = rgb[y0:y1, x0:x1]
    for _ in range(halvings if part.size else 0):
        part = _halved(part)
    turn = similarity.matrix[:, :2] * cell
    first = np.array([x0, y0]) + (cell - 1) / 2
    return part, np.column_stack((turn, similarity.matrix[:, :2] @ first + similarity.matrix[:, 2]))


def _whole_cells(low: float, high: float, length: int, cell: int) -> tuple[int, int]:
    """Return a pixel range [start, stop) around low..high, in whole cells where they fit."""
    start = min(max(math.floor(low) - 2 * cell, 0), length)
    stop = max(min(math.ceil(high) + 2 * cell + 1, length), start)
    missing = -(stop - start) % cell
    ahead = min(missing, length - stop)
    return max(start - (missing - ahead), 0), stop + ahead


def _halved(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average 2 x 2 cells, which OpenCV does far faster than any other factor; an odd edge is repeated."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.asarray(
            cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8
        )
    goal = (rgb.shape[1] // 2, rgb.shape[0] // 2)
    return np.asarray(cv2.resize(rgb, goal, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def roll_from_keypoints(keypoints: ArrayLike) -> float:
    """Return how far a head leans, degrees in (-180, 180], positive clockwise on the screen.

    The line between the eyes and the line from the eyes to the mouth vote, each with its length: in a profile
    view the eyes fall together and the second line decides.

    Args:
        keypoints: [5, 2] as in `edgeface.results.Face.keypoints`. Points that all coincide give 0.
    """
    # Plain floats: for so few points they are quicker than arrays.
    (lx, ly), (rx, ry), _, (mx, my), (nx, ny) = np.asarray(keypoints, dtype=np.float64).tolist()
    across, down = (mx + nx - lx - rx) / 2, (my + ny - ly - ry) / 2
    return math.degrees(math.atan2(ry - ly - across, rx - lx + down))


def iou_matrix(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return float64 [N, M]: intersection over union of boxes [N, 4] and [M, 4], (x, y, width, height)."""
    one = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    two = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(one[..., :2], two[..., :2])
    high = np.minimum(one[..., :2] + one[..., 2:], two[..., :2] + two[..., 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    union = np.prod(one[..., 2:], axis=-1) + np.prod(two[..., 2:], axis=-1) - shared
    overlap = np.zeros(shared.shape)
    np.divide(shared, union, out=overlap, where=union > 0)
    return overlap


def nms(boxes: ArrayLike, scores: ArrayLike, iou_threshold: float) -> NDArray[np.intp]:
    """Return the indices that stay, best score first: greedy non-maximum suppression.

    Args:
        boxes: [N, 4], each (x, y, width, height).
        scores: [N]; of equal scores the earlier box wins.
        iou_threshold: A box that overlaps a better one by more than this goes.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    x, y, width, height = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[order].T
    right, bottom, area = x + width, y + height, width * height
    alive = np.ones(len(order), dtype=bool)
    # Row by row instead of `iou_matrix`: many cells fire for a face, few faces stay, each needs one row.
    for i in range(len(order)):
        if alive[i]:
            across = np.minimum(right[i], right) - np.maximum(x[i], x)
            down = np.minimum(bottom[i], bottom) - np.maximum(y[i], y)
            shared = np.maximum(across, 0.0) * np.maximum(down, 0.0)
            apart = shared <= iou_threshold * (area[i] + area - shared)
            alive[i + 1 :] &= apart[i + 1 :]
    return order[alive]


# RoI tanh-polar (Lin et al., 2021, "RoI Tanh-polar Transformer Network for Face Parsing in the Wild"): the
# whole picture on one fixed grid, fine inside the face box and ever coarser away from it. Column j stands for
# the radius artanh(j / W) in units of the box (radii = sides / sqrt(pi)), row i for the angle 2 pi i / H.


def _ellipse(roi: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    box = np.asarray(roi, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or not (box[2:] > 0).all():
        raise ArgumentError(f"a region of interest is (x, y, width, height) with sides above 0, not {roi!r}")
    return box[:2] + box[2:] / 2, box[2:] / math.sqrt(math.pi)


def tanh_polar_points(points: ArrayLike, roi: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return float64 [..., 2]: (column, row) in a tanh-polar grid for points of the frame.

    Args:
        points: [..., 2] in frame pixels.
        roi: (x, y, width, height) of the face box in frame pixels.
        size: (width, height) of the grid.

    Raises:
        ArgumentError: The region has no area.
    """
    center, radii = _ellipse(roi)
    unit = (np.asarray(points, dtype=np.float64) - center) / radii
    turn = np.arctan2(unit[..., 1], unit[..., 0]) / (2 * math.pi) % 1.0
    return np.stack((np.tanh(np.hypot(unit[..., 0], unit[..., 1])) * size[0], turn * size[1]), axis=-1)


def tanh_polar_points_inverse(cells: ArrayLike, roi: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return float64 [..., 2]: points of the frame for (column, row) in a tanh-polar grid.

    Args:
        cells: [..., 2], columns from 0 to below the width of the grid.
        roi: (x, y, width, height) of the face box in frame pixels.
        size: (width, height) of the grid.

    Raises:
        ArgumentError: The region has no area.
    """
    center, radii = _ellipse(roi)
    grid = np.asarray(cells, dtype=np.float64)
    radius, angle = np.arctanh(grid[..., 0] / size[0]), grid[..., 1] * (2 * math.pi / size[1])
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1) * radii + center


def _remap(image: NDArray[Any], where: NDArray[np.float64], nearest: bool) -> NDArray[np.uint8]:
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    x, y = (where[..., axis].astype(np.float32) for axis in (0, 1))
    return np.asarray(
        cv2.remap(image, x, y, flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0), dtype=np.uint8
    )


def tanh_polar_warp(
    image: NDArray[np.uint8], roi: ArrayLike, size: tuple[int, int], nearest: bool = False
) -> NDArray[np.uint8]:
    """Return uint8 [height, width(, 3)]: the picture on the tanh-polar grid; `nearest` for label maps.

    Raises:
        ArgumentError: The region has no area.
    """
    cells = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1)
    return _remap(image, tanh_polar_points_inverse(cells, roi, size), nearest)


def tanh_polar_unwarp(
    warped: NDArray[np.uint8], roi: ArrayLike, size: tuple[int, int], nearest: bool = False
) -> NDArray[np.uint8]:
    """Return uint8 [H, W(, 3)] for a frame of ``size = (W, H)``: a tanh-polar picture or label map put back.

    Raises:
        ArgumentError: The region has no area.
    """
    pixels = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1)
    cells = tanh_polar_points(pixels, roi, (warped.shape[1], warped.shape[0]))
    # The rows are a circle: the last one is the neighbour of the first.
    circle = np.concatenate((warped, warped[:1]), axis=0)
    return _remap(circle, cells, nearest)
