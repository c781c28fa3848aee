from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeface import BBox, Bundle, FaceAnalyzer, read_image
from quantization.convert import ExportError
from quantization.datasets import lfpw
from quantization.evaluate import face_free
from quantization.pack import student_of
from quantization.teachers.yunet import Detections
from quantization.thresholds import FLOORS, presence_floor, score_threshold

pytestmark = pytest.mark.workshop


def test_the_threshold_of_a_detector_is_where_it_sees_few_faces_that_are_none(
    tmp_path, repository, monkeypatch
):
    detector = student_of(Bundle.load(repository / "edgeface/models/students.bundle"), "detection")
    photos = tmp_path / "landmarks/lfpw/trainset"
    photos.mkdir(parents=True)
    # A face that no label tells of is, to this rule, a false one.
    (photos / "face.jpg").write_bytes((repository / "examples/astronaut.jpg").read_bytes())
    np.savez(tmp_path / "lfpw_faces.npz", names=["face.jpg"], boxes=np.array([[0, 0, 1, 1]], np.float32))
    monkeypatch.setattr("quantization.thresholds.parts", lambda *_: ["face.jpg"])
    with FaceAnalyzer(()) as analyzer:
        (face,) = analyzer.analyze(read_image(repository / "examples/astronaut.jpg")).faces
    suspected: list[BBox] = []

    class Teacher:
        def __init__(self, path):
            assert path.exists()

        def detect(self, rgb, threshold):
            boxes = np.array([[*dataclasses.astuple(box)[:4]] for box in suspected], np.float32).reshape(
                -1, 4
            )
            return Detections(
                boxes, np.full(len(boxes), threshold, np.float32), np.zeros((len(boxes), 5, 2), np.float32)
            )

    def found(rate):
        return score_threshold(detector, tmp_path, tmp_path, tmp_path, rate)

    monkeypatch.setattr("quantization.teachers.yunet.YuNet", Teacher)
    with pytest.raises(ExportError, match="give --teachers"):
        found(0.0)
    (tmp_path / "yunet_n_640_640.onnx").touch()
    assert found(50.0) == 0.2
    assert found(0.0) == pytest.approx(face.bbox.score, abs=0.1)
    monkeypatch.setattr("quantization.thresholds._LEAST_SCORE", 0.95)
    with pytest.raises(ExportError, match="even at a threshold of"):
        found(-1.0)
    monkeypatch.setattr("quantization.thresholds._LEAST_SCORE", 0.5)
    # What the teacher suspects, asked about the piece itself, is none of the false ones.
    pieces = face_free(lfpw.load_photo(photos, "face.jpg"), np.array([[0, 0, 1, 1]], np.float32))
    with FaceAnalyzer(()) as analyzer:
        suspected += [face.bbox for piece in pieces for face in analyzer.analyze(piece).faces]
    assert suspected
    assert found(0.0) == 0.5


@pytest.fixture
def one_face(tmp_path, repository, monkeypatch):
    """Labels of two photos, one of a face and one of none; what the landmark student says of that box."""
    photos = tmp_path / "landmarks/lfpw/trainset"
    photos.mkdir(parents=True)
    photo = repository / "examples/astronaut.jpg"
    (photos / "face.jpg").write_bytes(photo.read_bytes())
    with FaceAnalyzer(()) as analyzer:
        (face,) = analyzer.analyze(read_image(photo)).faces
    box = [face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height]
    names = ["face.jpg", "unseen.jpg", "nobody.jpg"]
    monkeypatch.setattr("quantization.thresholds.parts", lambda *_: names)

    def write(boxes, agreed):
        np.savez(tmp_path / "lfpw_faces.npz", names=["face.jpg"] * len(boxes), scores=[0.9] * len(boxes),
                 boxes=np.array(boxes, np.float32).reshape(-1, 4), agreed=np.array(agreed, bool))  # fmt: skip
        landmarks = student_of(Bundle.builtin(), "landmarks")
        return lambda lost: presence_floor(landmarks, tmp_path, tmp_path, lost)

    return write, box


def test_a_face_that_is_one_may_have_the_highest_floor(one_face):
    write, box = one_face
    assert write([box], [True])(0.0) == FLOORS[-1]


def test_a_floor_loses_no_more_faces_than_the_rule_allows(one_face):
    write, box = one_face
    no_face = [5.0, 300.0, 60.0, 60.0]  # the label says it is one, and no floor above 0 would keep it
    found = write([box, no_face], [True, True])
    assert found(0.0) < found(1.0) == FLOORS[-1]
    assert write([box, no_face], [True, False])(0.0) == FLOORS[-1]  # one that the teachers disagree about


def test_without_a_face_there_is_no_floor(one_face):
    write, _ = one_face
    with pytest.raises(ExportError, match="no faces in the labels"):
        write([], [])(0.0)
