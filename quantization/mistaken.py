"""What the detection student takes for a face and the published detectors do not: where presence must say no.

A background at random is an easy lesson. What reaches the landmark student at run time has passed the
detector; so part of the crops without a face are what the built-in detector of the day found, down to a low
score, in LFPW's training photos where YuNet suspects nothing. ``python -m quantization mistaken`` writes the
list, which is committed: recipes that use it do not change when a better detector ships.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgeface
from edgeface.geometry import iou_matrix

from . import splits
from .album import DETECTORS
from .datasets import lfpw
from .progress import progress
from .splits import parts
from .teachers.yunet import YuNet

__all__ = ["load_mistaken", "make_mistaken"]

_LEAST = 0.12  # of the student's score: a third of the one that it is used with
_FACE, _SUSPECTED = 0.3, 0.1  # of YuNet's scores: not even near the first, not upon the second
_NEAR, _UPON = 0.1, 0.2  # IoU


def make_mistaken(data: Path, teachers: Path) -> int:
    """Writes the list; returns how many boxes it holds."""
    yunet, root = YuNet(teachers / DETECTORS[0]), data / "landmarks/lfpw/trainset"
    partial, count = splits.MISTAKEN.with_suffix(".partial"), 0
    with edgeface.FaceAnalyzer((), min_score=_LEAST) as student, partial.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["name", "x", "y", "width", "height"])
        for name in progress("mistaken", parts("lfpw", "train")):
            rgb = lfpw.load_photo(root, name)
            found, there = [face.bbox for face in student.analyze(rgb).faces], yunet.detect(rgb, _SUSPECTED)
            boxes = np.array([(b.x, b.y, b.width, b.height) for b in found], np.float32).reshape(-1, 4)
            clear = _apart(boxes, there.boxes[there.scores >= _FACE], _NEAR) & _apart(
                boxes, there.boxes, _UPON
            )
            rows.writerows([name, *(f"{v:.1f}" for v in box)] for box in boxes[clear])
            count += int(clear.sum())
    partial.replace(splits.MISTAKEN)
    return count


def _apart(boxes: NDArray[np.float32], others: NDArray[np.float32], most: float) -> NDArray[np.bool_]:
    if not len(boxes) or not len(others):
        return np.ones(len(boxes), np.bool_)
    return iou_matrix(boxes, others).max(1) < most


def load_mistaken() -> dict[str, NDArray[np.float32]]:
    """Name of a photo -> boxes in it, float32 [N, 4]: x, y, width, height in pixels."""
    found: dict[str, list[list[float]]] = {}
    with splits.MISTAKEN.open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["name"], []).append([float(row[k]) for k in ("x", "y", "width", "height")])
    return {name: np.array(boxes, np.float32) for name, boxes in found.items()}
