"""EdgeFace's side: one analyzer per variant, one thread; started by a benchmark, never by hand.

A variant is a set of tasks and, behind an @, how many faces there are at most (one, if nothing is said).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cv2
from lines import serve, software

import edgeface

if TYPE_CHECKING:
    from collections.abc import Callable

_TASKS = {
    "edgeface_boxes": (),
    "edgeface_landmarks": ("landmarks",),
    "edgeface_all": ("landmarks", "parsing", "expression"),
    "edgeface_expression": ("expression",),
}
# Outer eye corners, nose tip and mouth corners of iBUG-68, in the order of the other side's witness.
_FIVE_POINTS = [36, 45, 30, 48, 54]


def _open(variant: str) -> Callable[[Any], Any]:
    cv2.setNumThreads(1)  # it resizes on every core that it may use, whatever the models are told
    bundle = sys.argv[1] if len(sys.argv) > 1 else None
    tasks, _, most = variant.partition("@")
    analyzer = edgeface.FaceAnalyzer(_TASKS[tasks], max_faces=int(most or 1), threads=1, bundle=bundle)
    if tasks == "edgeface_expression":  # of the face whose box is told
        return lambda seen: analyzer.analyze(seen[0], [edgeface.BBox(*seen[1])])
    return analyzer.analyze


def _witness(result: edgeface.FrameResult) -> dict[str, Any]:
    if not result.faces:
        return {"faces": 0}
    face = result.faces[0]
    each = [
        {
            "box": [found.bbox.x, found.bbox.y, found.bbox.width, found.bbox.height],
            "five": None if found.keypoints is None else found.keypoints.tolist(),
            "points": None if found.landmarks is None else found.landmarks.points.tolist(),
            "expression": None if found.expression is None else _scores(found.expression),
        }
        for found in result.faces
    ]
    seen: dict[str, Any] = {"faces": len(each), "box": each[0]["box"], "each": each}
    if face.landmarks is not None:
        seen["points"] = face.landmarks.points[_FIVE_POINTS].tolist()
    if face.parsing is not None:
        seen["parsing"] = {name: float(share) for name, share in face.parsing.fractions().items()}
    if face.expression is not None:
        seen["expression"] = _scores(face.expression)
    return seen


def _scores(expression: edgeface.Expression) -> dict[str, float]:
    return {name: float(score) for name, score in expression.scores.items()}


def about() -> dict[str, Any]:
    from edgeface.bundle import Bundle

    bundle = Bundle.load(sys.argv[1]) if len(sys.argv) > 1 else Bundle.builtin()
    told = software("numpy", "opencv-python-headless", "ai-edge-litert")
    libraries = {"numpy": told["version"], **told["libraries"]}
    return {**told, "version": edgeface.__version__, "bundle": bundle.digest, "libraries": libraries}


if __name__ == "__main__":
    serve(_open, _witness, about)
