"""What a network that was trained here says of a face, as every other teacher says it.

The runtime's own heads cut the face out and read the answer, but for a map: of that the probabilities are
wanted, which no int8 student gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeface import BBox, Face, FaceAnalyzer
from edgeface.bundle import ModelSpec
from edgeface.geometry import roll_from_keypoints
from edgeface.heads import ParsingHead
from edgeface.labels import FER8, IBUG68

from .teachers.answers import Ask, ExpressionAnswer, FacesAnswer, MapAnswer, PointsAnswer
from .teachers.crops import View

if TYPE_CHECKING:
    from .taught import Taught

__all__ = ["asker"]

Array = NDArray[np.float32]
Rgb = NDArray[np.uint8]


def asker(taught: Taught, min_score: float | None = None) -> Ask:
    """Loads the network.

    Args:
        taught: What was trained.
        min_score: Of a detector, the least score of a face; None: the built-in one's.
    """
    if taught.task == "parsing":
        network = taught.deployed()
        return _Parser(network, taught.spec(network, "parsing"))
    analyzer = taught.analyzer((taught.task,), min_score)
    if taught.task == "detection":
        return lambda rgb, *_: _faces(analyzer, rgb)
    read = {"landmarks": _points, "expression": _shares}[taught.task]
    return lambda rgb, box, keypoints=None: read(_face(analyzer, rgb, box, keypoints))


class _Parser:
    """Softmax over the crop that the runtime would cut out."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        self._network, self._spec, self._head = network.eval(), spec, ParsingHead(spec)

    @torch.no_grad()
    def __call__(self, rgb: Rgb, box: Array, keypoints: Array | None = None) -> MapAnswer:
        shape = self._spec.input
        tensors, crop = self._head.prepare(rgb, _box(box), _roll(keypoints) or 0.0)
        image = torch.from_numpy(tensors[shape.name].astype(np.float32) / 128).permute(0, 3, 1, 2)
        maps = self._network(image)[0][0].softmax(0).numpy()
        view = View((shape.width, shape.height), crop.apply, crop.inverse().apply, crop)
        labels = view.put_back(maps, (rgb.shape[1], rgb.shape[0]))
        return MapAnswer(labels, maps, view, str(self._spec.labels))


def _face(analyzer: FaceAnalyzer, rgb: Rgb, box: Array, keypoints: Array | None) -> Face:
    return analyzer.analyze(rgb, [_box(box)], [_roll(keypoints)]).faces[0]


def _points(face: Face) -> PointsAnswer:
    assert face.landmarks is not None  # noqa: S101  # for the type checker
    return PointsAnswer(np.array(face.landmarks.points, np.float32), IBUG68.key)


def _shares(face: Face) -> ExpressionAnswer:
    assert face.expression is not None  # noqa: S101  # for the type checker
    scores = face.expression.scores
    return ExpressionAnswer(np.array([scores[name] for name in FER8.names], np.float32))


def _faces(analyzer: FaceAnalyzer, rgb: Rgb) -> FacesAnswer:
    found = sorted((face.bbox for face in analyzer.analyze(rgb).faces), key=lambda box: -box.score)
    boxes = [(box.x, box.y, box.width, box.height) for box in found]
    return FacesAnswer(
        np.array(boxes, np.float32).reshape(-1, 4), np.array([box.score for box in found], np.float32)
    )


def _box(box: Array) -> BBox:
    return BBox(*(float(value) for value in box))


def _roll(keypoints: Array | None) -> float | None:
    return None if keypoints is None else roll_from_keypoints(np.asarray(keypoints, np.float32))
