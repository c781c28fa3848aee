"""The frame that both sides see."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from edgeface.benchmark.pictures import Scene, sitting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeface.results import Face

__all__ = ["WHAT", "digest", "group_frame", "webcam_frame"]

WHAT = (
    "examples/astronaut.jpg (512 x 512), top 480 rows, unscaled, centred between two black columns of 64 px; "
    "640 x 480 RGB with one face about 95 px wide"
)


def webcam_frame(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place a 512 x 512 photo in a 640 x 480 frame: its top 480 rows, unscaled, black beside them."""
    if photo.shape != (512, 512, 3):
        raise ValueError(f"the photo must be [512, 512, 3], not {list(photo.shape)}")
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[:, 64:576] = photo[:480]
    return frame


def group_frame(photo: NDArray[np.uint8], face: Face, count: int) -> NDArray[np.uint8]:
    """A face of a photo ``count`` times in a 640 x 480 frame, each about 105 px wide, before a plain wall."""
    return Scene.with_faces(sitting(photo, face), count).rgb


def digest(frame: NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels: equal digests, equal input, whatever decoded the photo."""
    return hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()
