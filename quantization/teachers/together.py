"""Several answers about one face, or one picture, as one, and how far they agree.

What counts of each task is what its students learn from:

- expression: the mean of the probabilities. Two answers agree by what their distributions share with the
  mean, 1 where they are the same;
- parsing: of every pixel the mean of the probabilities of those whose crop holds it. They agree by the share
  of the face's pixels that they call what the mean does;
- points: the mean. They agree by how near they are to it: 1 where they coincide, 0 from a tenth of the
  points' extent on;
- boxes: those that overlap (IoU > 0.55) are one, the mean weighted by their scores; its score is the mean
  score times the share of the views that saw it (weighted boxes fusion: Solovyev et al., 2021). They agree
  by the mean of these shares, 1 where nobody sees a face.

What no more than half of the views say is doubted: a box, and the class of a pixel; so is that of a pixel
that no view sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeface.geometry import iou_matrix

from .answers import Answer, ExpressionAnswer, FacesAnswer, MapAnswer, PointsAnswer
from .crops import decide

__all__ = ["Joint", "joined"]

Array = NDArray[np.float32]
_SAME = 0.55  # least overlap of two boxes of one face, as published
_FAR = 0.1  # of the points' extent: as far apart as points of another face
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Joint:
    """What several views say together.

    Attributes:
        answer: Of the kind of theirs.
        agreement: From 0 to 1; None of a single view, which agrees with nobody.
        doubted: Of a map bool [H, W], of boxes [N], in the answer's order; None where there is no such part.
    """

    answer: Answer
    agreement: float | None = None
    doubted: NDArray[np.bool_] | None = None


def joined(said: Sequence[Answer]) -> Joint:
    """The answers, all of one kind and scheme, as one.

    Raises:
        TypeError: They are of different kinds, or of one that has no mean (blendshapes).
    """
    if all(isinstance(one, MapAnswer) for one in said):
        return _map(list(said))
    first = said[0]
    if len(said) == 1:
        return Joint(first)
    if all(isinstance(one, ExpressionAnswer) for one in said):
        return _expression([one.probabilities for one in said])
    if all(isinstance(one, PointsAnswer) for one in said):
        return _points([one.points for one in said], first.scheme)
    if all(isinstance(one, FacesAnswer) for one in said):
        return _faces(list(said))
    raise TypeError(f"{', '.join(type(one).__name__ for one in said)}: have no mean")


def _expression(shares: Sequence[Array]) -> Joint:
    mean = np.mean(shares, axis=0, dtype=np.float64)
    common = [float(np.minimum(one, mean).sum()) for one in shares]
    return Joint(ExpressionAnswer(mean.astype(np.float32)), min(1.0, float(np.mean(common))))


def _points(points: Sequence[Array], scheme: str) -> Joint:
    mean = np.mean(points, axis=0, dtype=np.float64)
    extent = max(float(np.sqrt(np.prod(np.ptp(mean, axis=0)))), _TINY)
    apart = float(np.mean([np.linalg.norm(one - mean, axis=1).mean() for one in points])) / extent
    return Joint(PointsAnswer(mean.astype(np.float32), scheme), max(0.0, 1 - apart / _FAR))


def _map(said: Sequence[MapAnswer]) -> Joint:
    height, width = said[0].labels.shape
    labels, saw, agreed = decide([one.soft for one in said], (width, height))
    doubted = 2 * agreed.astype(int) <= saw
    if len(said) == 1:
        return Joint(said[0], None, doubted)
    face = (labels > 0) | np.any([one.labels > 0 for one in said], axis=0)
    asked = int(saw[face].sum())
    agreement = float(agreed[face].sum()) / asked if asked else 1.0
    return Joint(MapAnswer(labels, None, None, said[0].scheme), agreement, doubted)


def _faces(said: Sequence[FacesAnswer]) -> Joint:
    rows = [
        (float(score), view, box.astype(np.float64))
        for view, one in enumerate(said)
        for score, box in zip(one.scores, one.boxes, strict=True)
    ]
    groups: list[list[tuple[float, int, NDArray[np.float64]]]] = []
    boxes: list[NDArray[np.float64]] = []
    for row in sorted(rows, key=lambda row: -row[0]):
        overlap = iou_matrix([row[2]], np.array(boxes))[0] if boxes else np.zeros(0)
        if len(overlap) and overlap.max() > _SAME:
            best = int(overlap.argmax())
            groups[best].append(row)
        else:
            best = len(groups)
            groups.append([row])
            boxes.append(row[2])
        weights = [score + _TINY for score, _, _ in groups[best]]
        boxes[best] = np.average([box for _, _, box in groups[best]], axis=0, weights=weights)
    seen = np.array([len({view for _, view, _ in group}) for group in groups]) / len(said)
    scores = np.array([np.mean([score for score, _, _ in group]) for group in groups]) * seen
    order = np.argsort(-scores, kind="stable")
    found = FacesAnswer(np.array(boxes, np.float32).reshape(-1, 4)[order], scores.astype(np.float32)[order])
    return Joint(found, float(seen.mean()) if len(seen) else 1.0, (2 * seen <= 1)[order])
