"""MediaPipe 1.x: its face landmarker, with the model file that the user has; never started by hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import mediapipe
from lines import serve, software
from mediapipe.tasks.python import BaseOptions, vision
from mesh import faces_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_FILES = json.loads(sys.argv[1])
_FRAME_MS = 33


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    mode, _, most = variant.partition("@")
    video = mode == "mediapipe1_video"
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=_FILES["mediapipe-task"]),
        running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
        num_faces=int(most or 1),
    )
    landmarker = vision.FaceLandmarker.create_from_options(options)
    clock = 0

    def run(frame: np.ndarray) -> Any:
        nonlocal clock
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
        if not video:
            return landmarker.detect(image), frame.shape
        clock += _FRAME_MS
        return landmarker.detect_for_video(image, clock), frame.shape

    return run


def _witness(result: Any) -> dict[str, Any]:
    answer, (height, width, _) = result
    each = faces_of(answer.face_landmarks, width, height)
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return software("mediapipe", "numpy", "opencv-contrib-python")


if __name__ == "__main__":
    serve(_open, _witness, _about)
