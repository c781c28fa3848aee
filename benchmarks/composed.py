"""Films composed from the head of a photo before a wall, so that where every point should be is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

import edgeface
from benchmarks.errors import BenchmarkError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NOISE", "SIZE", "head_of", "wall"]

SIZE = (640, 480)
NOISE = 3.0  # grey levels; a webcam indoors
_SMOOTH = 12  # pixels over which the wall is blurred


def head_of(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The only head of a photo with a soft oval edge, uint8 [h, w, 4]; the height of its face there, pixels.

    Raises:
        BenchmarkError: there is not exactly one face.
    """
    with edgeface.FaceAnalyzer(()) as analyzer:
        faces = analyzer.analyze(rgb).faces
    if len(faces) != 1:
        raise BenchmarkError(f"a photo shows {len(faces)} faces; choose photos with one")
    box, (x, y) = faces[0].bbox, faces[0].bbox.center
    half_x, half_y = 0.95 * box.width, 0.85 * box.height
    left, top = max(0, round(x - half_x)), max(0, round(y - half_y))
    cut = rgb[top : round(y + half_y), left : round(x + half_x)]
    down, across = np.mgrid[-1 : 1 : cut.shape[0] * 1j, -1 : 1 : cut.shape[1] * 1j]
    alpha = np.clip((1 - np.hypot(across, down)) / 0.15, 0, 1) * 255
    return np.dstack([cut, alpha.astype(np.uint8)]), box.height


def wall(seed: int = 0) -> NDArray[np.uint8]:
    """A blurred background, uint8 [480, 640, 3], another for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    # OpenCV takes None as a new array; its types do not say so.
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), _SMOOTH), None, 40, 200, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    return np.asarray(soft, np.uint8)
