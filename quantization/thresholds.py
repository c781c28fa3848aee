"""What a head needs that is neither learned nor chosen by hand: thresholds by a rule, on training photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface import BBox, Bundle, FaceAnalyzer

from .convert import ExportError
from .datasets import lfpw
from .pack import Student, build_bundle
from .progress import progress
from .shrunk import SIZES, shrunk
from .splits import parts

__all__ = ["FLOORS", "presence_floor", "score_threshold"]

FLOORS = (0.0, *(digit * 10.0**power for power in (-5, -4, -3, -2) for digit in (1, 2, 5)), 0.1)
"""What the least presence of a face may be."""

_PHOTOS = "landmarks/lfpw/trainset"
_LEAST_SCORE = 0.2  # a threshold below would be no detector's
_SURE = 0.6  # YuNet's score of a face that is one


def score_threshold(student: Student, data: Path, labels: Path, teachers: Path | None, rate: float) -> float:
    """The lowest threshold, in hundredths, with which a detector sees few faces where there are none.

    ``rate``: how many per picture. Of the pieces of the training photos that show no face, as the runtime
    would see them. The teacher looked at whole photos; a piece is enlarged, so it is asked about the piece
    once more: what it suspects there is no false face, as in an album.

    Raises:
        ExportError: even at 0.95 it sees more; or the teacher is not there.
    """
    from .album import DETECTORS, DOUBTFUL, SAME
    from .evaluate import face_free
    from .teachers.yunet import YuNet

    if teachers is None or not (teachers / DETECTORS[0]).exists():
        raise ExportError(f"deploy.false_per_window: {DETECTORS[0]} is not in {teachers}; give --teachers")
    wide = YuNet(teachers / DETECTORS[0])
    with np.load(labels / "lfpw_faces.npz") as faces:
        names, boxes = faces["names"], faces["boxes"]
    scores, windows = [], 0
    with FaceAnalyzer((), bundle=_bundle(student), min_score=_LEAST_SCORE) as analyzer:
        for name in progress("detection: score threshold", parts("lfpw", "train")):
            if not (mine := names == name).any():
                continue
            for piece in face_free(lfpw.load_photo(data / _PHOTOS, name), boxes[mine]):
                windows += 1
                seen_faces = [face.bbox for face in analyzer.analyze(piece).faces]
                if not seen_faces:
                    continue
                suspected = [BBox(*map(float, box)) for box in wide.detect(piece, DOUBTFUL).boxes]
                scores += [
                    box.score for box in seen_faces if all(box.iou(other) < SAME for other in suspected)
                ]
    for hundredths in range(round(100 * _LEAST_SCORE), 96):
        if np.count_nonzero(np.array(scores) >= hundredths / 100) <= rate * windows:
            return hundredths / 100
    raise ExportError(
        f"the detector sees more than {rate:g} faces per picture without one, even at a threshold of 0.95: "
        "train it longer, or raise deploy.false_per_window"
    )


def presence_floor(student: Student, data: Path, labels: Path, lost: float) -> float:
    """The largest of `FLOORS` below which lie at most the share ``lost`` of faces.

    Of the faces of every second training photo on which both detecting teachers agree: as they are, and
    shrunk to each of the sizes that a detector is graded at. They were trained on: of photos never seen more
    hard profiles lie below.

    Raises:
        ExportError: there is no such face.
    """
    with np.load(labels / "lfpw_faces.npz") as faces:
        sure = faces["agreed"] & (faces["scores"] >= _SURE)
        names, boxes = faces["names"][sure], faces["boxes"][sure]
    found = []
    with FaceAnalyzer(("landmarks",), bundle=_bundle(student)) as analyzer:
        for name in progress("landmarks: presence floor", parts("lfpw", "train")[::2]):
            if not (mine := names == name).any():
                continue
            for rgb, box in _seen(lfpw.load_photo(data / _PHOTOS, name), boxes[mine]):
                (face,) = analyzer.analyze(rgb, boxes=[box]).faces
                assert face.landmarks is not None  # noqa: S101  # for the type checker
                found.append(face.landmarks.presence)
    if not found:
        raise ExportError("deploy.faces_lost: there are no faces in the labels; `label` again")
    return max(floor for floor in FLOORS if np.mean(np.array(found) < floor) <= lost)


def _seen(photo: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.uint8], BBox]]:
    for row in boxes:
        box = BBox(*map(float, row))
        yield photo, box
        for side in SIZES:
            if side < max(box.width, box.height):
                yield shrunk(photo, box, side)


def _bundle(student: Student) -> Bundle:
    """The student alone."""
    one = build_bundle([student], name="threshold", version="0", created_by="pack", licence="none")
    return Bundle.from_bytes(one)
