"""InsightFace with a model folder that the user has; never started by hand.

Boxes and five points: its 106 points are in an order of their own, and its 68 are three-dimensional.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import cv2
import onnxruntime
from insightface.app import FaceAnalysis
from lines import one_thread, serve, software

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_TASKS = {"insightface_boxes": ["detection"], "insightface_points": ["detection", "landmark_2d_106"]}


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    cv2.setNumThreads(1)
    # A folder is taken as it is; a name would be fetched.
    app = FaceAnalysis(
        json.loads(sys.argv[1])["insightface"],
        allowed_modules=_TASKS[variant.partition("@")[0]],
        providers=["CPUExecutionProvider"],
    )
    app.prepare(ctx_id=-1, det_size=(640, 640))
    return app.get


def _witness(found: Any) -> dict[str, Any]:
    each = []
    for face in found:
        left, top, right, bottom = (float(value) for value in face.bbox)
        five = None if face.kps is None else face.kps.tolist()
        each.append({"box": [left, top, right - left, bottom - top], "five": five, "points": None})
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return software("insightface", "numpy", "onnxruntime", "opencv-python-headless")


if __name__ == "__main__":
    one_thread(onnxruntime)
    serve(_open, _witness, _about, bgr=True)
