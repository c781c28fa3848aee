from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeface import read_image
from edgeface.geometry import iou_matrix
from quantization import album as album_module
from quantization.album import DETECTORS, Album, agree
from quantization.scenes import Scene
from quantization.teachers.ultraface import UltraFace
from quantization.teachers.yunet import YuNet

pytestmark = pytest.mark.workshop


@pytest.fixture(scope="module")
def detectors(teachers):
    return YuNet(teachers / DETECTORS[0]), UltraFace(teachers / DETECTORS[1])


@pytest.fixture(scope="module")
def portrait(repository: Path, detectors):
    """The astronaut, 320 x 256, with the box and the five points that YuNet gives her."""
    image = cv2.resize(
        read_image(repository / "examples/astronaut.jpg").rgb, (256, 256), interpolation=cv2.INTER_AREA
    )
    image = cv2.copyMakeBorder(image, 0, 0, 32, 32, cv2.BORDER_CONSTANT)
    found = detectors[0].detect(image)
    assert len(found) == 1
    return image, found.boxes[0], found.keypoints[0]


class Maker:
    """Composes the same portrait each time, in another light."""

    def __init__(self, portrait):
        self._portrait = portrait
        self.drawn = 0

    def draw(self, rng):
        image, box, points = self._portrait
        self.drawn += 1
        scene = Scene(cv2.convertScaleAbs(image, alpha=float(rng.uniform(0.8, 1.2))))
        scene.add(box, points, True)
        return scene


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Asking takes long: six scenes to a file."""
    monkeypatch.setattr(album_module, "_PIECE", 6)


def scene_of(image, *faces):
    scene = Scene(image.copy())
    for box, points, sure in faces:
        scene.add(box, points, sure)
    return scene


def test_a_face_that_is_seen_stays_one(portrait, detectors):
    image, box, points = portrait
    scene = scene_of(image, (box, points, True))
    agree(scene, *detectors)
    assert scene.sure == [True]
    assert np.array_equal(scene.boxes[0], box)


def test_a_doubtful_face_that_both_see_is_one(portrait, detectors):
    image, box, points = portrait
    scene = scene_of(image, (box, points, False))
    agree(scene, *detectors)
    assert scene.sure == [True]


def test_what_hides_a_face_is_neither_a_face_nor_background(portrait, detectors):
    image, box, points = portrait
    hidden = image.copy()
    x, y, width, height = box.astype(int)
    hidden[y - 10 : y + height + 10, x - 10 : x + width + 10] = 90
    scene = scene_of(hidden, (box, points, True))
    agree(scene, *detectors)
    assert scene.sure == [False]


def test_a_face_without_a_label_is_found(portrait, detectors):
    image, box, points = portrait
    scene = scene_of(image)
    agree(scene, *detectors)
    assert scene.sure == [True]
    assert iou_matrix(np.array(scene.boxes), box[None])[0, 0] > 0.9
    assert np.abs(scene.points[0] - points).max() < 2


def test_a_plain_scene_stays_without_a_face(portrait, detectors):
    scene = scene_of(np.full_like(portrait[0], 120))
    agree(scene, *detectors)
    assert scene.boxes == []


def test_what_is_drawn_shows_its_faces_where_it_says(portrait, detectors, teachers, tmp_path):
    album = Album.of(Maker(portrait), {"of": "the astronaut"}, 1, tmp_path, teachers, say=lambda _: None)
    rng = np.random.default_rng(5)
    mirrored = 0
    for _ in range(12):
        scene = album.draw(rng)
        found = detectors[0].detect(scene.image)
        assert iou_matrix(np.array(scene.boxes), found.boxes).max() > 0.7
        best = found.keypoints[np.argmax(found.scores)]
        assert np.abs(best - scene.points[0]).max() < 0.1 * scene.boxes[0][3]
        mirrored += scene.points[0][2, 0] > scene.points[0][:2, 0].mean()
    assert 0 < mirrored < 12


def test_an_album_is_made_once_and_another_one_beside_it(portrait, teachers, tmp_path):
    maker, told = Maker(portrait), []
    first = Album.of(maker, {"of": 1}, 8, tmp_path, teachers, told.append)
    assert maker.drawn == 12
    assert told[0].startswith("album: 6 of 12 scenes, about ")
    assert told[1] == "album: 12 of 12 scenes, about 0.0 min left"
    (
        tmp_path / next(p.name for p in tmp_path.iterdir()) / "0001.npz"
    ).unlink()  # as a killed process leaves it
    again = Album.of(maker, {"of": 1}, 8, tmp_path, teachers, told.append)
    assert maker.drawn == 18
    one, other = (album.draw(np.random.default_rng(3)) for album in (first, again))
    assert np.array_equal(one.image, other.image)
    Album.of(maker, {"of": 2}, 6, tmp_path, teachers, told.append)
    assert maker.drawn == 24
    assert len(list(tmp_path.iterdir())) == 2
