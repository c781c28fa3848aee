"""How far a student agrees with its teacher by age and sex, where no human label says how good it is.

UTKFace names a photo AGE_SEX_..., sex 0 for male and 1 for female (Zhang et al., 2017), and nobody set points
in it; the mesh and its ridge map did (`quantization.label`). The ``tuning`` part trained nothing. A figure
here is agreement, not truth: where the teacher is wrong about a group, a student that agrees is wrong with
it. Sex is what the data set's authors wrote, estimated by a program and checked by them.

- landmarks: ``teacher_distance``, the points' mean distance to the teacher's over that of its outer eye
  corners, in the teacher's box;
- detection: ``teacher_found``, the share of the teacher's faces that a box covers with IoU >= 0.5, each so
  small that some are missed: 24 pixels in a black frame of 640 x 480. Large ones are all found, which would
  tell no group from another.

The photos are tight crops of 200 x 200; for the points they are shown amid a black frame of twice the side,
as the teacher saw them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface import BBox

from . import graded
from .datasets import lfpw
from .label import load_labels
from .metrics import inter_ocular, nme
from .shrunk import shrunk

if TYPE_CHECKING:
    from .evaluate import Analyzer

__all__ = ["FIGURES", "Person", "add", "age_and_sex", "people"]

FIGURES = {"landmarks": "teacher_distance", "detection": "teacher_found"}
"""The tasks that have a teacher on these photos, and what the figure is called."""

_NAME = re.compile(r"(\d{1,3})_([01])_")
_FOLDER = "unlabelled/utkface"
_SMALL = 24  # pixels of the larger side of a box, as the detector is asked about people


@dataclass(frozen=True, slots=True)
class Person:
    """A photo in its frame, RGB, the teacher's box and points [68, 2] there; age in years, sex 0 or 1."""

    rgb: NDArray[np.uint8]
    box: BBox
    points: NDArray[np.float32]
    age: int
    sex: int


def age_and_sex(name: str) -> tuple[int, int] | None:
    """What a file name of UTKFace says; None where it does not: a few of the published ones are cut short."""
    said = _NAME.match(name)
    return (int(said[1]), int(said[2])) if said else None


def people(data: Path, labels: Path) -> Iterator[Person]:
    """UTKFace's tuning part, as far as the photos, the teacher's labels and the names say enough."""
    if not ((data / _FOLDER).is_dir() and (labels / "utkface.npz").exists()):
        return
    found = load_labels(labels, "utkface")
    for i in np.flatnonzero(found.parts == "tuning"):
        said = age_and_sex(str(found.names[i]))
        if said is None:
            continue
        rgb = lfpw.load_photo(data / _FOLDER, str(found.names[i]))
        height, width = rgb.shape[0] // 2, rgb.shape[1] // 2
        framed = cv2.copyMakeBorder(rgb, height, height, width, width, cv2.BORDER_CONSTANT)
        x, y, w, h = (float(v) for v in found.boxes[i])
        yield Person(
            framed,
            BBox(x + width, y + height, w, h, 1.0),
            found.points[i] + np.array([width, height], np.float32),
            *said,
        )


def add(found: graded.Graded, task: str, analyzer: Analyzer, data: Path, labels: Path) -> graded.Graded:
    """``found`` and the figure of `FIGURES`, over all and by age and sex; as it was without the photos."""
    measure = {"landmarks": _distance, "detection": _found}[task]
    rows = [(measure(analyzer, p), p.age, p.sex) for p in people(data, labels)]
    if not rows:
        return found
    values, age, sex = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return graded.agreement(found, FIGURES[task], values, age, sex)


def _distance(analyzer: Analyzer, person: Person) -> float:
    faces = analyzer.analyze(person.rgb, boxes=[person.box]).faces
    if not faces or faces[0].landmarks is None:
        return float("nan")
    return float(nme(faces[0].landmarks.points, person.points, inter_ocular(person.points)))


def _found(analyzer: Analyzer, person: Person) -> float:
    frame, there = shrunk(person.rgb, person.box, _SMALL)
    return float(any(f.bbox.iou(there) >= 0.5 for f in analyzer.analyze(frame).faces))
