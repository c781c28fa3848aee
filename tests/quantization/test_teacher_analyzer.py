from __future__ import annotations

import numpy as np
import pytest

import edgeface
from edgeface import BBox
from quantization.teachers.analyzer import GRADED, TeacherAnalyzer
from quantization.teachers.facemesh import FaceMesh, RidgeMap
from quantization.teachers.yunet import YuNet

pytestmark = pytest.mark.workshop

# The corners of the eyes, as the mesh numbers them, and the tip of the nose for all other of the 68 points: a
# map that is known without labels and is its own mirror image.
_CHOSEN = [1] * 68
_CHOSEN[36], _CHOSEN[45], _CHOSEN[39], _CHOSEN[42] = 33, 263, 133, 362


@pytest.fixture(scope="module")
def astronaut(astronaut_path):
    return edgeface.read_image(astronaut_path)


@pytest.fixture(scope="module")
def detector(teachers):
    return YuNet(teachers / GRADED["detection"])


@pytest.fixture(scope="module")
def mesh(teachers):
    """The face mesh, and a map that reads those 68 of its points off it."""
    net = FaceMesh(teachers / GRADED["landmarks"])
    rng = np.random.default_rng(0)
    meshes = rng.normal(0, 1, (1200, 478, 2)).astype(np.float32)
    meshes[:, [33, 263]] = (-1, 0), (1, 0)
    return net, RidgeMap.fit(meshes, meshes[:, _CHOSEN], ridge=1e-6)


def test_the_detectors_faces_come_back_as_the_runtime_gives_them(astronaut, detector):
    with TeacherAnalyzer(detector) as teacher:
        result = teacher.analyze(astronaut)
    found = detector.detect(astronaut.rgb, 0.6)
    assert (result.width, result.height) == (512, 512)
    assert len(result.faces) == len(found) >= 1
    (face, *_) = result.faces
    assert [face.bbox.x, face.bbox.y] == pytest.approx(found.boxes[0, :2].tolist())
    assert face.bbox.score == pytest.approx(float(found.scores[0]))
    assert face.landmarks is None


def test_a_lower_score_only_adds_faces(astronaut, detector):
    few, many = (TeacherAnalyzer(detector, None, least).analyze(astronaut).faces for least in (0.6, 0.01))
    assert len(many) > len(few)
    assert {(f.bbox.x, f.bbox.score) for f in few} <= {(f.bbox.x, f.bbox.score) for f in many}
    assert [f.bbox.area for f in many] == sorted((f.bbox.area for f in many), reverse=True)


def test_points_lie_where_the_mesh_has_them(astronaut, detector, mesh):
    (face, *_) = TeacherAnalyzer(detector, mesh).analyze(astronaut.rgb).faces
    assert face.landmarks is not None
    assert face.landmarks.presence > 0.5
    box = np.array([face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height], np.float32)
    seen, _ = mesh[0].mesh(astronaut.rgb, box)
    apart = np.linalg.norm(face.landmarks.points - seen[_CHOSEN], axis=1)
    assert apart.max() < 0.04 * face.bbox.width  # the mirrored view agrees to a few pixels
    assert np.linalg.norm(seen[33] - seen[263]) > 0.4 * face.bbox.width


def test_given_boxes_take_the_place_of_the_detectors(astronaut, detector, mesh):
    box = BBox(180, 70, 90, 120)
    (face,) = TeacherAnalyzer(detector, mesh).analyze(astronaut, boxes=[box]).faces
    assert face.bbox == box
    assert face.landmarks is not None
