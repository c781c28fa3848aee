"""MediaPipe's 478-point face mesh (Kartynnik et al., 2019; Apache-2.0) as a teacher of iBUG-68.

The mesh has no jaw-line or brow points by iBUG's definition, so 68 points are read off it by a ridge
regression in the mesh's own upright frame, fitted on human labels. Both views of a face, as seen and
mirrored, are averaged.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeface.labels import IBUG68

from ..datasets import Terms
from .answers import PointsAnswer
from .mirror import unmirrored
from .together import joined

__all__ = ["TERMS", "FaceMesh", "RidgeMap", "mesh_bytes"]

TERMS = Terms(
    "MediaPipe Face Mesh (Kartynnik et al., 2019)",
    "Apache-2.0",
    commercial=True,
    source="its model card, https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
)

Array = NDArray[np.float32]
_SIZE = 256
_MARGIN = 1.5  # the crop's side over the mesh's extent, as in MediaPipe's own graph
_OUTER_EYES = (33, 263)  # mesh indices of the outer eye corners
_NETWORK = "face_landmarks_detector.tflite"  # within the task's file


class FaceMesh:
    """The landmark network of ``face_landmarker.task`` (a zip of three .tflite files)."""

    def __init__(self, task: Path, threads: int = 1) -> None:
        with zipfile.ZipFile(task) as archive:
            content = archive.read(_NETWORK)
        self._net = Interpreter(model_content=content, num_threads=threads)
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._outputs = [d["index"] for d in self._net.get_output_details()]

    def mesh(self, rgb: NDArray[np.uint8], box: Array) -> tuple[Array, float]:
        """The mesh float32 [478, 2] in pixels and its presence score; ``box``: x, y, width, height.

        Two passes: the second crops by the first's mesh, upright and with MediaPipe's margin.
        """
        side = float(max(box[2:]))
        centre = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2 + 0.06 * side])
        points, _ = self._once(rgb, centre, side * 1.4, 0.0)
        low, high = points.min(0), points.max(0)
        delta = points[_OUTER_EYES[1]] - points[_OUTER_EYES[0]]
        return self._once(
            rgb, (low + high) / 2, float((high - low).max()) * _MARGIN, float(np.arctan2(delta[1], delta[0]))
        )

    def _once(self, rgb: NDArray[np.uint8], centre: Array, side: float, angle: float) -> tuple[Array, float]:
        scale = _SIZE / side
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        matrix = np.array([[cos, sin, 0], [-sin, cos, 0]])
        matrix[:, 2] = (_SIZE - 1) / 2 - matrix[:, :2] @ centre
        crop = cv2.warpAffine(
            rgb, matrix, (_SIZE, _SIZE), flags=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        )
        self._net.set_tensor(self._input, crop[None].astype(np.float32) / 255)
        self._net.invoke()
        points = self._net.get_tensor(self._outputs[0]).reshape(478, 3)[:, :2]
        score = float(1 / (1 + np.exp(-self._net.get_tensor(self._outputs[1]).item())))
        back = cv2.invertAffineTransform(matrix)
        return (points @ back[:, :2].T + back[:, 2]).astype(np.float32), score


def mesh_bytes(task: Path) -> int:
    """Size of the landmark network within ``face_landmarker.task``."""
    with zipfile.ZipFile(task) as archive:
        return archive.getinfo(_NETWORK).file_size


@dataclass(frozen=True)
class RidgeMap:
    """68 points as a linear function of the mesh, in the frame whose x axis joins the outer eye corners."""

    weights: Array  # [957, 136]

    @classmethod
    def fit(cls, meshes: Array, points: Array, ridge: float = 0.002) -> RidgeMap:
        """Least squares with a ridge penalty; ``meshes`` [N, 478, 2], ``points`` [N, 68, 2], in pixels."""
        local = [_frame(m) for m in meshes]
        features = np.stack([_features(f(m)) for f, m in zip(local, meshes, strict=True)])
        targets = np.stack([f(p).ravel() for f, p in zip(local, points, strict=True)])
        gram = features.T @ features + ridge * len(features) * np.diag([1e-2] * (features.shape[1] - 1) + [0])
        return cls(np.linalg.solve(gram, features.T @ targets).astype(np.float32))

    def __call__(self, mesh: Array) -> Array:
        frame = _frame(mesh)
        local = (_features(frame(mesh)) @ self.weights).reshape(68, 2)
        return frame.inverse(local).astype(np.float32)

    def both_views(self, mesh: Array, mirror_mesh: Array, width: int) -> Array:
        """The mean of the points of the face as seen and of its mirror image (``width``: of the picture)."""
        views = [PointsAnswer(self(each), IBUG68.key) for each in (mesh, mirror_mesh)]
        said = joined([views[0], unmirrored(views[1], width)]).answer
        assert isinstance(said, PointsAnswer)  # noqa: S101  # for the type checker
        return said.points


@dataclass(frozen=True)
class _frame:
    """Origin between the outer eye corners, x along them, their distance is one."""

    mesh: Array

    def _basis(self) -> tuple[Array, Array]:
        a, b = self.mesh[_OUTER_EYES[0]].astype(np.float64), self.mesh[_OUTER_EYES[1]].astype(np.float64)
        axis = b - a
        return (a + b) / 2, np.array([axis, [-axis[1], axis[0]]])

    def __call__(self, points: Array) -> Array:
        origin, basis = self._basis()
        return (points - origin) @ basis.T / (basis[0] @ basis[0])

    def inverse(self, points: Array) -> Array:
        origin, basis = self._basis()
        return points @ basis + origin


def _features(local: Array) -> Array:
    return np.append(local.ravel(), 1.0)
