"""EdgeFace's side where frames follow each other: a tracker per variant; started by a benchmark alone.

A variant is a set of tasks and, behind an @, which film is shown: each film has a tracker of its own. Each
call is the film's next frame. The tracker is as its users make it: it is not told how many faces there are.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import cv2
from edgeface_side import about
from lines import serve

import edgeface

if TYPE_CHECKING:
    from collections.abc import Callable

_RATE = 30  # frames per second, of the films
_ALL = ("landmarks", "parsing", "expression")
_VARIANTS: dict[str, tuple[tuple[str, ...], edgeface.TrackSettings]] = {
    "tracked_landmarks": (("landmarks",), edgeface.TrackSettings()),
    "tracked_all": (_ALL, edgeface.TrackSettings()),
    "tracked_all_every_frame": (_ALL, edgeface.TrackSettings(expression_every=0.0)),
}


def _open(variant: str) -> Callable[[Any], Any]:
    cv2.setNumThreads(1)  # as in `edgeface_side`
    bundle = sys.argv[1] if len(sys.argv) > 1 else None
    tasks, settings = _VARIANTS[variant.partition("@")[0]]
    tracker = edgeface.FaceTracker(edgeface.FaceAnalyzer(tasks, threads=1, bundle=bundle), settings)
    numbers = itertools.count()

    def run(rgb: Any) -> edgeface.TrackResult:
        return tracker.update(edgeface.Frame.from_array(rgb, timestamp_ns=next(numbers) * 10**9 // _RATE))

    return run


def _witness(result: edgeface.TrackResult) -> dict[str, Any]:
    each = [
        {
            "box": [face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height],
            "points": None if face.landmarks is None else face.landmarks.points.tolist(),
            "parsed": face.parsing is not None,
            "expression": None if face.expression is None else face.expression.label,
        }
        for face in result.frame.faces
    ]
    return {"faces": len(each), "each": each, "detected": result.detected}


if __name__ == "__main__":
    serve(_open, _witness, about)
