"""uniface with weights that the user has: SCRFD 500M, and PIPNet's 68 points; never started by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import onnxruntime
import uniface
from lines import one_thread, serve, software
from uniface.constants import PIPNetWeights, SCRFDWeights
from uniface.landmark import PIPNet
from uniface.model_store import set_cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_CPU = ["CPUExecutionProvider"]


def _open(variant: str) -> Callable[[np.ndarray], Any]:
    cv2.setNumThreads(1)
    folder = Path(json.loads(sys.argv[1])["uniface"])
    set_cache_dir(str(folder))
    for weights in (SCRFDWeights.SCRFD_500M_KPS, PIPNetWeights.DW300_CELEBA_68):
        if not (folder / f"{weights.value}.onnx").is_file():  # it would fetch what is missing
            raise SystemExit(f"{folder} holds no {weights.value}.onnx")
    detector = uniface.SCRFD(model_name=SCRFDWeights.SCRFD_500M_KPS, providers=_CPU)
    if variant.startswith("uniface_boxes"):
        return lambda frame: [(face, None) for face in detector.detect(frame)]
    points = PIPNet(model_name=PIPNetWeights.DW300_CELEBA_68, providers=_CPU)
    return lambda frame: [(face, points.get_landmarks(frame, face.bbox)) for face in detector.detect(frame)]


def _witness(found: Any) -> dict[str, Any]:
    each = []
    for face, points in found:
        left, top, right, bottom = (float(value) for value in face.bbox[:4])
        each.append(
            {
                "box": [left, top, right - left, bottom - top],
                "five": face.landmarks.tolist(),
                "points": None if points is None else points.tolist(),
            }
        )
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return software("uniface", "numpy", "onnxruntime", "opencv-python-headless")


if __name__ == "__main__":
    one_thread(onnxruntime)
    serve(_open, _witness, _about, bgr=True)
