"""YuNet-n, the published face detector (Wu et al., 2023; Apache-2.0), as a teacher through onnxruntime."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime >= 1.29 phones home from import on
import onnxruntime

from ..datasets import Terms

__all__ = ["TERMS", "Detections", "YuNet", "YuNetFeatures"]

TERMS = Terms(
    "YuNet-n (Wu et al., 2023)",
    "Apache-2.0",
    commercial=True,
    source="https://github.com/ShiqiYu/libfacedetection.train",
)


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces of one image in pixels: boxes [N, 4] (x, y, width, height), scores [N], keypoints [N, 5, 2]."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)


class YuNet:
    """The detector at its 640 x 640 input; images are padded to a square and scaled."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._size = int(self._session.get_inputs()[0].shape[2])

    def detect(
        self, rgb: NDArray[np.uint8], threshold: float = 0.6, nms: float = 0.4, fill: float = 1.0
    ) -> Detections:
        """Faces in an RGB uint8 [H, W, 3] image; its long side fills ``fill`` of the network's input.

        A tight face crop wants ``fill`` well below 1: YuNet is trained on faces with context around them.
        """
        height, width = rgb.shape[:2]
        scale = self._size * fill / max(height, width)
        content = cv2.resize(
            rgb,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        canvas = np.zeros((self._size, self._size, 3), np.uint8)
        top, left = (self._size - content.shape[0]) // 2, (self._size - content.shape[1]) // 2
        canvas[top : top + content.shape[0], left : left + content.shape[1]] = content
        blob = canvas[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        names = [o.name for o in self._session.get_outputs()]
        out = dict(zip(names, self._session.run(None, {"input": blob}), strict=True))
        boxes, scores, points = self._decode(out, threshold)
        keep = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), threshold, nms) if len(boxes) else []
        keep = np.asarray(keep, np.int64).reshape(-1)
        boxes, scores, points = boxes[keep], scores[keep], points[keep]
        offset = np.array([left, top], np.float32)
        points = (points - offset) / scale - 0.5
        boxes = np.concatenate([(boxes[:, :2] - offset) / scale - 0.5, boxes[:, 2:] / scale], axis=1)
        return Detections(boxes.astype(np.float32), scores.astype(np.float32), points.astype(np.float32))

    def _decode(
        self, out: dict[str, NDArray[np.float32]], threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The grid decoding of OpenCV's FaceDetectorYN: score = sqrt(cls * obj), sizes through exp."""
        boxes, scores, points = [], [], []
        for stride in (8, 16, 32):
            score = np.sqrt(
                np.clip(out[f"cls_{stride}"][0, :, 0], 0, 1) * np.clip(out[f"obj_{stride}"][0, :, 0], 0, 1)
            )
            index = np.flatnonzero(score >= threshold)
            grid = np.stack([index % (self._size // stride), index // (self._size // stride)], axis=1)
            box = out[f"bbox_{stride}"][0, index]
            centre, size = (grid + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
            boxes.append(np.concatenate([centre - size / 2, size], axis=1))
            scores.append(score[index])
            points.append((out[f"kps_{stride}"][0, index].reshape(-1, 5, 2) + grid[:, None]) * stride)
        return np.concatenate(boxes), np.concatenate(scores), np.concatenate(points)


class YuNetFeatures:
    """What YuNet's heads read, at strides 8, 16 and 32: 64 channels that know faces from everything else.

    Args:
        model: The published file.

    Raises:
        ValueError: its graph is not YuNet's.
    """

    channels = 64

    def __init__(self, model: Path) -> None:
        import onnx

        network = onnx.load(model)
        made = {name: node for node in network.graph.node for name in node.output}
        names = []
        for stride in (8, 16, 32):
            name = f"cls_{stride}"
            # A head is two convolutions, then the sigmoid of what was laid out in a row.
            for kind in ("Sigmoid", "Reshape", "Transpose", "Conv", "Conv"):
                if name not in made or made[name].op_type != kind:
                    raise ValueError(
                        f"{model}: no head of YuNet ends in cls_{stride}; give the published file"
                    )
                name = made[name].input[0]
            names.append(name)
        for name in names:
            network.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            network.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = [*names, *(f"{kind}_{stride}" for stride in (8, 16, 32) for kind in ("cls", "obj"))]
        self._size = int(self._session.get_inputs()[0].shape[2])

    def look(self, rgb: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Per stride the features [64, H / stride, W / stride] and the score [H / stride, W / stride].

        ``rgb`` is uint8 [H, W, 3]; sides are multiples of 32 and no longer than the network's input.
        """
        height, width = rgb.shape[:2]
        blob = np.zeros((1, 3, self._size, self._size), np.float32)
        blob[0, :, :height, :width] = rgb[:, :, ::-1].transpose(2, 0, 1)
        *maps, c8, o8, c16, o16, c32, o32 = self._session.run(self._names, {"input": blob})
        found = []
        for stride, features, cls, obj in zip((8, 16, 32), maps, (c8, c16, c32), (o8, o16, o32), strict=True):
            side = self._size // stride
            score = np.sqrt(np.clip(cls[0, :, 0], 0, 1) * np.clip(obj[0, :, 0], 0, 1)).reshape(side, side)
            rows, columns = height // stride, width // stride
            found.append((features[0, :, :rows, :columns], score[:rows, :columns]))
        return found
