"""Teachers that answer as the runtime does, so that the same grading serves both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface import BBox, Expression, Face, FaceAnalyzer, Frame, FrameResult, Landmarks, ParsingMap
from edgeface.labels import FER8

from .answers import ExpressionAnswer, FacesAnswer, MapAnswer, PointsAnswer
from .facemesh import FaceMesh, RidgeMap, mesh_bytes
from .meshmap import fit_map, shown
from .mirror import mirrored
from .together import Joint
from .yunet import YuNet

__all__ = ["GRADED", "AskedAnalyzer", "TeacherAnalyzer", "network_bytes"]

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
        from ..label import load_labels  # it imports this package

        detector = YuNet(teachers / GRADED["detection"])
        if "landmarks" not in tasks:
            return cls(detector, None, min_score)
        mesh = FaceMesh(teachers / GRADED["landmarks"])
        return cls(detector, (mesh, fit_map(shown(data, load_labels(labels, "lfpw"), mesh))), min_score)

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


class AskedAnalyzer:
    """Teachers that are asked about a face at a time (:class:`quantization.panel.Panel`).

    Their faces are found by the built-in detector, so that teacher and student are asked about the same
    boxes. A face without the keypoints that a teacher's crop goes by gets no answer.

    Args:
        ask: About a picture, a box and keypoints.
        task: Theirs.
        needs: What of a face they go by: ``"nothing"``, ``"a box"`` or ``"keypoints"``.
        doubtful: Tell also of faces that no more than half of several views see.
    """

    def __init__(
        self, ask: Callable[..., Joint | None], task: str, needs: str, doubtful: bool = False
    ) -> None:
        self._ask, self._task, self._needs, self._doubtful = ask, task, needs, doubtful
        self._finder = None if needs == "nothing" else FaceAnalyzer(())

    def __enter__(self) -> AskedAnalyzer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._finder is not None:
            self._finder.close()

    def analyze(self, frame: Frame | NDArray[np.uint8], boxes: Sequence[BBox] | None = None) -> FrameResult:
        """The faces of an RGB picture, largest first; ``boxes`` in place of the detector's."""
        rgb = frame.rgb if isinstance(frame, Frame) else frame
        if self._task == "detection":
            faces = self._boxes(self._ask(rgb))
        elif self._finder is None:
            box = boxes[0] if boxes else BBox(-0.5, -0.5, rgb.shape[1], rgb.shape[0])
            faces = [self._face(rgb, Face(box))]
        else:
            faces = [self._face(rgb, face) for face in self._found(self._finder, rgb, boxes)]
        return FrameResult(tuple(faces), rgb.shape[1], rgb.shape[0], backend="teacher")

    def _found(
        self, finder: FaceAnalyzer, rgb: NDArray[np.uint8], boxes: Sequence[BBox] | None
    ) -> list[Face]:
        if boxes is not None and self._needs == "a box":
            return [Face(box) for box in boxes]
        found = list(finder.analyze(rgb).faces)
        if boxes is None:
            return found
        best = [(box, _likest(box, found)) for box in boxes]
        return [Face(box) if face is None else replace(face, bbox=box) for box, face in best]

    def _face(self, rgb: NDArray[np.uint8], face: Face) -> Face:
        if self._needs == "keypoints" and face.keypoints is None:
            return face
        box = np.array([face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height], np.float32)
        joint = self._ask(rgb, box, face.keypoints)
        said = None if joint is None else joint.answer
        if isinstance(said, PointsAnswer):
            everywhere = np.ones(len(said.points), np.float32)  # a teacher does not say what is covered
            return replace(face, landmarks=Landmarks(said.points, everywhere, 1.0))
        if isinstance(said, MapAnswer):
            height, width = said.labels.shape
            parsing = ParsingMap(said.labels, BBox(-0.5, -0.5, width, height), said.scheme)
            return replace(face, parsing=parsing)
        if isinstance(said, ExpressionAnswer):
            scores = dict(zip(FER8.names, np.clip(said.probabilities, 0, 1).tolist(), strict=True))
            return replace(face, expression=Expression(scores))
        return face

    def _boxes(self, joint: Joint | None) -> list[Face]:
        said = None if joint is None else joint.answer
        if not isinstance(said, FacesAnswer):
            return []
        doubted = (
            np.zeros(len(said.boxes), np.bool_) if joint is None or joint.doubted is None else joint.doubted
        )
        rows = zip(said.boxes.tolist(), said.scores.tolist(), doubted.tolist(), strict=True)
        faces = [
            Face(BBox(*box, score=min(max(score, 0.0), 1.0)))
            for box, score, doubt in rows
            if min(box[2:]) > 0 and (self._doubtful or not doubt)
        ]
        return sorted(faces, key=lambda face: -face.bbox.area)


def _likest(box: BBox, faces: Sequence[Face]) -> Face | None:
    best = max(faces, key=lambda face: face.bbox.iou(box), default=None)
    return best if best is not None and best.bbox.iou(box) > 0.3 else None
