"""Teachers that answer as the runtime does, so that the same grading serves both."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface import BBox, Face, Frame, FrameResult, Landmarks

from .facemesh import FaceMesh, RidgeMap, mesh_bytes, mirrored
from .yunet import YuNet

__all__ = ["GRADED", "TeacherAnalyzer", "network_bytes"]

GRADED = {"detection": "yunet_n_640_640.onnx", "landmarks": "mediapipe_face_landmarker.task"}
"""The tasks for which there is one, and its file."""


def network_bytes(teachers: Path, task: str) -> int:
    """Size of the network that answers; the face mesh's file holds two more."""
    path = teachers / GRADED[task]
    return path.stat().st_size if path.suffix == ".onnx" else mesh_bytes(path)


class TeacherAnalyzer:
    """YuNet's faces and, with a mesh and its map, the 68 points of both views of each.

    Args:
        detector: YuNet at its full input.
        mesh: The face mesh and the ridge map that reads 68 points off it; None: boxes alone.
        min_score: Least score of a face.
    """

    def __init__(
        self, detector: YuNet, mesh: tuple[FaceMesh, RidgeMap] | None = None, min_score: float = 0.6
    ) -> None:
        self._detector, self._mesh, self._min_score = detector, mesh, min_score

    @classmethod
    def load(
        cls, teachers: Path, data: Path, labels: Path, tasks: Collection[str], min_score: float = 0.6
    ) -> TeacherAnalyzer:
        """The published networks of ``teachers``; the map is fitted on LFPW's training part."""
        from ..label import _fit, load_labels  # it imports this package

        detector = YuNet(teachers / GRADED["detection"])
        if "landmarks" not in tasks:
            return cls(detector, None, min_score)
        mesh = FaceMesh(teachers / GRADED["landmarks"])
        return cls(detector, (mesh, _fit(data, load_labels(labels, "lfpw"), mesh)), min_score)

    def __enter__(self) -> TeacherAnalyzer:
        return self

    def __exit__(self, *_: object) -> None: ...

    def analyze(self, frame: Frame | NDArray[np.uint8], boxes: Sequence[BBox] | None = None) -> FrameResult:
        """The faces of an RGB picture, largest first; ``boxes`` in place of the detector's."""
        rgb = frame.rgb if isinstance(frame, Frame) else frame
        if boxes is None:
            found = self._detector.detect(rgb, self._min_score)
            boxes = [
                BBox(*(float(v) for v in b), score=min(float(s), 1.0))
                for b, s in zip(found.boxes, found.scores, strict=True)
            ]
        faces = [Face(b, landmarks=self._points(rgb, b)) for b in sorted(boxes, key=lambda b: -b.area)]
        return FrameResult(tuple(faces), rgb.shape[1], rgb.shape[0], backend="teacher")

    def _points(self, rgb: NDArray[np.uint8], bbox: BBox) -> Landmarks | None:
        if self._mesh is None:
            return None
        net, ridge = self._mesh
        box = np.array([bbox.x, bbox.y, bbox.width, bbox.height], np.float32)
        seen, presence = net.mesh(rgb, box)
        other, _ = net.mesh(*mirrored(rgb, box))
        points = ridge.both_views(seen, other, rgb.shape[1])
        return Landmarks(points, np.ones(68, np.float32), presence)  # the mesh does not say what is covered
