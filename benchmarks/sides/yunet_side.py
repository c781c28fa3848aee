"""OpenCV's own face detector, YuNet, as its users call it; never started by hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import cv2
from lines import serve, software

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_FILES = json.loads(sys.argv[1])


def _open(_variant: str) -> Callable[[np.ndarray], Any]:
    cv2.setNumThreads(1)
    detector = cv2.FaceDetectorYN.create(_FILES["yunet"], "", (640, 480))

    def run(frame: np.ndarray) -> Any:
        height, width = frame.shape[:2]
        if detector.getInputSize() != (width, height):
            detector.setInputSize((width, height))
        return detector.detect(frame)[1]

    return run


def _witness(found: Any) -> dict[str, Any]:
    each = [
        {"box": row[:4].tolist(), "five": row[4:14].reshape(5, 2).tolist(), "points": None}
        for row in ([] if found is None else found)
    ]
    return {"faces": len(each), "each": each}


def _about() -> dict[str, Any]:
    return software("opencv-python-headless", "numpy")


if __name__ == "__main__":
    serve(_open, _witness, _about, bgr=True)
