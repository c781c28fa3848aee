"""OpenSeeFace's tracker from the user's clone, its detector asked in every frame; never started by hand.

Its 66 points are not in iBUG's order around the mouth: five are compared, of eyes, nose and mouth corners.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from lines import serve, software

_CLONE = Path(json.loads(sys.argv[1])["openseeface"])
sys.path.insert(0, str(_CLONE))

from tracker import Tracker  # noqa: E402 - of the clone

if TYPE_CHECKING:
    from collections.abc import Callable

_NOSE_TIP, _MOUTH_CORNERS = 30, [58, 62]


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    cv2.setNumThreads(1)
    most = int(variant.partition("@")[2] or 1)
    made: dict[tuple[int, int], Tracker] = {}

    def run(frame: np.ndarray) -> Any:
        size = (frame.shape[1], frame.shape[0])
        if size not in made:
            made.clear()
            made[size] = Tracker(
                *size,
                max_threads=1,
                max_faces=most,
                discard_after=0,
                scan_every=1,
                model_type=0,
                silent=True,
                model_dir=str(_CLONE / "models"),
            )
        tracker = made[size]
        tracker.detected, tracker.faces = 0, []  # forget the last frame: this is its static mode
        return tracker.predict(frame)

    return run


def _witness(found: Any) -> dict[str, Any]:
    each = []
    for face in found:
        points = np.asarray(face.lms, np.float64)[:66, 1::-1]
        low, high = points.min(0), points.max(0)
        eyes = points[36:42].mean(0), points[42:48].mean(0)
        five = np.stack([*eyes, points[_NOSE_TIP], *points[_MOUTH_CORNERS]])
        each.append({"box": [*low, *(high - low)], "five": five.tolist(), "points": None})
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return {**software("onnxruntime", "numpy", "opencv-python-headless"), "version": "the user's clone"}


if __name__ == "__main__":
    serve(_open, _witness, _about, bgr=True)
