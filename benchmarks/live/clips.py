"""The films that both halves see: none, one or four faces that move before a wall, as a webcam gives them.

They are composed from the photo that ships and written as Motion JPEG, which is what USB cameras send: so the
service decodes what it would, and the sides of the other half are shown the very frames that come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

import edgeface
from benchmarks.composed import NOISE, SIZE, head_of, wall
from benchmarks.errors import BenchmarkError
from edgeface.camera import Actor, Place, SyntheticCamera, VideoFile, orbit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FACES", "RATES", "WHAT", "Film", "make"]

FACES = (0, 1, 4)
RATES = (15, 30)
WHAT = (
    "the head of a photo (examples/astronaut.jpg, if no other is named), its face 105 px high, once in the "
    "middle or four times in the quarters of 640 x 480, each on a figure of eight of 60 x 24 px in 5 s; a "
    "blurred wall, a camera's noise of 3 grey levels, Motion JPEG; 10 s that begin again"
)
_SECONDS = 10
_PERIOD = 5.0  # of the movement; a part of the film's length, so that its end joins its beginning
_REACH = (30.0, 12.0)  # pixels to each side
_FACE = 105.0  # pixels that the detector's box is high: somebody before a kiosk
_CENTRES = {0: (), 1: ((320, 240),), 4: ((160, 130), (480, 130), (160, 350), (480, 350))}


@dataclass(frozen=True)
class Film:
    """A film at every rate.

    Attributes:
        faces: How many are in it.
        paths: Rate -> file.
        frames: As they are decoded at 30 frames per second, uint8 [H, W, 3] RGB.
        boxes: Of each frame and face: x, y, width and height of its 68 points.
    """

    faces: int
    paths: dict[int, Path]
    frames: list[NDArray[np.uint8]]
    boxes: list[list[tuple[float, ...]]]


def make(photo: NDArray[np.uint8], faces: int, folder: Path, seconds: int = _SECONDS) -> Film:
    """Write the film with so many faces into a folder.

    Args:
        photo: uint8 [H, W, 3] RGB with one face.
        faces: one of `FACES`.
        folder: where the files go.
        seconds: its length; where it begins again, faces jump unless it is a multiple of 5.

    Raises:
        BenchmarkError: the photo does not show one face, the film cannot be written, or EdgeFace does not
            find the faces in its first frame.
    """
    head, height = head_of(photo)
    paths = [orbit(centre, _REACH, _PERIOD, _FACE / height) for centre in _CENTRES[faces]]
    most = max(RATES)
    camera = SyntheticCamera(
        [Actor(head, path) for path in paths], wall(), rate=most, count=seconds * most, noise=NOISE
    )
    composed = [frame.rgb for frame in iter(camera.read, None)]
    written = {
        rate: _write(composed[:: most // rate], rate, folder / f"faces-{faces}-{rate}fps.avi")
        for rate in RATES
    }
    film = VideoFile(written[most])
    frames = [frame.rgb for frame in iter(film.read, None)]
    film.close()
    if len(frames) != len(composed):
        raise BenchmarkError(f"OpenCV gives {len(frames)} of {len(composed)} frames of a film that it wrote")
    return Film(faces, written, frames, _boxes(frames[0], paths, len(frames)))


def _write(frames: Sequence[NDArray[np.uint8]], rate: int, path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, SIZE)
    if not writer.isOpened():
        raise BenchmarkError(f"OpenCV cannot write Motion JPEG to {path.name}")
    for rgb in frames:
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def _boxes(
    first: NDArray[np.uint8], paths: Sequence[Callable[[float], Place]], count: int
) -> list[list[tuple[float, ...]]]:
    """The hulls of the first frame's faces, moved as their heads are."""
    with edgeface.FaceAnalyzer(("landmarks",)) as analyzer:
        faces = analyzer.analyze(first).faces
    hulls = [np.asarray(face.landmarks.points) for face in faces if face.landmarks is not None]
    if len(hulls) != len(paths):
        raise BenchmarkError(f"EdgeFace finds {len(hulls)} faces in a film with {len(paths)}")
    boxes: list[list[tuple[float, ...]]] = [[] for _ in range(count)]
    for path in paths:
        start = path(0.0)
        hull = min(hulls, key=lambda one: float(np.hypot(*(one.mean(0) - (start.x, start.y)))))
        left, top = hull.min(0).tolist()
        width, height = np.ptp(hull, axis=0).tolist()
        for number in range(count):
            place = path(number / max(RATES))
            boxes[number].append((left + place.x - start.x, top + place.y - start.y, width, height))
    return boxes
