"""What is told of one picture, as plain JSON values, and the figures of many such rows, task by task.

Plain values, because a worker writes them down: those that are read are those that were found, to the last
digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import BBox, Face
from edgeface.labels import FER8, Conversion, confusion_matrix, conversion, conversions, parsing_scheme

from . import graded
from .datasets import DataSetError, Sample
from .datasets.points import to_ibug68
from .evaluate import brightness, face_at
from .graded import Graded
from .metrics import average_precision
from .teachers.face3d import Face3D

__all__ = [
    "FIGURES",
    "Row",
    "TaskError",
    "detection_row",
    "expression_row",
    "landmarks_row",
    "parsing_row",
]

Rgb = NDArray[np.uint8]
Row = dict[str, Any]


class TaskError(DataSetError):
    """A data set lacks what a task is graded by; the message names it and those that have it."""


def landmarks_row(analyzer: Any, head: Face3D | None, sample: Sample, rgb: Rgb) -> Row:
    assert sample.points is not None  # noqa: S101  # for the type checker
    truth = to_ibug68(sample.points, sample.points_scheme)
    face: Face | None = face_at(analyzer.analyze(rgb), truth.mean(0))
    yaw = sample.attributes.get("yaw")
    if not isinstance(yaw, float):
        yaw = head.pose(truth)[0] if head else None
    return {
        "found": None if face is None or face.landmarks is None else face.landmarks.points.tolist(),
        "truth": truth.tolist(),
        "light": brightness(rgb, np.array([*truth.min(0), *np.ptp(truth, 0)])),
        "yaw": yaw,
    }


def parsing_row(analyzer: Any, sample: Sample, rgb: Rgb) -> Row:
    truth = sample.mask
    assert truth is not None  # noqa: S101  # for the type checker
    faces = analyzer.analyze(rgb).faces
    said = faces[0].parsing if faces else None
    guess, scheme, lost = np.zeros_like(truth), sample.mask_scheme, ""
    if said is not None:
        guess = said.to_frame(truth.shape)
        rule, of_answer = _common(said.scheme, sample.mask_scheme)
        scheme, lost = rule.target, rule.lost
        table = np.full(256, 255, np.uint8)
        table[: len(rule.table())] = rule.table()
        guess, truth = (table[guess], truth) if of_answer else (guess, table[truth])
    known = (truth > 0) & (truth != 255)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return {
        "matrix": confusion_matrix(guess, truth, len(parsing_scheme(scheme))).tolist(),
        "light": float(grey[known].mean()) if known.any() else None,
        "scheme": scheme,
        "lost": lost,
        "missed": said is None,
    }


def _common(said: str, truth: str) -> tuple[Conversion, bool]:
    """The conversion of the answer into the truth's scheme (True) or of the truth into the answer's.

    Raises:
        TaskError: There is neither.
    """
    pairs = {(one.source, one.target) for one in conversions()} | {(said, said)}
    ways = [
        (conversion(source, target), of_answer)
        for source, target, of_answer in ((said, truth, True), (truth, said, False))
        if (source, target) in pairs
    ]
    if not ways:
        raise TaskError(
            f"maps of {said} cannot be held against masks of {truth}: there is no conversion either way; "
            f"use a data set of {said} or of a scheme that it has a conversion to"
        )
    return min(ways, key=lambda way: len(way[0].empty))  # the first of equal ones


def expression_row(analyzer: Any, sample: Sample, rgb: Rgb) -> Row:
    height, width = rgb.shape[:2]
    boxes = sample.boxes if sample.boxes is not None and len(sample.boxes) == 1 else None
    box = BBox(-0.5, -0.5, width, height) if boxes is None else BBox(*boxes[0].tolist())
    said = analyzer.analyze(rgb, boxes=[box]).faces
    scores = said[0].expression.scores if said and said[0].expression is not None else None
    return {
        "scores": None if scores is None else [scores[name] for name in FER8.names],
        "truth": sample.expression,
        "light": brightness(rgb, np.array([box.x, box.y, box.width, box.height])),
    }


def detection_row(analyzer: Any, eager: Any, sample: Sample, rgb: Rgb) -> Row:
    assert sample.boxes is not None  # noqa: S101  # for the type checker
    wanted = (sample.boxes[:, 2:] > 0).all(1)
    invalid = sample.attributes.get("invalid")
    if isinstance(invalid, tuple):
        wanted &= ~np.array(invalid, np.bool_)
    truth = sample.boxes[wanted]
    found = [face.bbox for face in analyzer.analyze(rgb).faces]
    best = [max((box.iou(BBox(*row)) for box in found), default=0.0) for row in truth.tolist()]
    said = [face.bbox for face in eager.analyze(rgb).faces]
    return {
        "truth": truth.tolist(),
        "ignored": sample.boxes[~wanted].tolist(),
        "said": [[b.x, b.y, b.width, b.height, b.score] for b in said],
        "best": best,
        "light": [brightness(rgb, row) for row in truth],
        "false": len(found) if not len(sample.boxes) else None,  # None: not a picture without faces
    }


# -- figures ---------------------------------------------------------------------------------------------


def _floats(values: Iterable[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _fold_landmarks(rows: Sequence[Row]) -> Graded:
    found = [None if row["found"] is None else np.array(row["found"], np.float32) for row in rows]
    truth = [np.array(row["truth"], np.float32) for row in rows]
    return graded.landmarks(found, truth, [r["light"] for r in rows], _floats([r["yaw"] for r in rows]))


def _fold_parsing(rows: Sequence[Row]) -> Graded:
    answered = [row for row in rows if not row["missed"]] or list(rows)
    schemes = {row["scheme"] for row in answered}
    if len(schemes) > 1:
        raise TaskError(f"masks of {' and '.join(sorted(schemes))} in one data set: grade them apart")
    (scheme,) = schemes
    matrices = [_in_scheme(row, scheme) for row in rows]
    missed = sum(row["missed"] for row in rows)
    result = graded.parsing(
        matrices, parsing_scheme(scheme).names, _floats([r["light"] for r in rows]), missed
    )
    told = {"scheme": scheme, "lost": answered[0]["lost"]}
    return Graded(result.metrics, result.curves | told)


def _in_scheme(row: Row, scheme: str) -> NDArray[np.int64]:
    """A row's confusion matrix; without an answer it is still in the data set's scheme, all background."""
    matrix = np.array(row["matrix"], np.int64)
    if row["scheme"] == scheme:
        return matrix
    moved = np.zeros((len(parsing_scheme(scheme)),) * 2, np.int64)
    np.add.at(moved[:, 0], conversion(row["scheme"], scheme).table(), matrix[:, 0])
    return moved


def _fold_expression(rows: Sequence[Row]) -> Graded:
    told = [row for row in rows if row["scores"] is not None]
    if not told:
        raise TaskError(
            f"in none of {len(rows)} pictures was a face found whose points the teacher's crop goes by: "
            "give pictures with room around the face"
        )
    scores, truth = np.array([row["scores"] for row in told]), np.array([row["truth"] for row in told])
    result = graded.expression(scores, truth, FER8.names, [row["light"] for row in told])
    return Graded(result.metrics | {"missed": float(len(rows) - len(told))}, result.curves)


def _fold_detection(rows: Sequence[Row]) -> Graded:
    best = np.array([value for row in rows for value in row["best"]], np.float64)
    if not len(best):
        raise TaskError(f"in none of {len(rows)} pictures is there a face: recall needs some")
    light = np.array([value for row in rows for value in row["light"]], np.float64)
    said = [np.array(row["said"], np.float64).reshape(-1, 5) for row in rows]
    precision = average_precision(
        [np.array(row["truth"]).reshape(-1, 4) for row in rows],
        [(values[:, :4], values[:, 4]) for values in said],
        [np.array(row["ignored"]).reshape(-1, 4) for row in rows],
    )
    free = [row["false"] for row in rows if row["false"] is not None]
    everyone = np.ones(len(best), np.bool_)
    result = graded.detection(best, everyone, light, precision, sum(free), len(free))
    figures = {k: v for k, v in result.metrics.items() if not k.endswith("_any_teacher")}
    return Graded(figures, result.curves)


FIGURES: Mapping[str, Callable[[Sequence[Row]], Graded]] = {
    "landmarks": _fold_landmarks,
    "parsing": _fold_parsing,
    "expression": _fold_expression,
    "detection": _fold_detection,
}
