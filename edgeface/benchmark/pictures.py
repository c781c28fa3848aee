"""What the benchmark looks at: drawn faces, so that it needs no photo, or the face of a photo that is given.

An installed wheel holds no picture of a person, and none is fetched. The networks do the same arithmetic
whatever they see; all that a picture decides is how many faces are found, and that is checked on every call.
The drawn face is one that the built-in detector finds; should another bundle's not, a photo can be given.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeface.results import Face

__all__ = ["HEIGHT", "WIDTH", "Place", "Scene", "Sitter", "check", "digest", "drawn", "sitting", "wobble"]

WIDTH, HEIGHT = 640, 480

_SIDE = 384  # pixels of a sitter's square, larger than it is ever shown
_MARGIN = 1.9  # the square is so much larger than the longer side of a photo's face
_SKIN, _HAIR, _COAT = (222, 178, 152), (60, 42, 34), (60, 80, 120)
_WALL = (120, 140, 150)


@dataclass(frozen=True, slots=True, eq=False)
class Sitter:
    """The face that is shown: uint8 [384, 384, 3], the middle of the face in its middle, and what it is."""

    rgb: NDArray[np.uint8]
    what: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sitter's square stands in a frame: its centre and side in pixels, its lean in degrees."""

    x: float
    y: float
    side: float
    roll: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A frame with known faces.

    Attributes:
        name: For people: "4 faces".
        rgb: uint8 [480, 640, 3].
        places: Where the faces are.
    """

    name: str
    rgb: NDArray[np.uint8]
    places: tuple[Place, ...]

    @classmethod
    def of(cls, sitter: Sitter, places: Sequence[Place], name: str = "") -> Scene:
        """Put a sitter into these places, in front of a plain wall."""
        frame = np.full((HEIGHT, WIDTH, 3), _WALL, np.uint8)
        middle = (sitter.rgb.shape[0] - 1) / 2
        for place in places:
            turn, scale = math.radians(place.roll), place.side / sitter.rgb.shape[0]
            a, b = scale * math.cos(turn), scale * math.sin(turn)
            matrix = np.array([[a, -b, place.x], [b, a, place.y]])
            matrix[:, 2] -= matrix[:, :2] @ (middle, middle)
            cv2.warpAffine(
                sitter.rgb,
                matrix,
                (WIDTH, HEIGHT),
                dst=frame,
                flags=cv2.INTER_AREA,
                borderMode=cv2.BORDER_TRANSPARENT,
            )
        frame.setflags(write=False)
        return cls(name or f"{len(places)} face{'' if len(places) == 1 else 's'}", frame, tuple(places))

    @classmethod
    def with_faces(cls, sitter: Sitter, count: int) -> Scene:
        """0, 1 or 4 faces; each box is about 130 pixels high alone and 110 in a group."""
        if count == 1:
            return cls.of(sitter, [Place(320, 240, 240)])
        corners = [(160, 125), (480, 125), (160, 355), (480, 355)]
        return cls.of(sitter, [Place(x, y, 200) for x, y in corners[:count]])


def drawn() -> Sitter:
    """A face of ellipses: skin, hair, eyes with brows, nose, mouth, shoulders, and light from one side."""
    rgb = np.full((_SIDE, _SIDE, 3), _WALL, np.uint8)
    # x, y, half width, half height in parts of the side; later ones lie in front.
    shapes: list[tuple[float, float, float, float, tuple[int, int, int]]] = [
        (0.5, 0.42, 0.30, 0.34, _HAIR),
        (0.5, 1.08, 0.42, 0.28, _COAT),
        (0.5, 0.80, 0.11, 0.14, (196, 152, 128)),
        (0.5, 0.50, 0.23, 0.31, _SKIN),
        (0.27, 0.50, 0.03, 0.06, (205, 160, 136)),
        (0.73, 0.50, 0.03, 0.06, (205, 160, 136)),
        (0.5, 0.28, 0.22, 0.09, _HAIR),
    ]
    for side in (-1, 1):
        x = 0.5 + side * 0.098
        shapes += [
            (x, 0.452, 0.052, 0.030, (190, 140, 118)),
            (x, 0.455, 0.042, 0.020, (245, 240, 236)),
            (x, 0.455, 0.019, 0.019, (70, 50, 40)),
            (x, 0.455, 0.009, 0.009, (15, 12, 12)),
            (x, 0.392, 0.050, 0.010, (70, 48, 38)),
            (0.5 + side * 0.13, 0.58, 0.05, 0.045, (226, 168, 148)),
        ]
    shapes += [
        (0.5, 0.57, 0.030, 0.045, (228, 186, 162)),
        (0.472, 0.60, 0.014, 0.008, (150, 100, 85)),
        (0.528, 0.60, 0.014, 0.008, (150, 100, 85)),
        (0.5, 0.69, 0.075, 0.022, (186, 90, 88)),
        (0.5, 0.688, 0.070, 0.004, (120, 50, 50)),
    ]
    for x, y, wide, high, colour in shapes:
        # Four bits of fraction: positions to a sixteenth of a pixel.
        centre, axes = (tuple(round(value * _SIDE * 16) for value in pair) for pair in ((x, y), (wide, high)))
        cv2.ellipse(rgb, (centre[0], centre[1]), (axes[0], axes[1]), 0, 0, 360, colour, -1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(rgb, (0, 0), _SIDE / 170).astype(np.float32)
    soft *= np.linspace(1.08, 0.86, _SIDE, dtype=np.float32)[None, :, None]
    soft *= np.linspace(1.05, 0.92, _SIDE, dtype=np.float32)[:, None, None]
    return Sitter(soft.clip(0, 255).astype(np.uint8), "drawn by edgeface.benchmark.pictures, no photo")


def sitting(rgb: NDArray[np.uint8], face: Face) -> Sitter:
    """The sitter that a face of a photo makes.

    Args:
        rgb: the photo, uint8 [H, W, 3].
        face: which of its faces.
    """
    (x, y), side = face.bbox.center, face.bbox.side * _MARGIN
    scale = _SIDE / side
    matrix = np.array([[scale, 0, (_SIDE - 1) / 2 - scale * x], [0, scale, (_SIDE - 1) / 2 - scale * y]])
    square = cv2.warpAffine(
        rgb, matrix, (_SIDE, _SIDE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return Sitter(np.asarray(square, np.uint8), "the largest face of a photo that was given")


def wobble(sitter: Sitter, count: int) -> list[Scene]:
    """One face that goes round once in ``count`` frames, for cameras that play them over and over."""
    turns = [2 * math.pi * index / count for index in range(count)]
    return [
        Scene.of(sitter, [Place(320 + 24 * math.sin(turn), 240 + 12 * math.cos(turn), 240)]) for turn in turns
    ]


def digest(scenes: Sequence[Scene]) -> str:
    """SHA-256 of the pixels: equal digests, equal pictures, whatever decoded them."""
    found = hashlib.sha256()
    for scene in scenes:
        found.update(np.ascontiguousarray(scene.rgb).tobytes())
    return found.hexdigest()


def check(scene: Scene, faces: Sequence[Face]) -> str:
    """What is wrong with the faces that were found in a scene; empty when nothing is."""
    if len(faces) != len(scene.places):
        return f"{len(faces)} faces were found where {len(scene.places)} are"
    for place in scene.places:
        near = [
            face
            for face in faces
            if math.dist(face.bbox.center, (place.x, place.y)) < place.side / 5
            and 0.25 < face.bbox.side / place.side < 1.0
        ]
        if not near:
            return f"no face was found at ({place.x:.0f}, {place.y:.0f})"
        points = near[0].landmarks
        if points is not None and math.dist(points.points.mean(0), (place.x, place.y)) > place.side / 4:
            return f"the landmarks are not on the face at ({place.x:.0f}, {place.y:.0f})"
    return ""
