"""The accuracy floors of the built-in students, int8, by the public API, on photos that never trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface import Bundle, FaceAnalyzer

pytest.importorskip("onnxruntime", reason="the teacher that grades the detector needs the `workshop` extra")

from quantization.evaluate import Grader, Metrics
from quantization.label import label_faces
from quantization.lines import LINES

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def grader(shared_data: Path, teachers: Path, tmp_path_factory: pytest.TempPathFactory) -> Grader:
    labels = tmp_path_factory.mktemp("labels")
    label_faces(shared_data, teachers, labels / "lfpw_faces.npz", ["validation"])
    return _grader(shared_data, labels, "base")


@pytest.fixture(scope="module")
def nano(grader: Grader) -> Grader:
    return _grader(grader.data, grader.labels, "nano")


@pytest.fixture(scope="module")
def clean(grader: Grader) -> Grader:
    return _grader(grader.data, grader.labels, "clean")


def _grader(data: Path, labels: Path, size: str) -> Grader:
    bundle = Bundle.load(LINES[size].bundle)
    return Grader(
        data, labels, lambda tasks: FaceAnalyzer(tasks, bundle=bundle), beyond=size == "base", moves=False
    )


@pytest.fixture(scope="module")
def detection(grader: Grader) -> Metrics:
    return grader.grade("detection")


def test_landmarks(grader: Grader) -> None:
    found = grader.grade("landmarks")
    assert found["photos"] == 105
    assert found["missed"] <= 2  # a missed face has no error, so it must not hide one
    assert found["nme"] <= 0.038
    assert found["presence_auc"] >= 0.999
    assert found["visibility_auc_turned"] >= 0.9
    assert found["visibility_auc_covered"] >= 0.89
    assert found["pose_error"] <= 4  # degrees


def test_parsing(grader: Grader) -> None:
    parsing = grader.grade("parsing")
    assert parsing["photos"] == 100
    assert parsing["missed"] == 0
    assert parsing["mean_f1"] >= 0.72


def test_expression(grader: Grader) -> None:
    found = grader.grade("expression")
    assert found["images"] == 3234
    assert found["accuracy"] >= 0.78


def test_false_faces(detection: Metrics) -> None:
    assert detection["face_free_images"] >= 200
    assert detection["false_positives_per_image"] <= 0.05


def test_faces_found(detection: Metrics) -> None:
    assert detection["recall_50"] >= 0.98


def test_faces_found_do_not_get_fewer(detection: Metrics) -> None:
    """What was reached, until the floor is."""
    assert detection["faces"] == 144
    assert detection["recall_50"] >= 0.958


class TestNano:
    """The nano students, on the same photos: within 12 % of the base ones' floors."""

    def test_landmarks(self, nano: Grader) -> None:
        found = nano.grade("landmarks")
        assert found["photos"] == 105
        assert found["missed"] <= 2
        assert found["nme"] <= 1.12 * 0.038

    def test_parsing(self, nano: Grader) -> None:
        assert nano.grade("parsing")["mean_f1"] >= 0.88 * 0.72

    def test_expression(self, nano: Grader) -> None:
        assert nano.grade("expression")["accuracy"] >= 0.88 * 0.83

    def test_detection(self, nano: Grader) -> None:
        found = nano.grade("detection")
        assert found["recall_50"] >= 0.88 * 0.98
        assert found["false_positives_per_image"] <= 1.12 * 0.05


class TestClean:
    """The licence-clean students, on the same photos: what rendered heads were seen to carry."""

    def test_landmarks(self, clean: Grader) -> None:
        found = clean.grade("landmarks")
        assert found["missed"] <= 8
        assert found["nme"] <= 0.075

    def test_parsing(self, clean: Grader) -> None:
        assert clean.grade("parsing")["mean_f1"] >= 0.5

    def test_detection(self, clean: Grader) -> None:
        found = clean.grade("detection")
        assert found["recall_50"] >= 0.82
        assert found["false_positives_per_image"] <= 0.15
