"""MediaPipe's side: FaceMesh as its users call it; runs in an environment of its own, never by hand.

A variant is a mode and, behind an @, how many faces there are at most (one, if nothing is said). FaceMesh is
told that number: told more than there are, its video mode would look for the others in every frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mediapipe
from lines import serve, software
from mesh import faces_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

# Outer eye corners, nose tip and mouth corners of the mesh, in the order of the other side's witness.
_FIVE_POINTS = [33, 263, 1, 61, 291]


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    # Defaults otherwise: no iris refinement, which would cost FaceMesh more; its answer stays in units of the
    # frame and unparsed, while EdgeFace's includes the finished result objects.
    mode, _, most = variant.partition("@")
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=mode == "mediapipe_static", max_num_faces=int(most or 1)
    )

    def run(frame: np.ndarray) -> Any:
        return mesh.process(frame), frame.shape

    return run


def _witness(result: Any) -> dict[str, Any]:
    answer, (height, width, _) = result
    if not answer.multi_face_landmarks:
        return {"faces": 0}
    meshes = [found.landmark for found in answer.multi_face_landmarks]
    each = faces_of(meshes, width, height)
    five = [meshes[0][index] for index in _FIVE_POINTS]
    points = [[p.x * width - 0.5, p.y * height - 0.5] for p in five]
    return {"faces": len(each), "box": each[0]["box"], "points": points, "each": each}


def _about() -> dict[str, Any]:
    return software("mediapipe", "numpy", "opencv-contrib-python", "protobuf")


if __name__ == "__main__":
    serve(_open, _witness, _about)
