"""UltraFace RFB-320 (Linzaer, 2019; MIT): a second detector, so that faces count that two teachers see."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime >= 1.29 phones home from import on
import onnxruntime

from ..datasets import Terms

__all__ = ["TERMS", "UltraFace"]

TERMS = Terms(
    "UltraFace RFB-320 (Linzaer, 2019)",
    "MIT",
    commercial=True,
    source="https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB",
)

_WIDTH, _HEIGHT = 320, 240


class UltraFace:
    """The detector at its 320 x 240 input; images are letterboxed: squeezed ones would squeeze faces."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # it warns once per weight of this old file
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def detect(
        self, rgb: NDArray[np.uint8], threshold: float = 0.5, nms: float = 0.4
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [N, 4] (x, y, width, height, pixels) and scores [N] of an RGB uint8 [H, W, 3] image."""
        scale = min(_WIDTH / rgb.shape[1], _HEIGHT / rgb.shape[0])
        size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        canvas = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(
            rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        blob = ((canvas.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
        scores, corners = self._session.run(["scores", "boxes"], {"input": blob})
        keep = np.flatnonzero(scores[0, :, 1] >= threshold)
        found, corners = scores[0, keep, 1], corners[0, keep] * (_WIDTH, _HEIGHT, _WIDTH, _HEIGHT)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        kept = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), found.tolist(), threshold, nms), np.int64).reshape(
            -1
        )
        boxes = boxes[kept] / scale
        boxes[:, :2] -= 0.5
        return boxes.astype(np.float32), found[kept].astype(np.float32)
