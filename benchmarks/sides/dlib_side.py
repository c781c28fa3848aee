"""dlib: its HOG detector, and its 68 points with the file that the user has; never started by hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import dlib
from lines import serve, software

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_FILES = json.loads(sys.argv[1])


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    detector = dlib.get_frontal_face_detector()
    if variant.startswith("dlib_hog"):
        return lambda frame: [(box, None) for box in detector(frame, 0)]
    predictor = dlib.shape_predictor(_FILES["dlib68"])
    return lambda frame: [(box, predictor(frame, box)) for box in detector(frame, 0)]


def _witness(found: Any) -> dict[str, Any]:
    each = [
        {
            "box": [box.left(), box.top(), box.width(), box.height()],
            "five": None,
            "points": None if shape is None else [[point.x, point.y] for point in shape.parts()],
        }
        for box, shape in found
    ]
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return software("dlib-bin", "numpy")


if __name__ == "__main__":
    serve(_open, _witness, _about)
