"""MediaPipe's side: FaceMesh as its users call it; runs in an environment of its own, never by hand."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import mediapipe
from lines import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

# Outer eye corners, nose tip and mouth corners of the mesh, in the order of the other side's witness.
_FIVE_POINTS = [33, 263, 1, 61, 291]


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    # Defaults otherwise: no iris refinement, which would cost FaceMesh more; its answer stays in units of the
    # frame and unparsed, while EdgeFace's includes the finished result objects.
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=variant == "mediapipe_static", max_num_faces=1
    )

    def run(frame: np.ndarray) -> Any:
        return mesh.process(frame), frame.shape

    return run


def _witness(result: Any) -> dict[str, Any]:
    answer, (height, width, _) = result
    if not answer.multi_face_landmarks:
        return {"faces": 0}
    points = [[p.x * width - 0.5, p.y * height - 0.5] for p in answer.multi_face_landmarks[0].landmark]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    return {
        "faces": len(answer.multi_face_landmarks),
        "box": [left, top, right - left, bottom - top],
        "points": [points[index] for index in _FIVE_POINTS],
    }


def _about() -> dict[str, Any]:
    from importlib import metadata

    libraries = ("numpy", "opencv-contrib-python", "protobuf")
    return {
        "version": metadata.version("mediapipe"),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in libraries},
    }


if __name__ == "__main__":
    serve(_open, _witness, _about)
