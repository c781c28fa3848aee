"""UltraFace RFB-320 under onnxruntime, with the thresholds of its authors' script; never started by hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnxruntime
from lines import serve, software

if TYPE_CHECKING:
    from collections.abc import Callable

_FILES = json.loads(sys.argv[1])
_SIZE = (320, 240)
_LEAST_SCORE, _MOST_OVERLAP = 0.7, 0.3


def _open(_variant: str) -> Callable[[np.ndarray], Any]:
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_FILES["ultraface"], options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(frame: np.ndarray) -> Any:
        image = (cv2.resize(frame, _SIZE).astype(np.float32) - 127) / 128
        scores, boxes = session.run(None, {name: image.transpose(2, 0, 1)[None]})
        faces = scores[0, :, 1]
        likely = faces > _LEAST_SCORE
        height, width = frame.shape[:2]
        corners = boxes[0, likely] * np.array([width, height, width, height], np.float32)
        sized = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        kept = cv2.dnn.NMSBoxes(sized.tolist(), faces[likely].tolist(), _LEAST_SCORE, _MOST_OVERLAP)
        return sized[np.asarray(kept, int).reshape(-1)]

    return run


def _witness(found: Any) -> dict[str, Any]:
    each = [{"box": row.tolist(), "five": None, "points": None} for row in found]
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return software("onnxruntime", "numpy", "opencv-python-headless")


if __name__ == "__main__":
    serve(_open, _witness, _about)
